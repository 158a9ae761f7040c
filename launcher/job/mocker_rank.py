"""One rank of a mocker worker group.

Stands in for SGLang's ranks where there is no GPU: rank 0 listens on dist-init-addr and runs Dynamo's mocker once every
other rank has joined; ranks above 0 hold a connection to it. A rank that loses its group dies, as SGLang's do, so a
wrong rank or address never goes unnoticed.

    python -m launcher.job.mocker_rank --group G --rank R --nnodes N --dist-init-addr H:P -- ARGS
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import time

_JOIN_TIMEOUT = 120.0  # seconds until a group that is not complete gives up


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--group", "--dist-init-addr"):
        parser.add_argument(name, required=True)
    for name in ("--rank", "--nnodes"):
        parser.add_argument(name, required=True, type=int)
    parser.add_argument("mocker", nargs="*")
    args = parser.parse_args()
    host, _, port = args.dist_init_addr.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing; tells which own address reaches the head
        own = probe.getsockname()[0]
    print(
        f"rank: group={args.group} rank={args.rank} nnodes={args.nnodes} "
        f"dist-init-addr={args.dist_init_addr} host={socket.gethostname()} address={own}",
        flush=True,
    )

    async def until_told_to_stop() -> int:
        at = host, int(port)
        task = asyncio.ensure_future(_member(*at, args.rank) if args.rank else _head(*at, args.nnodes, args.mocker))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(until_told_to_stop())
    except asyncio.CancelledError:
        return 0
    except (OSError, asyncio.TimeoutError, ValueError) as e:
        print(f"rank {args.rank} of {args.group}: {e or type(e).__name__}", file=sys.stderr)
        return 1


async def _head(host: str, port: int, nnodes: int, mocker: list[str]) -> int:
    joined: set[int] = set()
    complete, lost = asyncio.Event(), asyncio.Event()

    async def on_join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().strip()
        if not line.isdigit() or not 0 < int(line) < nnodes or int(line) in joined:
            print(f"rank 0: refused a rank that calls itself {line!r}", file=sys.stderr)
            writer.close()
            return
        joined.add(int(line))
        print(f"rank {line} joined", flush=True)
        if len(joined) == nnodes - 1:
            complete.set()
        try:
            await reader.read()  # ends when that rank does
        except asyncio.CancelledError:
            return  # this rank ends; it has said why
        print(f"rank {line} left", file=sys.stderr, flush=True)
        lost.set()

    await asyncio.start_server(on_join, host, port)
    if nnodes > 1:
        await asyncio.wait_for(complete.wait(), _JOIN_TIMEOUT)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "dynamo.mocker", *mocker)
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait([ended, asyncio.create_task(lost.wait())], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not ended.done():
            process.terminate()
            await ended
    return 1 if lost.is_set() else process.returncode or 0


async def _member(host: str, port: int, rank: int) -> int:
    deadline = time.monotonic() + _JOIN_TIMEOUT
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    writer.write(f"{rank}\n".encode())
    await reader.read()
    print(f"rank {rank}: rank 0 at {host}:{port} is gone", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
