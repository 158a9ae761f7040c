"""One rank of a mocker worker group.

Stands in for SGLang's ranks where there is no GPU: rank 0 listens on dist-init-addr and runs
Dynamo's mocker once every other rank has joined; ranks above 0 hold a connection to it. A rank
that loses its group dies, as SGLang's do, so a wrong rank or address never goes unnoticed.

    python -m launcher.job.mocker_rank --group G --rank R --nnodes N --dist-init-addr H:P -- ARGS
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys

_JOIN_TIMEOUT = 120.0  # seconds until a group that is not complete gives up


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--group", "--dist-init-addr"):
        parser.add_argument(name, required=True)
    for name in ("--rank", "--nnodes"):
        parser.add_argument(name, required=True, type=int)
    parser.add_argument("mocker", nargs="*")
    args = parser.parse_args()
    host, port = args.dist_init_addr.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing; tells which own address reaches the head
        own = probe.getsockname()[0]
    print(
        f"rank: group={args.group} rank={args.rank} nnodes={args.nnodes} "
        f"dist-init-addr={args.dist_init_addr} host={socket.gethostname()} address={own}",
        flush=True,
    )
    try:
        if args.rank == 0:
            return asyncio.run(_head(host, int(port), args.nnodes, args.mocker))
        return asyncio.run(_member(host, int(port), args.rank))
    except (OSError, asyncio.TimeoutError, ValueError) as e:
        print(f"rank {args.rank} of {args.group}: {e or type(e).__name__}", file=sys.stderr)
        return 1


async def _head(host: str, port: int, nnodes: int, mocker: list[str]) -> int:
    joined: dict[int, asyncio.StreamWriter] = {}
    complete, lost = asyncio.Event(), asyncio.Event()

    async def on_join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().strip()
        if not line.isdigit() or not 0 < int(line) < nnodes or int(line) in joined:
            print(f"rank 0: refused a rank that calls itself {line!r}", file=sys.stderr)
            writer.close()
            return
        joined[int(line)] = writer
        print(f"rank {line} joined", flush=True)
        if len(joined) == nnodes - 1:
            complete.set()
        try:
            await reader.read()  # ends when that rank does
        except asyncio.CancelledError:
            return  # this rank ends; it has said why
        print(f"rank {line} left", file=sys.stderr, flush=True)
        lost.set()

    server = await asyncio.start_server(on_join, host, port)
    stop = _stop_event()
    if nnodes > 1:
        await asyncio.wait_for(complete.wait(), _JOIN_TIMEOUT)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "dynamo.mocker", *mocker)
    ended = asyncio.create_task(process.wait())
    waits = [ended, asyncio.create_task(lost.wait()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        process.terminate()
        await ended
    server.close()
    if stop.is_set():
        return 0
    return 1 if lost.is_set() else process.returncode or 0


async def _member(host: str, port: int, rank: int) -> int:
    stop = _stop_event()
    for attempt in range(int(_JOIN_TIMEOUT / 0.2)):
        try:
            reader, writer = await asyncio.open_connection(host, port)
            break
        except OSError:
            if attempt == int(_JOIN_TIMEOUT / 0.2) - 1:
                raise
            await asyncio.sleep(0.2)
    writer.write(f"{rank}\n".encode())
    await writer.drain()
    waits = [asyncio.create_task(reader.read()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        return 0
    print(f"rank {rank}: rank 0 at {host}:{port} is gone", file=sys.stderr)
    return 1


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
