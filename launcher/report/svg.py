"""Pictures of the report page as SVG text: pure functions of plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from launcher.base.counting import duration
from launcher.report.facts import Row
from launcher.run.planned import Planned, PlannedGroup, PlannedRank

WIDTH = 960
LABEL = 118  # room for the names at the left
BAR = 16
STEP = 24


def _num(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _text(x: float, y: float, text: str, cls: str = "", anchor: str = "start") -> str:
    return f'<text x="{_num(x)}" y="{_num(y)}" class="{cls}" text-anchor="{anchor}">{escape(text)}</text>'


def ticks(limit: float, most: int = 8) -> list[float]:
    """Round numbers from 0 to the limit: of seconds, minutes, hours or days."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    step = next((s for s in steps if limit / s <= most), 86400 * math.ceil(limit / 86400 / most))
    return [step * n for n in range(int(limit / step + 1e-9) + 1)]


def tick_text(seconds: float) -> str:
    if seconds < 60:
        return f"{_num(seconds)} s"
    if seconds < 3600:
        rest = round(seconds % 60)
        return f"{int(seconds // 60)} min" + (f" {rest} s" if rest else "")
    return duration(seconds).replace(" 0 min", "").replace(" 0 h", "")


def timeline(rows: Sequence[Row], limit: float) -> str:
    """Bars over time, a row each, up to `limit` seconds."""
    limit = max(limit, 0.5)
    rows = [row for row in rows if not row.spans or row.spans[0].begin < limit]
    scale = (WIDTH - LABEL - 14) / limit
    height = len(rows) * STEP + 30
    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="timeline">']
    for at in ticks(limit):
        x = LABEL + at * scale
        out.append(f'<line x1="{_num(x)}" y1="0" x2="{_num(x)}" y2="{height - 24}" class="grid"/>')
        anchor = "end" if x > WIDTH - 40 else "middle" if at else "start"
        out.append(_text(min(x, WIDTH - 2), height - 8, tick_text(at), "tick", anchor))
    for index, row in enumerate(rows):
        y = index * STEP + 4
        out.append(_text(LABEL - 10, y + 12, row.name, "name", "end"))
        for span in row.spans:
            if span.begin > limit:
                continue
            x, end = LABEL + span.begin * scale, LABEL + min(span.end, limit) * scale
            title = f"{row.name}: {span.state}, {duration(span.end - span.begin)} from {tick_text(span.begin)}"
            out.append(
                f'<rect x="{_num(x)}" y="{y}" width="{_num(max(end - x, 1.5))}" height="{BAR}" rx="2" '
                f'class="bar {escape(row.kind)} s-{escape(span.state)}"><title>{escape(title)}</title></rect>'
            )
        out += _bar_text(row, y, scale, limit)
        for at, what in row.marks:
            if at <= limit:
                x = LABEL + at * scale
                out.append(
                    f'<path d="M{_num(x)} {y + 7} l5 -9 l-10 0z" class="mark"><title>{escape(what)}</title></path>'
                )
    return "".join([*out, "</svg>"])


def _bar_text(row: Row, y: float, scale: float, limit: float) -> list[str]:
    """A stage's length, inside its bar or right of it."""
    if row.kind != "stage" or not row.spans:
        return []
    span = row.spans[0]
    length = min(span.end, limit) - span.begin
    if length < 0:
        return []
    text = f"{span.end - span.begin:.1f} s" if span.end - span.begin < 10 else duration(span.end - span.begin)
    right = LABEL + min(span.end, limit) * scale
    if length * scale > 70:
        return [_text(right - 6, y + 12, text, "in", "end")]
    if right > WIDTH - 80:
        return [_text(LABEL + span.begin * scale - 5, y + 12, text, "out", "end")]
    return [_text(right + 5, y + 12, text, "out")]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between: 1, 2, 5, 10, ..., or more or fewer of them, as there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [m * 10.0**p for p in powers for m in digits if low <= m * 10.0**p <= high]
        if len(found) >= 4:
            break
    return found


