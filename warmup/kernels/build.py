"""The build: find every distinct kernel, compile each once on all cores, record the result."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from warmup.caches.folder import exclusive, write_atomically

from . import folder as cache_folder
from . import standin
from .balance import split, workers_for
from .compile import Compilers
from .manifest import Manifest
from .probe import Toolchain
from .process import kill, start, tail
from .timeline import Timeline

POLL_S = 0.02
FOUND = "found.json"


class BuildError(RuntimeError):
    """A build that did not finish; what was compiled stays and is not compiled again."""


@dataclass(frozen=True)
class Progress:
    """phase: 'find' while kernels may still be met, then 'compile'. done, total: kernels.
    pairs_done, pairs: (shape, M) pairs met. seconds: since the build began."""

    phase: str
    done: int
    total: int
    pairs_done: int
    pairs: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """compiled: kernels that this run compiled; total: kernels in the folder for this plan.
    find_s, compile_s, total_s: seconds. compile_cpu_s: all nvcc runs' wall time added up. timeline: None when nothing
    was to do."""

    compiled: int
    total: int
    find_s: float = 0.0
    compile_s: float = 0.0
    total_s: float = 0.0
    compile_cpu_s: float = 0.0
    timeline: Timeline | None = None

    @property
    def nothing_to_do(self) -> bool:
        return self.compiled == 0


def default_jobs() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def build_folder(
    manifest: Manifest,
    folder: Path,
    *,
    key: dict[str, str],
    toolchain: Toolchain,
    arch: str,
    jobs: int | None = None,
    nice: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    finder: Sequence[str] = (sys.executable, "-m", "warmup.kernels.sweep"),
) -> Result:
    """Fill `folder` with every kernel of the manifest; a finished folder is left as it is.

    key: what the kernels depend on, the plan's digest among it (`shapes`); another key's record
    starts the search anew. arch: such as 'sm_90'. jobs: nvcc processes at a time, default all cores. nice:
    niceness added to every child. finder: the command that meets kernels, given a job file.
    Interrupt it at any point: nothing half-written is in the cache, and the next run compiles what
    is missing. Raises BuildError, folder.FolderError, standin.StandinError.
    """
    began = time.monotonic()
    record = cache_folder.read_record(folder, key)
    if record is not None and not cache_folder.unfinished(folder, record):
        return Result(0, len(record.kernels), total_s=time.monotonic() - began)
    with exclusive(folder) as staging:
        run = _Run(
            manifest,
            folder,
            staging,
            key,
            toolchain,
            arch,
            jobs or default_jobs(),
            nice,
            on_progress or (lambda progress: None),
            tuple(finder),
            began,
        )
        return run.go()


@dataclass
class _Run:
    """One build while it runs."""

    manifest: Manifest
    folder: Path
    staging: Path
    key: dict[str, str]
    toolchain: Toolchain
    arch: str
    jobs: int
    nice: int
    on_progress: Callable[[Progress], None]
    finder: tuple[str, ...]
    began: float
    compiled: int = 0
    names: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)
    pairs_done: int = 0
    pairs: int = 0
    reported: float = 0.0
    met: list[float] = field(default_factory=list)

    def go(self) -> Result:
        compilers = Compilers(self.folder, self.staging, self.toolchain.nvcc_path, self.jobs, self.nice, self._count)
        self.present = set(cache_folder.kernels(self.folder))
        try:
            if not self._resume(compilers):
                self._find(compilers)
            find_s = time.monotonic() - self.began
            while not compilers.idle:
                compilers.poll()
                self._report("compile")
                time.sleep(POLL_S)
        finally:
            compilers.stop()
        self._report("compile", force=True)
        if compilers.failures:
            first = compilers.failures[0]
            raise BuildError(
                f"{len(compilers.failures)} of {len(self.names)} kernels did not compile; the "
                f"others are kept. First: {first.name}\n{first.command}\n{first.output}"
            )
        self._record()
        total_s = time.monotonic() - self.began
        return Result(
            self.compiled,
            len(self.names),
            find_s,
            total_s - find_s,
            total_s,
            sum(compilers.seconds.values()),
            self._timeline(compilers, total_s),
        )

    def _timeline(self, compilers: Compilers, total_s: float) -> Timeline:
        spans = tuple((name, begin - self.began, end - self.began) for name, begin, end in compilers.spans)
        first, last = min(self.met, default=0.0), max(self.met, default=0.0)
        return Timeline(first, last, total_s, self.jobs, spans)

    def _find(self, compilers: Compilers) -> None:
        """Sweep with the stand-in; compilers start on each kernel as soon as it is met."""
        distinct = self.manifest.distinct()
        self.pairs = sum(len(shape.sweep) * len(shape.reserved_sms) for shape in distinct)
        hands = split(distinct, workers_for(self.pairs, self.jobs))
        with _scratch() as scratch:
            script = standin.make(scratch, self.toolchain.nvcc_path, self.arch)
            job = {
                "folder": str(scratch),
                "hollow": True,
                "hands": [[dataclasses.asdict(piece) for piece in hand] for hand in hands],
            }
            (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
            log = scratch / "log"
            process = start(
                [*self.finder, str(scratch / "job.json")],
                log,
                env=_finder_env(script),
                nice=self.nice,
            )
            try:
                found = self._follow(process, scratch, len(hands), compilers)
            finally:
                kill(process)
            if process.returncode:
                raise BuildError(f"finding the kernels failed with status {process.returncode}:\n{tail(log, 25)}")
            if not found:
                raise BuildError(f"the sweep met no kernel at all:\n{tail(log, 25)}")
        self._remember(found)

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        scratch: Path,
        workers: int,
        compilers: Compilers,
    ) -> list[standin.FoundKernel]:
        known: list[set[str]] = [set() for _ in range(workers)]
        kernels: list[standin.FoundKernel] = []
        ended = False
        while not ended:
            # Look once more after the end, or the last kernels would be missed.
            ended = process.poll() is not None
            for index in range(workers):
                fresh = [
                    kernel
                    for kernel in standin.found(scratch, index, self.toolchain.nvcc_path, known[index])
                    if kernel.name not in self.names
                ]
                if fresh:
                    kernels += fresh
                    self._queue(fresh, compilers)
            self.pairs_done = sum(_met(scratch / f"done.{index}") for index in range(workers))
            compilers.poll()
            self._report("find")
            time.sleep(POLL_S)
        return kernels

    def _queue(self, kernels: list[standin.FoundKernel], compilers: Compilers) -> None:
        self.met.append(time.monotonic() - self.began)
        self.names |= {kernel.name for kernel in kernels}
        compilers.add([kernel for kernel in kernels if kernel.name not in self.present])

    def _remember(self, found: list[standin.FoundKernel]) -> None:
        """Keep what was found, so that an interrupted build resumes without a GPU."""
        document = {
            "key": self.key,
            "kernels": {kernel.name: kernel.to_json() for kernel in found},
        }
        write_atomically(self.folder / FOUND, json.dumps(document))

    def _resume(self, compilers: Compilers) -> bool:
        """Queue what an earlier build of the same key found; False when there is none."""
        try:
            document = json.loads((self.folder / FOUND).read_text(encoding="utf-8"))
            if document["key"] != self.key:
                return False
            found = [standin.FoundKernel.from_json(name, value) for name, value in document["kernels"].items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        self._queue(found, compilers)
        return bool(found)

    def _count(self, name: str) -> None:
        self.compiled += 1
        self.present.add(name)

    def _report(self, phase: str, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self.reported < 0.2:
            return
        self.reported = now
        self.on_progress(
            Progress(
                phase,
                len(self.names & self.present),
                len(self.names),
                self.pairs_done,
                self.pairs,
                now - self.began,
            )
        )

    def _record(self) -> None:
        cubin = cache_folder.FILES[1]
        digests = {
            name: cache_folder.digest(self.folder / cache_folder.CACHE / name / cubin) for name in sorted(self.names)
        }
        cache_folder.write_record(self.folder, cache_folder.Record(self.key, digests))
        (self.folder / FOUND).unlink(missing_ok=True)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder on local storage, never in the cache: the empty kernels must not be picked up."""
    path = Path(tempfile.mkdtemp(prefix="deepgemm-find-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _finder_env(script: Path) -> dict[str, str]:
    """This environment with the stand-in as the compiler, and this package importable."""
    env = dict(os.environ)
    env["DG_JIT_NVCC_COMPILER"] = str(script)
    env["DG_JIT_USE_NVRTC"] = "0"
    package = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join(part for part in (package, env.get("PYTHONPATH")) if part)
    return env


def _met(report: Path) -> int:
    try:
        return int(report.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
