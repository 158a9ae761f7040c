"""Who holds one of the further keys: asked by Caddy about each request that has another key than the job's.

    python -m launcher.front.named FILE SOCKET

FILE has a line `NAME:SHA256` for each key (SHA256 in hex, of the key); it is read again when it changes. Its answer is
204 with the name, or 401. Caddy can compare a text, but knows no hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@-]{0,62}):([0-9a-fA-F]{64})")
_EVERY = 2.0  # seconds between two looks at the file
_KNOWN = "HTTP/1.1 204 No Content\r\nX-Key-Name: {}\r\n\r\n"
_BODY = '{"error": {"message": "this key is not known", "type": "authentication_error", "code": 401}}'
_UNKNOWN = (
    "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nWww-Authenticate: Bearer\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
)


def parse(text: str) -> tuple[dict[str, str], list[int]]:
    """Names by hash (lower case), and the numbers of the lines that are no key, no comment and not empty."""
    found, wrong = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if match := _LINE.fullmatch(line):
            found[match[2].lower()] = match[1]
        elif line and not line.startswith("#"):
            wrong.append(number)
    return found, wrong


def name_of(names: Mapping[str, str], authorization: str) -> str | None:
    """The name of the key in an Authorization header; None for a key that is not known."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).hexdigest()
    return names.get(digest)


class Named:
    """The file, and the answers."""

    def __init__(self, file: Path) -> None:
        self.file, self.names = file, dict[str, str]()
        self._seen: tuple[int, int, int] | None = None
        self._said = ""

    def look(self) -> None:
        """Read the file if it has changed. One that cannot be read lets nobody in any more."""
        try:
            stat = os.stat(self.file)
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            self.names, wrong = parse(self.file.read_text(encoding="utf-8", errors="replace"))
            self._seen = seen
        except OSError as e:
            self.names, self._seen = {}, None
            self._say(f"{self.file} cannot be read ({e.strerror}): its keys do not hold")
            return
        lines = [f"{self.file}: {len(self.names)} keys"]
        self._say("\n".join(lines + [f"{self.file}:{n}: must be NAME:SHA256 (64 hex digits)" for n in wrong]))

    def _say(self, text: str) -> None:
        if text != self._said:
            print(text, flush=True)
        self._said = text

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection of Caddy's: requests without bodies, one after another."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                authorization = ""
                for line in head.decode("utf-8", "surrogateescape").split("\r\n"):
                    field, _, value = line.partition(":")
                    if field.strip().lower() == "authorization":
                        authorization = value.strip()
                name = name_of(self.names, authorization)
                writer.write((_KNOWN.format(name) if name else _UNKNOWN).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()


async def serve(file: Path, socket: Path) -> None:
    """Answer until SIGTERM."""
    named, ended = Named(file), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    socket.unlink(missing_ok=True)
    await asyncio.to_thread(named.look)
    server = await asyncio.start_unix_server(named.answer, socket, limit=1 << 20)
    while not ended.is_set():
        try:
            await asyncio.wait_for(ended.wait(), _EVERY)
        except asyncio.TimeoutError:
            await asyncio.to_thread(named.look)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
