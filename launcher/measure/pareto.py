"""Throughput of a GPU against speed for a user: the front, on a terminal and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.measure.bench import Result

COLUMNS, ROWS = 78, 16
X, Y = "output tokens/s for each user", "output tokens/s for each GPU"


def place(result: Result) -> tuple[float, float] | None:
    """(tokens/s for each user, tokens/s for each GPU, or of all where GPUs are not known)."""
    f = result.figures
    y = f.output_rate if f.output_rate_gpu is None else f.output_rate_gpu
    return None if f.output_rate_user is None or not y else (f.output_rate_user, y)


def front(results: Sequence[Result]) -> list[Result]:
    """The valid points that no other valid one beats in both, fastest for a user last."""
    placed = [(p, r) for r in results if r.valid and (p := place(r)) is not None]
    best = [
        (p, r) for p, r in placed
        if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q, _ in placed)
    ]  # fmt: skip
    return [r for _, r in sorted(best, key=lambda each: each[0])]


def lines(results: Sequence[Result]) -> list[str]:
    """A plot in text: letters are points (in the table's order), in capitals those on the front; x is invalid."""
    placed = [(p, r) for r in results if (p := place(r)) is not None]
    if len(placed) < 2:
        return []
    best = {r.point.key for r in front(results)}
    width, height = COLUMNS - 12, ROWS
    top = [max(p[i] for p, _ in placed) * 1.05 for i in (0, 1)]
    cells = [[" "] * width for _ in range(height)]
    names = []
    for number, (p, r) in enumerate(placed):
        letter = chr(ord("a") + number % 26)
        letter = letter.upper() if r.point.key in best else letter
        mark = letter if r.valid else "x"
        row, column = height - 1 - int(p[1] / top[1] * (height - 1)), int(p[0] / top[0] * (width - 1))
        cells[row][column] = mark
        names.append(f"{mark} {r.point.key}")
    y = Y if any(r.figures.output_rate_gpu is not None for r in results) else "output tokens/s of all GPUs"
    found = [f"{y} (capitals: the Pareto front)"]
    for n, cell in enumerate(cells):
        label = f"{top[1] * (height - 1 - n) / (height - 1):,.0f}" if n % 5 == 0 or n == height - 1 else ""
        found.append(f"{label:>10} │{''.join(cell)}".rstrip())
    found.append(f"{'':>10} └{'─' * (width - 1)}")
    found.append(f"{'0':>12}{X + f', to {top[0]:,.0f}':>{width - 1}}")
    while names:
        line = names.pop(0)
        while names and len(line) + len(names[0]) + 3 <= COLUMNS:
            line += f"   {names.pop(0)}"
        found.append(line)
    return found


def picture(results: Sequence[Result], title: str, *files: Path) -> bool:
    """Draw it to files (.png, .svg). False without matplotlib (aiperf brings it) or without two points."""
    try:
        import matplotlib
    except ImportError:
        return False
    placed = [(p, r) for r in results if (p := place(r)) is not None]
    if len(placed) < 2:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120)
    best = [place(r) for r in front(results)]
    axes.plot([p[0] for p in best if p], [p[1] for p in best if p], color="#2a6f97", label="Pareto front")
    for valid, colour, mark in ((True, "#2a6f97", "o"), (False, "#c1121f", "x")):
        these = [(p, r) for p, r in placed if r.valid is valid]
        if these:
            label = "valid" if valid else "invalid"
            axes.scatter([p[0] for p, _ in these], [p[1] for p, _ in these], color=colour, marker=mark, label=label)
        for p, r in these:
            axes.annotate(r.point.key, p, textcoords="offset points", xytext=(5, 5), fontsize=7)
    known = any(r.figures.output_rate_gpu is not None for r in results)
    axes.set(
        xlabel=X, ylabel=Y if known else "output tokens/s of all GPUs", title=title, xlim=(0, None), ylim=(0, None)
    )
    axes.legend()
    axes.grid(alpha=0.3)
    for file in files:
        figure.savefig(file)
    pyplot.close(figure)
    return True
