"""`sgl-launch preflight CONFIG|JOB`: a verdict on every node, before it serves."""

from __future__ import annotations

import functools
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from launcher.commands.options import cluster_option, complete_job, json_option, planned, runs_option, set_option
from launcher.plan.model import Cluster
from launcher.run.find import find_run, is_run


@click.command("preflight")
@click.argument("target", metavar="CONFIG|JOB", shell_complete=complete_job)
@set_option
@cluster_option
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up waiting for nodes after this.")
@json_option
@runs_option
def command(
    target: str, sets: tuple[str, ...], cluster: Cluster, timeout: float | None, as_json: bool, runs: Path
) -> None:
    """Check that the nodes have what CONFIG needs: GPUs, model, image, limits, disk, network, ports.

    Then whether they reach each other as its workers will: an all-reduce in each worker group, NIXL
    transfers between prefill and decode. Takes nodes for a minute or so, as CONFIG would; for a JOB that
    runs, looks at its nodes only. Exit status 1 if a node or a way between nodes is bad.
    """
    from launcher.preflight.allocation import allocation
    from launcher.preflight.judge import judge, parse
    from launcher.preflight.network import try_links
    from launcher.preflight.run import gather, need
    from launcher.preflight.stage import of_run

    say = functools.partial(click.echo, err=True)
    if not Path(target).is_file() and is_run(target, runs):
        if sets:
            raise click.UsageError("--set goes with a CONFIG; a job's is what it was submitted with")
        nodes, remarks, links = of_run(find_run(target, runs), True, say)
    else:
        plan = planned(target, sets, cluster)
        with nullcontext() if cluster == "local" else allocation(plan, say, timeout) as job_id:
            nodes = parse(gather(plan, cluster, say, job_id))
            remarks = judge(nodes, need(plan, cluster))
            links = try_links(plan, nodes, say, job_id)
    bad = sorted({r.host for r in remarks if r.verdict == "bad"})
    if as_json:
        found = {
            "nodes": [{"host": n.host, "index": n.index, "facts": dict(n.facts)} for n in nodes],
            "remarks": [r.__dict__ for r in remarks],
            "network": [x.__dict__ for x in links],
            "bad": bad,
        }
        click.echo(json.dumps(found, indent=2))
    else:
        from launcher.preflight.table import text

        click.echo(text(nodes, remarks, links))
    sys.exit(1 if bad or any(x.verdict == "bad" for x in links) else 0)
