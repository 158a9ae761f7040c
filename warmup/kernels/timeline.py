"""When a build did what, and what it could not have been quicker than."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 60


@dataclass(frozen=True)
class Timeline:
    """Seconds since the build began. first_met_s, last_met_s: when the finders met the first and the last kernel
    (before that they import torch and DeepGEMM). spans: (kernel, begin, end) of each compiler. jobs: at once."""

    first_met_s: float
    last_met_s: float
    total_s: float
    jobs: int
    spans: tuple[tuple[str, float, float], ...]

    @property
    def slowest_s(self) -> float:
        return max((end - begin for _, begin, end in self.spans), default=0.0)

    @property
    def cpu_s(self) -> float:
        """All compilers' times added up."""
        return sum(end - begin for _, begin, end in self.spans)

    @property
    def bounds(self) -> dict[str, float]:
        """What the build can't be quicker than, with these finders and this compiler: the last kernel that was met must
        be compiled, the slowest one too, and all of them on so many cores."""
        met = {name: begin for name, begin, _ in self.spans}
        last = max(self.spans, key=lambda span: met[span[0]], default=("", 0.0, 0.0))
        return {
            "the last kernel met, and its compiler": self.last_met_s + last[2] - last[1] if self.spans else 0.0,
            "imports, and the slowest compiler": self.first_met_s + self.slowest_s,
            "imports, and all compilers on all cores": self.first_met_s + self.cpu_s / max(self.jobs, 1),
        }

    def text(self) -> str:
        """Rows of a chart over the whole build, then what bounds it."""
        lines = [_row("imports, first kernel met", 0, self.first_met_s, self.total_s)]
        lines.append(_row("kernels met", self.first_met_s, self.last_met_s, self.total_s))
        for name, begin, end in sorted(self.spans, key=lambda span: span[1] - span[2])[:8]:
            lines.append(_row(name.removeprefix("kernel.")[:24], begin, end, self.total_s))
        first, last = min((b for _, b, _ in self.spans), default=0), max((e for _, _, e in self.spans), default=0)
        lines.append(_row(f"all {len(self.spans)} compilers", first, last, self.total_s))
        lines += [f"{seconds:6.1f} s  at least: {what}" for what, seconds in self.bounds.items()]
        busy = self.cpu_s / max(self.jobs * (last - first), 1e-9)
        lines.append(f"{self.total_s:6.1f} s  it took; compilers used {busy:.0%} of {self.jobs} cores meanwhile")
        return "\n".join(lines)


def _row(name: str, begin: float, end: float, total: float) -> str:
    scale = WIDTH / max(total, 1e-9)
    left, length = int(begin * scale), max(int((end - begin) * scale), 1)
    return f"{name:26} {' ' * left}{'#' * length}{' ' * (WIDTH - left - length)} {begin:5.1f} to {end:5.1f} s"
