"""The stage `kernels` of a job: every node's caches are filled from one archive, or DeepGEMM's kernels are built; once
the deployment is warm, what is new goes back into the archive."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from launcher.base.counting import counted
from launcher.base.errors import WorkError
from launcher.kernels.wish import compile_seconds, job_of, manifest_or_why
from launcher.plan.model import Plan
from launcher.run.folder import RunFolder

FOREIGN_FOLDER, INCOMPLETE = 3, 4  # exit statuses of warmup.kernels
# Makes the folder for this user alone before a container needs it as a mount. $1: the folder.
MAKE = """mkdir -p "${1%/*/*}" && { mkdir -m 700 "${1%/*}" "$1" 2>/dev/null; for f in "${1%/*}" "$1"; do
  [ -d "$f" ] && [ ! -L "$f" ] && [ -O "$f" ] && chmod go-w "$f" && continue
  echo "$f: is not a folder of this user alone (on $HOSTNAME)"; exit 3
done; }"""


class Job(Protocol):
    """What the stage needs of the supervisor."""

    plan: Plan
    journal: Any  # launcher.job is above this
    logs: Any
    steps: Any
    helpers: dict[str, Any]

    def places(self, nodes: Sequence[int]) -> list[Any]: ...
    def share(self, variables: Mapping[str, str]) -> None: ...
    async def run_outside(self, words: Sequence[str]) -> str: ...


@dataclass(frozen=True)
class Prepared:
    """variables: for the workers. compile_s: seconds that SGLang needs beyond its usual start, to compile by itself."""

    variables: Mapping[str, str] = field(default_factory=dict)
    compile_s: float = 0.0


async def prepare_all(job: Job, run: RunFolder) -> Prepared:
    """Fill every node's folder of caches: from the archive that fits, read once on each node, or by a build on a first
    node of each kind. Raises WorkError where the config requires it, the job is for nothing else, or a node can't have
    the folder."""
    config = job.plan.config
    wish = config.warmup.kernels
    manifest, why = await asyncio.to_thread(manifest_or_why, config)
    told = await asyncio.to_thread(job_of, config, run.path.parent, manifest)
    if why:
        job.journal.say(f"DeepGEMM's kernels are not built ahead: {why}")
    try:
        if why and (wish.required or job.plan.only_kernels):
            raise WorkError(why)
        await asyncio.to_thread(_make_archives, told.cache_dir)
        told = await _with_folder(job, told)
        await asyncio.to_thread(_write, run, told)
        found = await _all_nodes(job)
    except ForeignFolder as e:
        try:
            told = _elsewhere(job, told, e)
            await _make_folder(job, told)
            await asyncio.to_thread(_write, run, told)
            found = await _all_nodes(job)
        except NoFolder:
            raise
        except WorkError as again:
            return _unprepared(job, again, told)
    except NoFolder:
        raise
    except WorkError as e:
        return _unprepared(job, e, told)
    text = _summary(found, len(manifest.distinct()) if manifest else 0)
    job.journal.event("kernels", "prepared", text)
    job.journal.say(text)
    # nothing is left to compile: SGLang need not look for it shape by shape
    return Prepared({"SGLANG_JIT_DEEPGEMM_PRECOMPILE": "0"} if manifest else {})


def _unprepared(job: Job, why: WorkError, told: Any) -> Prepared:
    if job.plan.config.warmup.kernels.required or job.plan.only_kernels:
        raise WorkError(f"the kernels could not be prepared: {why}") from None
    job.journal.event("kernels", "prepared", f"nothing: {why}")
    job.journal.say(f"the kernels could not be prepared ({why}): the workers will compile them")
    return Prepared(compile_s=compile_seconds(told.manifest) if told.manifest else 0.0)


class ForeignFolder(WorkError):
    """The nodes' folder of caches is somebody else's on one of them."""


class NoFolder(WorkError):
    """A folder that containers mount cannot be made."""


async def _with_folder(job: Job, told: Any) -> Any:
    job.share({"CACHES": str(told.folder), "ARCHIVES": str(told.cache_dir)})
    await _make_folder(job, told)
    return told


async def _make_folder(job: Job, told: Any) -> None:
    """On every node where a container will mount it; without one the steps make it themselves."""
    if job.plan.config.container.runtime != "none":
        said = await job.run_outside(["bash", "-c", MAKE, "caches", str(told.folder)])
        if "is not a folder of this user alone" in said:
            raise ForeignFolder(said)
        if said:
            raise NoFolder(f"{said}; set warmup.kernels.local_dir to a folder that each node can have")


def _elsewhere(job: Job, told: Any, why: WorkError) -> Any:
    """Made by another user under the name that ours would have, on some node: all of this job's get another."""
    above = told.folder.parent
    other = above.with_name(f"{above.name}-{os.urandom(6).hex()}") / told.folder.name
    job.journal.say(f"{why}; the kernels of this job are in {other}")
    job.share({"CACHES": str(other)})
    return replace(told, folder=other)


def _make_archives(folder: Path) -> None:
    """Before a container mounts it."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as e:
        raise NoFolder(f"{folder}: cannot be made: {e.strerror}; set warmup.kernels.cache_dir") from None


def _write(run: RunFolder, told: Any) -> None:
    """kernels.json and python/warmup, since the workers' container has nothing of ours."""
    import warmup.caches
    import warmup.kernels

    told.write(run.path / "kernels.json")
    target = run.path / "python" / "warmup"
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text('"""Part of sgl-launch, for this job\'s steps."""\n')
    for package in (warmup.caches, warmup.kernels):
        source = Path(str(package.__file__)).parent
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target / source.name, ignore=ignore, dirs_exist_ok=True)


