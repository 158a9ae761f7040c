"""Child processes of the supervisor: output, orders, signals, and their end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.job.child import Child, run_program


def go(does: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(does(), 20))  # type: ignore[arg-type]


def bash(text: str, said: list[bytes], **options: Any) -> Child:
    return Child(["bash", "-c", text], {**os.environ}, said.append, **options)


@pytest.mark.parametrize("status", [0, 3, -15])
def test_its_end_is_noticed_at_once(status: int) -> None:
    async def does() -> tuple[int, float]:
        said: list[bytes] = []
        child = bash("kill -TERM $$" if status < 0 else f"exit {status}", said)
        begin = time.monotonic()
        code = await child.ended
        child.close()
        return code, time.monotonic() - begin

    code, seconds = go(does)
    assert code == status
    assert seconds < 2


def test_whole_lines_come_and_the_last_one_gets_an_end() -> None:
    async def does() -> tuple[list[bytes], list[bytes]]:
        out: list[bytes] = []
        err: list[bytes] = []
        child = bash("printf 'a\\nb\\nc'; echo oops >&2", out, err=err.append)
        await child.ended
        child.close()
        return out, err

    out, err = go(does)
    assert b"".join(out) == b"a\nb\nc\n"
    assert all(data.endswith(b"\n") for data in out)
    assert err == [b"oops\n"]


def test_a_line_that_has_no_end_is_cut() -> None:
    async def does() -> list[bytes]:
        said: list[bytes] = []
        child = bash("head -c 3000000 /dev/zero", said)
        await child.ended
        child.close()
        return said

    said = go(does)
    assert len(said) == 3
    assert sum(data.count(b"\0") for data in said) == 3_000_000
    assert all(data.endswith(b"\n") and len(data) < 1_200_000 for data in said)


def test_orders() -> None:
    async def does() -> list[bytes]:
        said: list[bytes] = []
        child = bash("while read -r x; do echo got $x; done; echo end", said, told=True)
        child.tell("one")
        child.tell("two words")
        while b"two" not in b"".join(said):
            await asyncio.sleep(0.01)
        assert child.process.stdin
        child.process.stdin.close()
        await child.ended
        child.tell("nobody hears this")
        child.close()
        return said

    assert b"".join(go(does)) == b"got one\ngot two words\nend\n"


def test_one_that_does_not_read_holds_nothing_up() -> None:
    async def does() -> float:
        child = bash("sleep 30", [], told=True)
        begin = time.monotonic()
        for _ in range(2000):
            child.tell("x" * 100)
        seconds = time.monotonic() - begin
        child.signal(signal.SIGKILL)
        await child.ended
        child.close()
        return seconds

    assert go(does) < 2


def test_a_group_is_ended_together() -> None:
    async def does() -> None:
        said: list[bytes] = []
        child = bash("sleep 60 & echo $!; exit 4", said, group=True)
        assert await child.ended == 4
        assert child.others()
        child.signal(signal.SIGKILL)
        while child.others():
            await asyncio.sleep(0.01)
        child.close()

    go(does)


def test_one_that_ends_while_others_of_it_write_on() -> None:
    """Reading what is left must not go on for ever."""

    async def does() -> float:
        lines = [0]

        def count(data: bytes) -> None:
            lines[0] += 1

        child = Child(["bash", "-c", "yes & yes & sleep 0.3; exit 5"], {**os.environ}, count, group=True)
        begin = time.monotonic()
        assert await child.ended == 5
        child.close()
        child.signal(signal.SIGKILL)
        return time.monotonic() - begin

    assert go(does) < 5


def test_short_programs() -> None:
    async def does() -> list[tuple[int, str]]:
        return [
            await run_program(["bash", "-c", "echo out; echo err >&2; exit 3"], 10),
            await run_program(["/nowhere/at-all"], 10),
            await run_program(["sleep", "60"], 0.2),
        ]

    assert go(does) == [
        (3, "out\nerr\n"),
        (127, "/nowhere/at-all: No such file or directory"),
        (124, "sleep did not answer within 0 s"),
    ]  # fmt: skip


def test_a_program_that_nobody_waits_for_any_more_is_ended(folder: Path) -> None:
    file = folder / "pid"

    async def does() -> int:
        task = asyncio.create_task(run_program(["bash", "-c", "echo $$ >pid; exec sleep 60"], 50))
        while not file.exists() or not file.read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return int(file.read_text())

    stat = Path(f"/proc/{go(does)}/stat")
    for _ in range(100):
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("it lives")
