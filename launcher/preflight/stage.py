"""The preflight of a job's own nodes: as its first stage, or of a job that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from launcher.base.counting import counted
from launcher.base.errors import WorkError
from launcher.config import Source
from launcher.config.load import validate
from launcher.plan.make import make_plan
from launcher.plan.model import Plan
from launcher.preflight.judge import Node, Remark, judge, parse
from launcher.preflight.network import Link, try_links
from launcher.preflight.run import gather, need
from launcher.preflight.table import text
from launcher.run.folder import RunFolder


def of_run(run: RunFolder, busy: bool, say: Callable[[str], None]) -> tuple[list[Node], list[Remark], list[Link]]:
    """Look at the nodes that the run has. Raises WorkError while it has none."""
    written = run.plan()
    source = Source(f"{run.path}/plan.json", {})
    cluster = "local" if written.local else "slurm"
    plan: Plan = make_plan(validate(written.config, source), source, cluster)  # type: ignore[arg-type]
    hosts = run.nodes()
    if not hosts:
        raise WorkError(f"{run.path.name} has no nodes yet; give its config instead")
    if cluster == "local":
        nodes = parse(gather(plan, "local", say))
    else:
        names = [n.host for n in hosts[: plan.nodes]]
        nodes = parse(gather(plan, "slurm", say, run.job_id, names))
        places = {n.host: n.index for n in hosts}
        nodes = sorted((replace(n, index=places.get(n.host, n.index)) for n in nodes), key=lambda n: n.index)
    # beside workers that serve there is no room on the GPUs, nor a figure worth having
    links = [] if busy else try_links(plan, nodes, say, run.job_id, run.path)
    return nodes, judge(nodes, need(plan, cluster, busy)), links  # type: ignore[arg-type]


def preflight_stage(run: RunFolder, say: Callable[[str], None]) -> None:
    """As the job's stage: writes preflight.txt. Raises WorkError that names the bad nodes."""
    nodes, remarks, links = of_run(run, False, say)
    table = text(nodes, remarks, links)
    (run.path / "preflight.txt").write_text(table + "\n", encoding="utf-8")
    for remark in remarks:
        say(f"{remark.host}: {remark.check}: {remark.text}")
    bad = [r for r in remarks if r.verdict == "bad"]
    if bad:
        names = ", ".join(dict.fromkeys(r.host for r in bad))
        raise WorkError(f"bad nodes: {names} ({'; '.join(dict.fromkeys(r.text for r in bad))})")
    for link in links:
        say(f"{link.name}: {link.kind}: {link.verdict}: {link.text}")
    cut = [x for x in links if x.verdict == "bad"]
    if cut:
        raise WorkError(f"the network fails: {'; '.join(f'{x.name}: {x.text}' for x in cut)}")
    say(f"{counted(len(nodes), 'node is', 'nodes are')} fit")
