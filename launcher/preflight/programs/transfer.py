"""NIXL transfers between heads of workers, as a decode worker and a prefill worker move KV caches.

`take PORT SECONDS NAME...` is a decode head: offers memory to each prefill head of those pairs that
comes. `give NAME,ADDRESS,PORT... SECONDS` is a prefill head: writes to each decode head in turn, and
prints a line `SGL_NET {...}` for each pair. Runs in the workers' Python; always ends by itself.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import socket
import sys
import threading
import time
from typing import Any

SIZE = 64 << 20
TIMES = 4
lock = threading.Lock()
open_pairs: list[str] = []


def say(name: str, state: str, text: str, rate: float = 0.0, rank: int = 0) -> None:
    with lock:
        found = {"what": "transfer", "name": name, "rank": rank, "state": state, "text": text, "rate": rate}
        # in one write: others write to the same pipe, and print() may take two (PYTHONUNBUFFERED)
        os.write(1, f"SGL_NET {json.dumps(found)}\n".encode())


def close(rank: int, state: str, text: str) -> None:
    """Say the same of every pair that is left, and be gone."""
    for name in list(open_pairs):
        say(name, state, text, rank=rank)
    os._exit(0)


def send(to: socket.socket, **values: Any) -> None:
    to.sendall((json.dumps(values) + "\n").encode())


def receive(lines: Any) -> dict[str, Any]:
    line = lines.readline()
    if not line:
        raise ConnectionError("the other side has ended")
    values: dict[str, Any] = json.loads(line)
    return values


class Memory:
    """Registered memory of this process: a GPU's where there is one, else the machine's."""

    def __init__(self, name: str, fill: int) -> None:
        from nixl._api import nixl_agent, nixl_agent_config

        self.agent = nixl_agent(name, nixl_agent_config(backends=["UCX"]))
        self.kind, self.address = "DRAM", 0
        try:
            import torch

            if torch.cuda.is_available():
                self.tensor = torch.full((SIZE,), fill, dtype=torch.uint8, device="cuda:0")
                torch.cuda.synchronize()
                self.kind, self.address = "VRAM", self.tensor.data_ptr()
        except ImportError:
            pass
        if not self.address:
            self.buffer = ctypes.create_string_buffer(SIZE)
            ctypes.memset(self.buffer, fill, SIZE)
            self.address = ctypes.addressof(self.buffer)
        self.agent.register_memory([(self.address, SIZE, 0, "")], self.kind)

    def last(self) -> int:
        if self.kind == "VRAM":
            return int(self.tensor[-1])
        return ctypes.c_ubyte.from_address(self.address + SIZE - 1).value

    def clear(self) -> None:
        if self.kind == "VRAM":
            self.tensor.zero_()
        else:
            ctypes.memset(self.buffer, 0, SIZE)

    def metadata(self) -> str:
        return base64.b64encode(self.agent.get_agent_metadata()).decode()


def take(port: int, seconds: float, names: list[str]) -> None:
    server = socket.create_server(("0.0.0.0", port))
    memory = Memory(f"take-{os.uname().nodename}-{os.getpid()}", 0)
    server.settimeout(seconds)
    while open_pairs:
        peer, _ = server.accept()
        peer.settimeout(seconds)
        with peer, peer.makefile("r") as lines:
            try:
                name = receive(lines)["pair"]
                if name not in open_pairs:
                    continue
                memory.clear()
                send(peer, metadata=memory.metadata(), address=memory.address, kind=memory.kind)
                wanted = receive(lines)["fill"]
                send(peer, same=memory.last() == wanted)
                open_pairs.remove(name)
            except (OSError, ValueError, KeyError):
                continue  # the other side says what was wrong


def connect(address: str, port: int, until: float) -> socket.socket:
    while True:
        try:
            return socket.create_connection((address, port), timeout=5)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def give(pairs: list[tuple[str, str, int]], seconds: float) -> None:
    fill = 0xA5
    memory = Memory(f"give-{os.uname().nodename}-{os.getpid()}", fill)
    until = time.monotonic() + seconds
    for name, address, port in pairs:
        try:
            say(name, "ok", memory.kind, one(memory, name, connect(address, port, until), fill, until))
        except Exception as e:
            said = str(e).strip().splitlines() or [type(e).__name__]
            say(name, "bad", f"{said[0]} ({address})")
        open_pairs.remove(name)


def one(memory: Memory, name: str, peer: socket.socket, fill: int, until: float) -> float:
    """GiB a second of one pair."""
    agent = memory.agent
    peer.settimeout(max(1.0, until - time.monotonic()))
    with peer, peer.makefile("r") as lines:
        send(peer, pair=name)
        theirs = receive(lines)
        other = agent.add_remote_agent(base64.b64decode(theirs["metadata"]))
        other = other.decode() if isinstance(other, bytes) else other
        mine = agent.get_xfer_descs([(memory.address, SIZE, 0)], memory.kind)
        there = agent.get_xfer_descs([(theirs["address"], SIZE, 0)], theirs["kind"])
        handle = agent.initialize_xfer("WRITE", mine, there, other)
        best = 0.0
        for _ in range(TIMES):  # the first one connects
            begin = time.perf_counter()
            state = agent.transfer(handle)
            while state not in ("DONE", "ERR"):
                if time.monotonic() > until:
                    raise TimeoutError("the transfer did not end in time")
                state = agent.check_xfer_state(handle)
            if state == "ERR":
                raise RuntimeError("NIXL says ERR")
            best = max(best, SIZE / (time.perf_counter() - begin) / (1 << 30))
        send(peer, fill=fill)
        same = receive(lines)["same"]
        agent.release_xfer_handle(handle)
        agent.remove_remote_agent(other)
    if not same:
        raise RuntimeError("what was written is not what arrived")
    return best


def main() -> None:
    giving = sys.argv[1] == "give"
    seconds = float(sys.argv[-1] if giving else sys.argv[3])
    rank = 0 if giving else 1
    targets: list[tuple[str, str, int]] = []
    if giving:
        for word in sys.argv[2:-1]:
            name, address, port = word.split(",")
            targets.append((name, address, int(port)))
    open_pairs.extend([t[0] for t in targets] or sys.argv[4:])
    late = f"nothing came of it within {seconds + 5:g} s"
    watchdog = threading.Timer(seconds + 5, close, (rank, "bad", late))
    watchdog.daemon = True
    watchdog.start()
    try:
        import nixl._api  # noqa: F401
    except ImportError:
        close(rank, "none", f"no nixl in {sys.executable}")
    try:
        if giving:
            give(targets, seconds)
        else:
            take(int(sys.argv[2]), seconds, sys.argv[4:])
    except Exception as e:
        close(rank, "bad", str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__)
    os._exit(0)


if __name__ == "__main__":
    main()