async def _all_nodes(job: Job) -> dict[int, dict[str, Any]]:
    """What each node's step said, by node. All read the archive at once; where it lacks something, the first node of
    each kind builds that, and the others read it then."""
    kinds = kernel_nodes(job.plan)
    steps = [_step(job, "ensure", f"kernels-head{suffix}", [first]) for suffix, first, _ in kinds]
    steps += [_step(job, "unpack", f"kernels-all{suffix}", others) for suffix, _, others in kinds if others]
    done = await asyncio.gather(*steps, return_exceptions=True)
    for error in done:
        if isinstance(error, BaseException) and not isinstance(error, Incomplete):
            raise error
    found = {node: said for part in done if not isinstance(part, BaseException) for node, said in part.items()}
    for suffix, first, others in kinds:
        if others and (any(node not in found for node in others) or found[first]["how"] == "built"):
            found |= await _step(job, "unpack", f"kernels-all{suffix}", others)
    return found


class Incomplete(WorkError):
    """The archive lacks kernels of the plan, or there is none yet."""


async def pack_back(job: Job, compilers: Counter[str]) -> None:
    """What the first worker of each role compiled beyond the archive is kept for the next job; and the number of
    compilers that ran on all nodes is said."""
    new: Counter[str] = Counter()
    for node in sorted({role.groups[0].ranks[0].node for role in job.plan.roles}):
        try:
            new.update((await _step(job, "merge-back", f"kernels-merge-{node}", [node]))[node]["by_cache"])
        except WorkError as e:
            job.journal.say(f"new kernels of node {node} were not kept: {e}")
    ran = ", ".join(f"{name} {number}" for name, number in compilers.most_common())
    kept = ", ".join(f"{name} {number}" for name, number in new.most_common())
    text = f"compilers seen: {sum(compilers.values())}{f' ({ran})' if ran else ''}; "
    text += f"new files of caches: {sum(new.values())}{f' ({kept})' if kept else ''}"
    job.journal.event("kernels", "compiled", text)
    job.journal.say(text)


async def _step(job: Job, do: str, name: str, nodes: Sequence[int]) -> dict[int, dict[str, Any]]:
    step = job.steps.start(name, "kernels", job.places(nodes), {"KERNELS_DO": do})
    job.helpers[name] = step
    ended = await asyncio.shield(step.ended)
    del job.helpers[name]
    if ended.status:
        log = f"{name}-{ended.rank or 0}.log"
        said = " ".join(job.logs.tail(log)[-2:]) or ended.said
        if ended.status == INCOMPLETE:
            raise Incomplete(f"{said} (log {job.logs.folder}/{log})")
        if ended.status == FOREIGN_FOLDER:
            raise ForeignFolder(said.removeprefix("error: "))
        raise WorkError(f"{name} ended with exit status {ended.status}: {said} (log {job.logs.folder}/{log})")
    return {node: _last_object(job.logs.tail(f"{name}-{rank}.log")) for rank, node in enumerate(nodes)}


def _last_object(lines: Sequence[str]) -> dict[str, Any]:
    for line in reversed(lines):
        if line.startswith("{"):
            value: dict[str, Any] = json.loads(line)
            return value
    return {"how": "?", "by_cache": {}}


def _summary(found: Mapping[int, Mapping[str, Any]], shapes: int) -> str:
    """Such as "12 shapes: 45 kernels built in 19.1 s; 312 files (8.1 MB) unpacked on 6 nodes, 0.4 s"."""
    said = list(found.values())
    built = [s for s in said if s.get("how") == "built"]
    unpacked = [s for s in said if s.get("how") == "unpacked"]
    parts = [
        f"{s['kernels']} kernels built in {s['seconds']:.1f} s ({s['compiled']} compiled)" for s in built
    ]
    if unpacked:
        most = max(unpacked, key=lambda s: float(s["seconds"]))
        size = f"{most['files']} files, {most['read_bytes'] / 1e6:.1f} MB of archive"
        parts.append(f"{size}, read by {counted(len(unpacked), 'node')} in {most['seconds']:.1f} s")
    if present := [s for s in said if s.get("how") == "present"]:
        parts.append(f"there already on {counted(len(present), 'node')}")
    if not parts:
        parts.append("no archive yet: workers compile what they need, and it is kept once they are warm")
    refused = next((s["refused"] for s in said if s.get("refused")), "")
    return (f"{counted(shapes, 'shape')} of DeepGEMM; " if shapes else "") + "; ".join(
        [*parts, *([f"refused: {refused}"] if refused else [])]
    )


def kernel_nodes(plan: Plan) -> list[tuple[str, int, list[int]]]:
    """Of each component its first node, which builds or unpacks the kernels that fit its kind, and the other nodes
    of workers, which unpack them too; before them a suffix for the steps' names. On this machine that is one."""
    if plan.cluster == "local":
        return [("", 0, [])]
    used = {r.node for g in plan.groups for r in g.ranks}
    return [
        (
            f"-{number}" if plan.heterogeneous else "",
            c.first,
            sorted(n for n in used if c.first < n < c.first + c.nodes),
        )
        for number, c in enumerate(plan.components)
    ]
