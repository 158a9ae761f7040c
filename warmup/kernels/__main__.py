"""`python -m warmup.kernels`: the steps that run inside the serving image, with no other package.

Results go to stdout, progress and prose to stderr. Exit status: 0 done, 1 the work failed, 2 the
input is wrong, 3 the folder is not this user's alone, 4 the archive lacks kernels of the plan.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from warmup.caches.folder import FolderError, ForeignFolder
from warmup.caches.store import StoreError
from warmup.caches.writing import ArchiveError

from . import api
from . import log as logs
from .build import BuildError, Progress
from .flags import PlanError
from .job import Job
from .manifest import Manifest, ManifestError
from .probe import ProbeError
from .shapes import load_config, plan_roles
from .standin import StandinError
from .table import plan_json, plan_table

FOREIGN_FOLDER, INCOMPLETE = 3, 4  # exit statuses: another folder may do; the archive lacks kernels
INPUT = (PlanError, ManifestError, StoreError)
WORK = (
    ArchiveError,
    BuildError,
    FolderError,
    ProbeError,
    StandinError,
    FileNotFoundError,
)


def main(argv: list[str] | None = None) -> int:
    """Run one command; never a traceback for what a user can put right."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except INPUT as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ForeignFolder as error:
        print(f"error: {error}", file=sys.stderr)
        return FOREIGN_FOLDER
    except WORK as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; whole kernels are kept, run it again to go on", file=sys.stderr)
        return 130


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _plan(arguments: argparse.Namespace) -> int:
    if arguments.from_log:
        manifest = logs.learn_file(
            arguments.from_log,
            sglang=arguments.sglang,
            chunked_prefill=arguments.chunked_prefill,
            fast=arguments.fast,
        )
    else:
        config = load_config(arguments.model)
        env = {"SGLANG_JIT_DEEPGEMM_FAST_WARMUP": "1"} if arguments.fast else {}
        roles = [(role, _flags(text), env) for role, text in arguments.role or []]
        if not roles:
            raise PlanError("give at least one --role ROLE JSON, or --from-log FILE")
        manifest = plan_roles(config, roles, sglang=arguments.sglang)
    if arguments.out:
        manifest.write(arguments.out)
    if arguments.json:
        print(json.dumps(plan_json(manifest), indent=1))
    else:
        print(plan_table(manifest), end="")
    return 0


def _flags(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PlanError(f"--role: flags must be a JSON object, not {text[:80]!r}") from error
    if not isinstance(value, dict):
        raise PlanError(f"--role: flags must be a JSON object, not {text[:80]!r}")
    return value


def _build(arguments: argparse.Namespace) -> int:
    bar = _Bar()
    result = api.build_here(
        Manifest.read(arguments.manifest),
        arguments.folder,
        jobs=arguments.jobs,
        nice=arguments.nice,
        on_progress=bar,
    )
    bar.end()
    if result.nothing_to_do:
        print(f"nothing to do: all {result.total} kernels are there", file=sys.stderr)
    if result.timeline:
        print(result.timeline.text(), file=sys.stderr)
    print(json.dumps({**dataclasses.asdict(result), "folder": str(arguments.folder)}))
    return 0


def _ensure(arguments: argparse.Namespace) -> int:
    bar = _Bar()
    outcome = api.ensure(
        Job.read(arguments.job),
        jobs=arguments.jobs,
        nice=arguments.nice,
        on_progress=bar,
        on_refused=lambda why: print(f"refused and made anew: {why}", file=sys.stderr),
    )
    bar.end()
    print(json.dumps(vars(outcome)))
    return 0


def _unpack(arguments: argparse.Namespace) -> int:
    outcome = api.seed(Job.read(arguments.job))
    print(json.dumps(vars(outcome)))
    return 0 if outcome.complete else INCOMPLETE


def _merge_back(arguments: argparse.Namespace) -> int:
    path, new = api.pack_here(Job.read(arguments.job))
    by_cache = Counter(name.partition("/")[0] for name in new)
    print(json.dumps({"archive": path, "new": len(new), "by_cache": by_cache}))
    return 0


class _Bar:
    """Kernels done on one line of a terminal, or a line every few seconds in a log."""

    def __init__(self) -> None:
        self.live, self.last = sys.stderr.isatty(), 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if not self.live and now - self.last < 5:
            return
        self.last = now
        more = "+" if progress.phase == "find" else ""
        text = f"kernels {progress.done}/{progress.total}{more} after {progress.seconds:.0f} s"
        print(f"\r{text}" if self.live else text, end="" if self.live else "\n", file=sys.stderr)
        sys.stderr.flush()

    def end(self) -> None:
        if self.live and self.last:
            print(file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="warmup.kernels", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = commands.add_parser("plan", help="compute or learn the shapes; needs no GPU")
    plan.set_defaults(run=_plan)
    plan.add_argument("--model", help="model folder, or a DeepSeek V3/R1 name")
    plan.add_argument("--role", nargs=2, action="append", metavar=("ROLE", "JSON"), help="a role and its flags")
    plan.add_argument("--from-log", type=Path, help="learn from a SGLang log instead")
    plan.add_argument("--sglang", help="SGLang version; default the newest known")
    plan.add_argument("--chunked-prefill", type=int, help="tokens a rank, with --from-log")
    plan.add_argument("--fast", action="store_true", help="SGLANG_JIT_DEEPGEMM_FAST_WARMUP is on")
    plan.add_argument("--out", type=Path, help="write the manifest there")
    plan.add_argument("--json", action="store_true")

    build = commands.add_parser("build", help="compile every kernel of a manifest into a folder")
    build.set_defaults(run=_build)
    build.add_argument("--manifest", type=Path, required=True)
    build.add_argument("--folder", type=Path, required=True, help="SGLANG_DG_CACHE_DIR")
    ensure = commands.add_parser("ensure", help="have the caches: unpack the archive, or build kernels and pack them")
    ensure.set_defaults(run=_ensure)
    for command in (build, ensure):
        command.add_argument("--jobs", type=int, help="nvcc processes; default all cores")
        command.add_argument("--nice", type=int, default=0, help="niceness of every child")
    unpack = commands.add_parser("unpack", help="unpack the archive that fits this machine")
    unpack.set_defaults(run=_unpack)
    merge = commands.add_parser("merge-back", help="add to the archive what a job's workers compiled")
    merge.set_defaults(run=_merge_back)
    for command in (ensure, unpack, merge):
        command.add_argument("job", type=Path, metavar="JOB.json", help="what `sgl-launch` wrote for its steps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
