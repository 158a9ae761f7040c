"""``python -m warmup.requests ADDRESS``: the sweep where nothing but this package is at hand."""

from __future__ import annotations

import argparse
import sys

from .address import AddressError
from .api import Options, run
from .show import Live, show


def main() -> int:
    """Exit status: 0 warm, 1 not warm, 2 the address is wrong."""
    parser = argparse.ArgumentParser(prog="python -m warmup.requests", description=__doc__)
    parser.add_argument("address", help="IP, HOST:PORT or http://HOST:PORT; port 8000 by default")
    parser.add_argument("--model", help="by default the one that is served")
    parser.add_argument("--time-limit", type=float, default=3600.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args()
    try:
        with Live() as live:
            report = run(
                given.address,
                model=given.model,
                options=Options(time_limit=given.time_limit),
                progress=live,
            )
    except AddressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing is known about the deployment", file=sys.stderr)
        return 130
    if given.json:
        print(report.to_json(), end="")
    else:
        show(report)
    return 0 if report.verdict.warm else 1


if __name__ == "__main__":
    sys.exit(main())
