"""The report page: one HTML file that needs nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from launcher.base.counting import duration
from launcher.base.words import flag_lines
from launcher.report import measured, svg
from launcher.report.facts import Facts, collect
from launcher.report.why import place
from launcher.run.folder import RunFolder
from launcher.run.jsonread import Port
from launcher.run.planned import Planned


def page(run: RunFolder) -> str:
    """The page of a run. Raises WorkError when the job has not written its plan yet."""
    return render(collect(run))


def render(facts: Facts) -> str:
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["svg"] = jinja2.filters.do_mark_safe  # made in svg.py, where every text is escaped
    return env.get_template("page.html.j2").render(_variables(facts))


def _variables(facts: Facts) -> dict[str, Any]:
    warm = facts.warmup or {}
    sizes = warm.get("sizes") or []
    margin = facts.started * 1.06 + 0.5
    whole = facts.end > margin * 1.5 or facts.restarts
    return {
        "facts": facts,
        "name": facts.run.name,
        "job_id": facts.run.job_id,
        "began": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts.began)),
        "tiles": tiles(facts),
        "start_svg": svg.timeline([*facts.stages, *facts.groups], min(margin, max(facts.end, 0.5))),
        "whole_svg": svg.timeline(facts.groups, facts.end) if whole else "",
        "roles": facts.plan.roles,
        "dumbbell_svg": svg.first_and_steady(sizes),
        "rounds_svg": svg.rounds(sizes),
        "sizes": sizes,
        "warm": warm,
        "ms": lambda v: "–" if v is None else svg.seconds_text(v),
        "topology_svg": svg.topology(facts.plan, facts.hosts),
        "commands": _commands(facts.plan),
        "place": lambda path, number: place(facts.run, path, number),
        "duration": duration,
        "addresses": addresses(facts.run, facts.plan),
        "benches": measured.benches(facts.run),
        "evals": measured.evals(facts.run),
    }


def addresses(run: RunFolder, plan: Planned) -> list[tuple[str, str, str, str]]:
    """(part, host, address, ports) of each group's head, the services and the frontends, as the job has them; empty
    while it has no nodes."""
    nodes = {n.index: n for n in run.nodes()}
    base = int((run.json("placement.json") or {}).get("port_base") or 0)

    def number(port: Port) -> str:
        return str(base + int(port[2:])) if isinstance(port, str) and port.startswith("P+") else str(port)

    parts = [(g.name, g.nodes[0], g.ports) for g in plan.groups]
    parts += [(name, s.node, {"port": s.port}) for name, s in plan.services.items()]
    parts += [(f.name, f.node, {"port": f.port}) for f in plan.frontend.replicas]
    return [
        (name, nodes[node].host, nodes[node].address, ", ".join(f"{what} {number(p)}" for what, p in ports.items()))
        for name, node, ports in parts if node in nodes
    ]  # fmt: skip


def tiles(facts: Facts) -> list[tuple[str, str]]:
    """The figures at the top: (what, value)."""
    plan, marks = facts.plan, facts.milestones
    counts = ((plan.nodes, "node"), (plan.gpus, "GPU"), (len(plan.groups), "worker group"))
    found = [(what if number == 1 else f"{what}s", str(number)) for number, what in counts]
    if "ready" in marks:
        found.append(("ready after", duration(marks["ready"])))
    warm = facts.warmup
    if warm:
        if "warm" in marks and warm["verdict"] == "warm":
            found.append(("warm after", duration(marks["warm"])))
        else:
            found.append(("warm-up's verdict", warm["verdict"]))
        found.append(("warm-up requests", str(warm["requests"])))
        steady = [s["steady_ttft"] for s in warm["sizes"] if s.get("steady_ttft")]
        if steady:
            found.append(("best first token, steady", svg.seconds_text(min(steady))))
    if facts.kernels and (seen := re.match(r"compilers seen: (\d+)", facts.kernels[-1])):
        found.append(("compilers seen", seen[1]))
    found.append(("restart" if facts.restarts == 1 else "restarts", str(facts.restarts)))
    return found


def _commands(plan: Planned) -> list[tuple[str, str]]:
    """Rank 0's command of the first group of each role, a flag a line."""
    return [(role, " \\\n  ".join(flag_lines(plan.first_of(role).argv))) for role in plan.roles]
