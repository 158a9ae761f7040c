"""The verdicts as a table within 80 columns, and below it what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.preflight.judge import CHECKS, Node, Remark
from launcher.preflight.network import Link, rows

# the fact without which a check says nothing of a node
_TOLD_BY = {"memory": "gpu_memory_used", "ecc": "gpu_ecc", "driver": "gpu_driver", "model": "model", "image": "image"}
_WORDS = {"warning": "warn", "bad": "BAD"}


def text(nodes: list[Node], remarks: list[Remark], links: Sequence[Link] = ()) -> str:
    """A row a node; `-` for what the node could not tell, or what was not asked."""
    wide = max([len(n.host) for n in nodes] + [4]) + 2
    lines = [f"{'node':<{wide}}" + "".join(f"{_short(c):<{len(_short(c)) + 1}}" for c in CHECKS) + "verdict"]
    for node in nodes:
        mine = [r for r in remarks if r.host == node.host]
        cells = "".join(f"{_cell(node, c, mine):<{len(_short(c)) + 1}}" for c in CHECKS)
        lines.append(f"{node.host:<{wide}}{cells}{_worst(mine)}")
    if remarks:
        lines.append("")
    lines += [f"{r.host}: {r.check}: {r.text}" for r in remarks]
    if links:
        lines += ["", rows(links)]
    return "\n".join(lines)


def _short(check: str) -> str:
    """Wide enough for `warn`."""
    return {"memory": "mem "}.get(check, check).ljust(4)


def _cell(node: Node, check: str, remarks: list[Remark]) -> str:
    here = [r for r in remarks if r.check == check]
    if here:
        return _worst(here)
    fact = _TOLD_BY.get(check)
    return "ok" if fact is None or fact in node.facts else "-"


def _worst(remarks: list[Remark]) -> str:
    verdicts = {r.verdict for r in remarks}
    return _WORDS["bad"] if "bad" in verdicts else _WORDS["warning"] if "warning" in verdicts else "ok"
