"""What the drills measured, as one table at the end of the test run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One drill. Seconds from the fault: until it was noticed, until what it hit was gone. `status` is
    the job's exit status, `on` when the job went on; `left` counts processes."""

    drill: str
    notice: float | None
    clean: float | None
    status: str
    left: int
    note: str = ""


ROWS: list[Row] = []


def add(
    drill: str, notice: float | None, clean: float | None, status: object, left: int = 0, note: str = ""
) -> None:
    """Record a drill; it must have been noticed before this is called."""
    ROWS.append(Row(drill, notice, clean, str(status), left, note))


def lines() -> list[str]:
    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{max(value, 0):.1f}"

    def number(row: Row) -> tuple[int, str]:
        head = row.drill.split()[0].rstrip("abcdefgh")
        return (int(head) if head.isdecimal() else 99, row.drill)

    out = [f"{'drill':<52}{'notice':>7}{'clean':>7}{'status':>8}{'left':>5}  then"]
    for row in sorted(ROWS, key=number):
        out.append(
            f"{row.drill:<52}{seconds(row.notice):>7}{seconds(row.clean):>7}{row.status:>8}{row.left:>5}  {row.note}"
        )
    return out