def seconds_text(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def first_and_steady(sizes: Sequence[dict[str, Any]]) -> str:
    """A row a size: time to first token of its first round, and once it was steady (log scale)."""
    rows = [s for s in sizes if s.get("first_ttft") and s.get("steady_ttft")]
    if not rows:
        return ""
    values = [v for s in rows for v in (s["first_ttft"], s["steady_ttft"])]
    low, high = min(values) / 1.25, max(values) * 1.25
    if high < 4 * low:  # a small difference shall not look like a large one
        low, high = math.sqrt(low * high) / 2, math.sqrt(low * high) * 2
    label = 190
    scale = (WIDTH - label - 30) / math.log10(high / low)

    def at(value: float) -> float:
        return label + math.log10(value / low) * scale

    step = 22
    height = len(rows) * step + 32
    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="time to first token">']
    for tick in _log_ticks(low, high):
        x = at(tick)
        out.append(f'<line x1="{_num(x)}" y1="0" x2="{_num(x)}" y2="{height - 24}" class="grid"/>')
        out.append(_text(x, height - 8, seconds_text(tick), "tick", "middle"))
    for index, size in enumerate(rows):
        y = index * step + 12
        name = f"{size['prompt_tokens']} tokens × {size['concurrency']}"
        out.append(_text(label - 12, y + 4, name, "name", "end"))
        first, steady = at(size["first_ttft"]), at(size["steady_ttft"])
        out.append(f'<line x1="{_num(first)}" y1="{y}" x2="{_num(steady)}" y2="{y}" class="link"/>')
        for x, cls, what in ((first, "first", "first"), (steady, "steady", "steady")):
            title = f"{name}, {what}: {seconds_text(size[f'{what}_ttft'])}"
            out.append(f'<circle cx="{_num(x)}" cy="{y}" r="5" class="{cls}"><title>{escape(title)}</title></circle>')
    return "".join([*out, "</svg>"])


def rounds(sizes: Sequence[dict[str, Any]]) -> str:
    """A line a size: each round's time to first token as a multiple of its steady one (log scale)."""
    lines = []
    for size in sizes:
        steady = size.get("steady_ttft")
        values = [h["ttft"] / steady for h in size.get("history", []) if steady and h.get("ttft")]
        if len(values) > 1:
            lines.append((f"{size['prompt_tokens']} tokens × {size['concurrency']}", values))
    if not lines:
        return ""
    most = max(len(v) for _, v in lines)
    low = min(0.8, min(min(v) for _, v in lines))
    high = max(2.0, max(max(v) for _, v in lines)) * 1.1
    height, left = 240, 64
    across = (WIDTH - left - 120) / max(most - 1, 1)
    up = (height - 40) / math.log10(high / low)

    def place(index: int, value: float) -> tuple[float, float]:
        return left + index * across, height - 30 - math.log10(value / low) * up

    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="rounds of the warm-up">']
    for tick in _log_ticks(low, high):
        y = place(0, tick)[1]
        cls = "one" if tick == 1 else "grid"
        out.append(f'<line x1="{left}" y1="{_num(y)}" x2="{WIDTH - 120}" y2="{_num(y)}" class="{cls}"/>')
        out.append(_text(left - 8, y + 4, f"{tick:g}×", "tick", "end"))
    for index in range(most):
        out.append(_text(place(index, 1)[0], height - 8, str(index + 1), "tick", "middle"))
    out.append(_text(WIDTH - 112, height - 8, "round", "tick"))
    for name, values in lines:
        points = " ".join(",".join(_num(v) for v in place(i, value)) for i, value in enumerate(values))
        out.append(f'<polyline points="{points}" class="line"><title>{escape(name)}</title></polyline>')
        for index, value in enumerate(values):
            x, y = place(index, value)
            title = f"{name}, round {index + 1}: {value:.2f} times its steady value"
            out.append(f'<circle cx="{_num(x)}" cy="{_num(y)}" r="3" class="dot">')
            out.append(f"<title>{escape(title)}</title></circle>")
    out += _line_names(lines, place)
    return "".join([*out, "</svg>"])


def _line_names(lines: Iterable[tuple[str, list[float]]], place: Any) -> list[str]:
    """The names of the lines that start highest, at their first points, where they don't overlap."""
    taken: list[float] = []
    out = []
    for name, values in sorted(lines, key=lambda item: -item[1][0])[:4]:
        if values[0] < 1.5:
            break  # it began as it ended
        x, y = place(0, values[0])
        if all(abs(y - other) > 14 for other in taken):
            taken.append(y)
            out.append(_text(x + 8, y - 6, name, "tick"))
    return out


def _gpus_of(plan: Planned, node: int, most: int) -> int:
    """GPUs of a node: `most`, unless it is of a component whose nodes have fewer."""
    component = None if plan.local else plan.component_of(node)
    return component.gpus_per_node if component else most


def topology(plan: Planned, hosts: dict[int, str]) -> str:
    """Nodes as boxes, each GPU in its group's colour, groups named."""
    used: dict[int, list[tuple[PlannedGroup, PlannedRank]]] = {}
    for group in plan.groups:
        for rank in group.ranks:
            used.setdefault(rank.node, []).append((group, rank))
    services = _services_of(plan)
    nodes = max([plan.nodes, *(n + 1 for n in used)])
    most = max([plan.gpus_per_node, *(gpu + 1 for g in plan.groups for r in g.ranks for gpu in r.gpus)])
    columns = min(3 if most <= 8 else 2 if most <= 16 else 1, nodes)
    box = (WIDTH - (columns - 1) * 14) / columns
    cell = min((box - 24) / most, 40.0)
    lines = max((len(used.get(n, [])) for n in range(nodes)), default=1)
    high = 62 + lines * 17 + (17 if services else 0)
    rows = math.ceil(nodes / columns)
    out = [f'<svg viewBox="0 0 {WIDTH} {rows * (high + 14)}" role="img" aria-label="topology">']
    for node in range(nodes):
        x, y = node % columns * (box + 14), node // columns * (high + 14)
        out.append(f'<rect x="{_num(x + 0.5)}" y="{y + 0.5}" width="{_num(box - 1)}" height="{high}" rx="6"')
        out.append(' class="node"/>' + _text(x + 12, y + 21, hosts.get(node, f"node {node}"), "host"))
        owner = {gpu: (group.name, group.role) for group, rank in used.get(node, []) for gpu in rank.gpus}
        for gpu in range(_gpus_of(plan, node, most)):
            name, role = owner.get(gpu, ("not used", ""))
            out.append(
                f'<rect x="{_num(x + 12 + gpu * cell)}" y="{y + 31}" width="{_num(cell - 3)}" height="14" rx="2" '
                f'class="gpu {escape(role)}"><title>{escape(f"GPU {gpu}: {name}")}</title></rect>'
            )
        text = [_label(*one) for one in used.get(node, [])] + [", ".join(services.get(node, []))]
        out += [_text(x + 12, y + 62 + index * 17, line, "small") for index, line in enumerate(text) if line]
    return "".join([*out, "</svg>"])


def _label(group: PlannedGroup, rank: PlannedRank) -> str:
    """decode-0, rank 2 of 4: GPUs 0-7"""
    name = group.name + (f", rank {rank.rank} of {len(group.ranks)}" if len(group.ranks) > 1 else "")
    if not rank.gpus:
        return name
    first, last = rank.gpus[0], rank.gpus[-1]
    return f"{name}: GPU {first}" if first == last else f"{name}: GPUs {first}-{last}"


def _services_of(plan: Planned) -> dict[int, list[str]]:
    """NATS, etcd and frontends by node."""
    found: dict[int, list[str]] = {}
    for name, service in plan.services.items():
        found.setdefault(service.node, []).append({"nats": "NATS"}.get(name, name))
    for one in plan.frontend.replicas:
        found.setdefault(one.node, []).append(one.name)
    if plan.frontend.balanced:
        found.setdefault(plan.frontend.node, []).append("front")
    return found
