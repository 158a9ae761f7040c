"""The connections that timed requests go over: opened before the clock starts, read at once.

Not aiohttp: it spends 0.3 to 0.5 ms on a request and 0.1 ms on a piece of a stream, which is
added to the times of everything that waits for the event loop: 0.4 s with 1,024 requests at once.
All times are in seconds, on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from .clock import arrival
from .http1 import BadAnswer, Reply

CONNECT_TIMEOUT = 10.0
OPENED_AT_ONCE = 64
"""Connections on their way, so that a listener's backlog (128 on many systems) is not overrun."""
BUFFER = 256 * 1024
WANTED_FILES = 16_384


def most_connections() -> int:
    """Files that this process may have open, after raising its own limit as far as it may."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return WANTED_FILES
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


class Disconnected(ConnectionError):
    """The other side closed the connection before its answer was whole."""


@dataclass
class Exchange:
    """One request and what came back.

    ``sent`` is when its last byte was handed to the system, and so left this process; ``ended``
    when the answer was whole or the exchange failed, with ``error``.
    """

    sent: float | None = None
    ended: float = 0.0
    reply: Reply = field(default_factory=Reply)
    error: BaseException | None = None


class Wire:
    """Keep-alive connections to one base URL, with the key and the authority of `open_session`. An async context
    manager."""

    def __init__(
        self, base_url: str, request_timeout: float, api_key: str | None = None, ca_file: str | None = None
    ) -> None:
        parts = urlsplit(base_url)
        self.request_timeout = request_timeout
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        self._key = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
        self._netloc, self._path = parts.netloc, parts.path
        self._addresses: list[tuple[Any, ...]] = []
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        # One for all: a piece is copied out of it before the loop reads the next one.
        self.buffer = memoryview(bytearray(BUFFER))
        self.arrival = time.monotonic

    async def __aenter__(self) -> Wire:
        self.arrival = arrival()
        return self

    async def __aexit__(self, *_error: object) -> None:
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    def post(self, path: str, body: bytes) -> bytes:
        """The bytes of a request, ready to be sent."""
        head = (
            f"POST {self._path}{path} HTTP/1.1\r\nHost: {self._netloc}\r\nUser-Agent: sgl-launch\r\n{self._key}"
            f"Content-Type: application/json\r\nAccept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def open(self, count: int) -> None:
        """Have ``count`` connections idle, as far as that can be done: what fails here fails
        again, and is told, when a request is sent."""
        gate = asyncio.Semaphore(OPENED_AT_ONCE)

        async def one() -> None:
            async with gate:
                self._idle.append(await self._connect())

        missing = [one() for _ in range(count - len(self._idle))]
        await asyncio.gather(*missing, return_exceptions=True)

    async def exchange(self, request: bytes) -> Exchange:
        """Send a request and read its answer to the end. Raises nothing but cancellation."""
        while True:
            exchange = Exchange()
            used = bool(self._idle)
            try:
                connection = self._idle.pop() if used else await self._connect()
            except (OSError, asyncio.TimeoutError) as error:
                exchange.error, exchange.ended = error, time.monotonic()
                return exchange
            await connection.run(exchange, request, self.request_timeout)
            if connection.usable:
                self._idle.append(connection)
            # A server may close a connection that was idle just when it is used again.
            if not (used and isinstance(exchange.error, Disconnected) and exchange.reply.status is None):
                return exchange

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        if not self._addresses:
            found = await loop.getaddrinfo(self._host, self._port, type=1)  # 1: SOCK_STREAM
            self._addresses = [entry[4] for entry in found]
        for address in self._addresses:
            try:
                opening = loop.create_connection(
                    lambda: _Connection(self),
                    address[0],
                    address[1],
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
                _, connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT)
                self._open.add(connection)
                return connection
            except (OSError, asyncio.TimeoutError):
                if address == self._addresses[-1]:
                    raise
        raise AssertionError("a host without an address")

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange at a time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def run(self, exchange: Exchange, request: bytes, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self._exchange, self._waiter = exchange, loop.create_future()
        late = loop.call_later(timeout, self._finish, asyncio.TimeoutError())
        try:
            if not self.usable:
                self._finish(Disconnected())
            else:
                assert self._transport is not None
                self._transport.write(request)
                # What the system did not take at once is stamped when it has (resume_writing).
                if not self._transport.get_write_buffer_size():
                    exchange.sent = time.monotonic()
            await self._waiter
        finally:
            late.cancel()
            self._exchange = None
            if not exchange.reply.complete or not exchange.reply.keep:
                self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Any byte that is left pauses, and the last one gone resumes.
        self._transport.set_write_buffer_limits(high=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._wire.buffer

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nobody asked
            return
        try:
            if exchange.reply.take(self._wire.arrival(), bytes(self._wire.buffer[:nbytes])):
                self._finish(None)
        except BadAnswer as error:
            self._finish(error)

    def resume_writing(self) -> None:
        if self._exchange is not None and self._exchange.sent is None:
            self._exchange.sent = time.monotonic()

    def eof_received(self) -> None:
        if self._exchange is not None and self._exchange.reply.end():
            self._finish(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._wire.lost(self)
        if self._exchange is not None:
            self._finish(None if self._exchange.reply.end() else Disconnected())

    def _finish(self, error: BaseException | None) -> None:
        if self._exchange is None or self._waiter is None or self._waiter.done():
            return
        self._exchange.error = error
        self._exchange.ended = time.monotonic()
        self._waiter.set_result(None)
