"""The address before several frontends: real connections to small servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable

from launcher.job.balance import Balancer, Target, in_turn


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def named_server(name: str) -> tuple[asyncio.AbstractServer, Target]:
    """Says its name to each connection, then what it is told, until the other side's end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        while (piece := await reader.read(1 << 16)) not in (b"", b"quit"):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, Target("127.0.0.1", server.sockets[0].getsockname()[1])


async def connect(port: int) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, and who answered it."""
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            return (await asyncio.wait_for(reader.read(1), 5)).decode(), reader, writer
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    raise AssertionError("nothing listens")


def balanced(names: str, test: Callable[[int, list[asyncio.AbstractServer], list[str]], Awaitable[None]],
             most: int = 100) -> list[str]:  # fmt: skip
    """Runs a test against a balancer; it ends by SIGTERM when the test has. Returns what it said."""
    said: list[str] = []

    async def run() -> None:
        made = [await named_server(name) for name in names]
        port = free_port()
        balancer = Balancer([t for _, t in made], said.append, most=most)
        serving = asyncio.create_task(balancer.serve(port))
        await test(port, [s for s, _ in made], said)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 5)
        for server, _ in made:
            server.close()

    asyncio.run(run())
    return said


def test_the_least_busy_is_asked_first() -> None:
    busy, idle, away = Target("a", 1, open=2), Target("b", 1, open=0), Target("c", 1, open=0, away_until=10.0)
    assert in_turn([busy, away, idle], now=5.0) == [idle, busy, away]
    assert in_turn([busy, away, idle], now=11.0)[0] is away


def test_connections_are_shared_and_bytes_come_whole() -> None:
    async def test(port: int, servers: list[asyncio.AbstractServer], said: list[str]) -> None:
        made = [await connect(port) for _ in range(6)]
        assert sorted(name for name, _, _ in made) == ["a", "a", "b", "b", "c", "c"]
        _, reader, writer = made[0]
        sent = os.urandom(3_000_000)
        writer.write(sent)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 20) == sent
        for _, _, writer in made:
            writer.close()

    said = balanced("abc", test)
    assert len(said) == 1
    assert "is answered by 127.0.0.1:" in said[0]


def test_a_frontend_that_is_gone_is_passed_over() -> None:
    async def test(port: int, servers: list[asyncio.AbstractServer], said: list[str]) -> None:
        servers[0].close()
        await servers[0].wait_closed()
        made = [await connect(port) for _ in range(4)]
        assert [name for name, _, _ in made] == ["b"] * 4
        assert sum("took no connection" in line for line in said) == 1
        for _, _, writer in made:
            writer.close()

    balanced("ab", test)


def test_sigterm_lets_connections_end() -> None:
    async def test(port: int, servers: list[asyncio.AbstractServer], said: list[str]) -> None:
        _, reader, writer = await connect(port)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        with socket.socket() as late:
            assert late.connect_ex(("127.0.0.1", port)) != 0, "a new one is refused"
        writer.write(b"still there")
        assert await asyncio.wait_for(reader.readexactly(11), 5) == b"still there"
        writer.close()

    balanced("a", test)


def test_an_idle_client_does_not_keep_it() -> None:
    """A client's pool keeps connections; a frontend that has ended closes them."""

    async def test(port: int, servers: list[asyncio.AbstractServer], said: list[str]) -> None:
        _, reader, writer = await connect(port)
        writer.write(b"quit")
        assert await asyncio.wait_for(reader.read(10), 5) == b""

    balanced("a", test)


def test_a_second_sigterm_ends_what_is_open() -> None:
    async def test(port: int, servers: list[asyncio.AbstractServer], said: list[str]) -> None:
        await connect(port)  # stays open
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)

    balanced("a", test)


def test_too_many_are_closed_and_the_others_go_on() -> None:
    async def test(port: int, servers: list[asyncio.AbstractServer], said: list[str]) -> None:
        held = [await connect(port) for _ in range(4)]
        assert (await connect(port))[0] == "", "the fifth"
        assert any("further ones are closed" in line for line in said)
        held[0][2].write(b"x")
        assert await asyncio.wait_for(held[0][1].readexactly(1), 5) == b"x"
        for _, _, writer in held:
            writer.close()

    balanced("ab", test, most=4)
