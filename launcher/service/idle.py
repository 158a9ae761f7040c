"""How long nobody has asked: from the front's own record of requests."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from launcher.run.folder import RunFolder

_TAIL = 1 << 18  # bytes of the record that are looked at


class Idle:
    """`limit` is the seconds without a request after which a link ends; None for never. The job's own questions, and
    requests without a key, are none."""

    def __init__(self, run: RunFolder, limit: float | None) -> None:
        self.limit, self._log, self._last = limit or 0.0, run.path / "logs" / "front-0.log", time.time()

    def over(self, running: int) -> bool:
        """Whether it is time to end; `running` is how many requests run now."""
        if not self.limit:
            return False
        self._last = time.time() if running else max(self._last, last_request(self._log))
        return time.time() - self._last > self.limit


def last_request(log: Path) -> float:
    """When the last request of a client ended, in seconds since the epoch; 0 where there was none."""
    text = b""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(file.seek(0, 2) - _TAIL, 0))
        text = file.read()
    for line in reversed(text.splitlines()):
        if b'"key":' in line and b'"key":"admin"' not in line:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return float(json.loads(line)["ts"])
    return 0.0
