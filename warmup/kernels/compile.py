"""Running nvcc once for every kernel, on all cores, and putting each into the cache whole."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from warmup.caches.folder import is_whole

from . import folder as cache_folder
from .process import kill, start, tail
from .standin import FoundKernel


@dataclass(frozen=True)
class Failure:
    """A kernel that nvcc refused. output: its last lines."""

    name: str
    command: str
    output: str


@dataclass
class _Running:
    name: str
    staged: Path
    log: Path
    command: list[str]
    process: subprocess.Popen[bytes]
    started: float


@dataclass
class Compilers:
    """At most `jobs` nvcc processes at a time. Not a thread in sight: poll() moves things on.

    folder: the cache to fill. staging: on the same filesystem. nvcc: the real compiler. nice:
    niceness added to each. on_done: called with a kernel's name once it is in the cache.
    """

    folder: Path
    staging: Path
    nvcc: str
    jobs: int
    nice: int = 0
    on_done: Callable[[str], None] = lambda name: None
    waiting: list[FoundKernel] = field(default_factory=list)
    running: list[_Running] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Kernel, begin and end, by the monotonic clock."""

    def add(self, kernels: Sequence[FoundKernel]) -> None:
        """Queue kernels, the slow ones first: the last to start decides when all are done."""
        self.waiting.extend(kernels)
        self.waiting.sort(key=lambda kernel: -effort(kernel.source))

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def poll(self) -> None:
        """Collect what has ended, start what fits."""
        still = []
        for item in self.running:
            if item.process.poll() is None:
                still.append(item)
            else:
                self._collect(item)
        self.running = still
        while self.waiting and len(self.running) < self.jobs:
            self.running.append(self._start(self.waiting.pop(0)))

    def stop(self) -> None:
        """Kill every compiler. What was being compiled stays in staging and is never picked up."""
        for item in self.running:
            kill(item.process)
        self.running, self.waiting = [], []

    def _start(self, kernel: FoundKernel) -> _Running:
        staged = self.staging / kernel.name
        staged.mkdir(parents=True)
        kernel.write(staged)
        log = self.staging / f"{kernel.name}.log"
        command = kernel.command(self.nvcc, staged)
        process = start(command, log, cwd=self.staging, nice=self.nice)
        return _Running(kernel.name, staged, log, command, process, time.monotonic())

    def _collect(self, item: _Running) -> None:
        status = item.process.returncode
        now = time.monotonic()
        self.seconds[item.name] = now - item.started
        self.spans.append((item.name, item.started, now))
        if status == 0 and is_whole(item.staged):
            cache_folder.commit(item.staged, self.folder, item.name)
            self.on_done(item.name)
            return
        output = tail(item.log) or f"no output, status {status}"
        self.failures.append(Failure(item.name, " ".join(item.command), output))


def effort(source: str) -> float:
    """Rough relative cost of compiling a kernel, for the order only.

    In the FP8 kernels a block N (the second of a line of three sizes that ends in 128) above 128
    unrolls the scale handling and takes about twice as long; measured with nvcc 13.0 at 5.0 s
    against 1.7 to 2.6 s.
    """
    match = re.search(r"^\s*(\d+), (\d+), 128,\s*$", source, re.MULTILINE)
    if match is None:
        return 1.0
    block_m, block_n = int(match[1]), int(match[2])
    return (2.0 if block_n > 128 else 1.0) + block_m * block_n / 65536
