"""Who holds one of the further keys: asked by Caddy about each request that has another key than the job's.

    python -m launcher.front.named FILE SOCKET

FILE has a line `NAME:SHA256` or `NAME:SHA256:LIMIT` for each key (SHA256 in hex, of the key; LIMIT is how many requests
it may have at once); it is read again when it changes. Caddy can compare a text, but knows no hash and no such limit.

The answer is 200 with the name, or 401, or 429. The body of a 200 never ends: Caddy closes the connection when the
client's request is over, and so each open connection is a request that runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@-]{0,62}):([0-9a-fA-F]{64})(?::([1-9][0-9]{0,5}))?")
_EVERY = 2.0  # seconds between two looks at the file
_KNOWN = "HTTP/1.1 200 OK\r\nX-Key-Name: {}\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Key:
    """Whose key it is, and how many requests it may have at once; None for any number."""

    name: str
    limit: int | None = None


def _refusal(status: str, kind: str, message: str, header: str) -> bytes:
    """An error as OpenAI's clients read it."""
    error = {"message": message, "type": kind, "code": int(status.split()[0])}
    body = json.dumps({"error": error})
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{header}\r\nContent-Length: {len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n{body}".encode()


_UNKNOWN = _refusal("401 Unauthorized", "authentication_error", "this key is not known", "Www-Authenticate: Bearer")


def _too_many(key: Key) -> bytes:
    message = f"this key may have {key.limit} requests at once, and has them; try again when one has ended"
    return _refusal("429 Too Many Requests", "rate_limit_error", message, f"Retry-After: 1\r\nX-Key-Name: {key.name}")


def parse(text: str) -> tuple[dict[str, Key], list[int]]:
    """Keys by hash (lower case), and the numbers of the lines that are no key, no comment and not empty."""
    found, wrong = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if match := _LINE.fullmatch(line):
            found[match[2].lower()] = Key(match[1], int(match[3]) if match[3] else None)
        elif line and not line.startswith("#"):
            wrong.append(number)
    return found, wrong


def digest_of(authorization: str) -> str:
    """The hash of the key in an Authorization header; empty where there is none."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return ""
    return hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).hexdigest()


class Named:
    """The file, and the answers."""

    def __init__(self, file: Path) -> None:
        self.file, self.keys = file, dict[str, Key]()
        self.running: Counter[str] = Counter()  # requests by their key's hash
        self._seen: tuple[int, int, int] | None = None
        self._said = ""

    def look(self) -> None:
        """Read the file if it has changed. One that cannot be read lets nobody in any more."""
        try:
            stat = os.stat(self.file)
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            self.keys, wrong = parse(self.file.read_text(encoding="utf-8", errors="replace"))
            self._seen = seen
        except OSError as e:
            self.keys, self._seen = {}, None
            self._say(f"{self.file} cannot be read ({e.strerror}): its keys do not hold")
            return
        lines = [f"{self.file}: {len(self.keys)} keys"]
        self._say(
            "\n".join(
                lines + [f"{self.file}:{n}: must be NAME:SHA256 (64 hex digits) or NAME:SHA256:LIMIT" for n in wrong]
            )
        )

    def _say(self, text: str) -> None:
        if text != self._said:
            print(text, flush=True)
        self._said = text

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection of Caddy's: one request without a body, held open for as long as the client's runs."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            digest = digest_of(_header(head.decode("utf-8", "surrogateescape"), "authorization"))
            key = self.keys.get(digest)
            if key is None:
                writer.write(_UNKNOWN)
            elif key.limit is not None and self.running[digest] >= key.limit:
                writer.write(_too_many(key))
            else:
                await self._hold(digest, key, reader, writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()

    async def _hold(self, digest: str, key: Key, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.running[digest] += 1
        try:
            writer.write(_KNOWN.format(key.name).encode())
            await reader.read()  # Caddy says nothing more until it closes
        finally:
            self.running[digest] -= 1


def _header(head: str, wanted: str) -> str:
    found = ""
    for line in head.split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == wanted:
            found = value.strip()
    return found


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
