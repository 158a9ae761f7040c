"""Whether another config of a service can become warm, as far as the nodes where it serves now can tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from launcher.plan.model import Plan
from launcher.preflight.judge import Need, judge, parse
from launcher.preflight.run import gather
from launcher.run.folder import RunFolder


def unfit(plan: Plan, serving: RunFolder, say: Callable[[str], None]) -> list[str]:
    """What all nodes of the job that serves lack for a new plan: model, image, programs, interface, disk; what one
    lacks is that node's matter. Nodes of the first kind alone are asked. Raises WorkError where they cannot be."""
    first = serving.plan().components[1:2]
    hosts = [node.host for node in serving.nodes()][: first[0].first if first else None]
    here = replace(plan.components[0], first=0, nodes=len(hosts))
    said = gather(replace(plan, components=(here,)), "slurm", say, serving.job_id, hosts)
    # it has GPUs and ports of its own
    nodes = parse(said)
    bad = [r for r in judge(nodes, Need(len(hosts), {}, {}, busy=True)) if r.verdict == "bad"]
    checks = {r.check: r.text for r in bad if {x.host for x in bad if x.check == r.check} >= {n.host for n in nodes}}
    return [f"{check}: {text}" for check, text in checks.items()]
