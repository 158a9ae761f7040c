"""`sgl-launch preflight CONFIG|JOB`: a verdict on every node, before it serves."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import click

from launcher.commands.options import cluster_option, complete_job, json_option, planned, runs_option, set_option
from launcher.plan import Cluster
from launcher.runfolder import find_run, is_run


@click.command("preflight")
@click.argument("target", metavar="CONFIG|JOB", shell_complete=complete_job)
@set_option
@cluster_option
@json_option
@runs_option
def command(target: str, sets: tuple[str, ...], cluster: Cluster, as_json: bool, runs: Path) -> None:
    """Look whether the nodes have what CONFIG needs: GPUs, model, image, limits, disk, network, ports.

    Takes nodes for some seconds, as CONFIG would; for a JOB that runs, looks at its nodes. Exit
    status 1 if a node is bad.
    """
    from launcher.preflight.judge import judge, parse
    from launcher.preflight.run import gather, need
    from launcher.preflight.stage import of_run

    say = functools.partial(click.echo, err=True)
    if not Path(target).is_file() and is_run(target, runs):
        if sets:
            raise click.UsageError("--set goes with a CONFIG; a job's is what it was submitted with")
        nodes, remarks = of_run(find_run(target, runs), True, say)
    else:
        plan = planned(target, sets, cluster)
        nodes = parse(gather(plan, cluster, say))
        remarks = judge(nodes, need(plan, cluster))
    bad = sorted({r.host for r in remarks if r.verdict == "bad"})
    if as_json:
        found = {
            "nodes": [{"host": n.host, "index": n.index, "facts": dict(n.facts)} for n in nodes],
            "remarks": [r.__dict__ for r in remarks],
            "bad": bad,
        }
        click.echo(json.dumps(found, indent=2))
    else:
        from launcher.preflight.table import text

        click.echo(text(nodes, remarks))
    sys.exit(1 if bad else 0)
