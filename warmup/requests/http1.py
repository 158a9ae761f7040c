"""HTTP/1.1 answers taken apart as their bytes come. Pure; as little work a piece as can be.

A thousand streams of a deployment are 50,000 pieces a second, and each microsecond spent on one is
added to the times of those that wait behind it. So only the framing is followed here; what the
pieces say is read when nothing is being timed.
"""

from __future__ import annotations

from dataclasses import dataclass, field


class BadAnswer(Exception):
    """What came is no HTTP/1.1. The message says what it was."""


@dataclass
class Reply:
    """One answer on its way. ``take`` its bytes; ``pieces`` are its body with times of arrival."""

    status: int | None = None
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False
    keep: bool = True
    """Whether the connection can be used again."""
    _rest: bytes = b""
    _chunked: bool = False
    _left: int | None = None
    """Bytes left of the body, or of the current chunk with its line end; None: until the end of
    the connection, or between two chunks."""
    _last: bool = False

    def take(self, now: float, data: bytes) -> bool:
        """Take bytes as they arrived; True when the answer is whole. Raises BadAnswer."""
        if self.status is None:
            data = self._rest + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > 65_536:
                    raise BadAnswer(f"its header does not end: {data[:60]!r}")
                self._rest = data
                return False
            self._rest = b""
            self._header(data[:end])
            if self.status == 100:  # "go on"; the answer follows
                self.status = None
                return self.take(now, data[end + 4 :])
            data = data[end + 4 :]
        if self._chunked:
            self._chunks(now, data)
        elif data:
            self.pieces.append((now, data))
            if self._left is not None:
                self._left -= len(data)
        if not self._chunked and self._left is not None and self._left <= 0:
            self.complete = True
        return self.complete

    def end(self) -> bool:
        """The connection has ended; True when that is how this answer ends."""
        if self.status is not None and not self._chunked and self._left is None:
            self.complete = True
        return self.complete

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def _header(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        protocol, _, rest = first.partition(" ")
        if not protocol.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise BadAnswer(f"not an HTTP answer: {first[:60]!r}")
        self.status = int(rest[:3])
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip().lower()
        self._chunked = "chunked" in fields.get("transfer-encoding", "")
        length = fields.get("content-length", "")
        if not self._chunked and length.isdigit():
            self._left = int(length)
        self.keep = fields.get("connection") != "close" and protocol != "HTTP/1.0"

    def _chunks(self, now: float, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, size = 0, len(data)
        while at < size:
            if self._left is None:
                end = data.find(b"\r\n", at)
                if end < 0:
                    self._rest = data[at:]
                    return
                if self._last:  # the end of the trailer, which is empty as a rule
                    self.complete = self.complete or end == at
                    at = end + 2
                    continue
                try:
                    length = int(data[at:end].split(b";", 1)[0], 16)
                except ValueError:
                    raise BadAnswer(f"a chunk of no length: {data[at:end][:60]!r}") from None
                at = end + 2
                if length == 0:
                    self._last = True
                else:
                    self._left = length + 2
                continue
            part = data[at : at + self._left]
            at += len(part)
            # The last two bytes of a chunk are its line end, not its content.
            content = part[: max(0, self._left - 2)]
            if content:
                self.pieces.append((now, content))
            self._left -= len(part)
            if self._left == 0:
                self._left = None
