"""The program `sgl-launch`. A job's supervisor is begun before anything heavy is imported: signals may come at once."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: exit status 0 done, 1 the work failed, 2 the input is wrong."""
    if sys.argv[1:3] in (["job", "run"], ["job", "alone"]) and len(sys.argv) == 4:
        from launcher.job.entry import main as supervise

        supervise(sys.argv[3], sys.argv[2] == "alone")
    from launcher.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
