"""Which DeepGEMM kernels a job needs, and the package that builds them, into its run folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from launcher.base.errors import WorkError
from launcher.job.journal import Journal
from launcher.job.logs import Logs
from launcher.job.steps import Place, Step, Steps
from launcher.plan.model import Plan
from launcher.plan.show import to_json
from launcher.run.folder import RunFolder
from launcher.run.planned import Planned

if TYPE_CHECKING:
    from warmup.kernels import Manifest

FOREIGN_FOLDER = 3  # exit status of warmup.kernels


def manifest_of(config: Mapping[str, Any]) -> Manifest:
    """The shapes of a config's workers: from its manifest, or computed from their flags.

    `config` is the validated config as a mapping. Raises warmup.kernels' errors (ERRORS).
    """
    from warmup.kernels import Manifest, load_config, plan_roles

    kernels = config["warmup"]["kernels"]
    if kernels.get("manifest"):
        return Manifest.read(Path(kernels["manifest"]))
    model = load_config(config["model"]["path"], config["model"].get("served_name"))
    roles = []
    for name in ("prefill", "decode", "aggregated"):
        role = config.get(name)
        if role:
            env = {**config["env"], **role["env"]}
            if kernels["fast"]:
                env["SGLANG_JIT_DEEPGEMM_FAST_WARMUP"] = "1"
            roles.append((name, role["args"], env))
    return plan_roles(model, roles, sglang=config.get("sglang_version"))


def folder_name(manifest: Path, image: str | None) -> str:
    """Where a node keeps these kernels, below local_dir: what is there is packed whole, so other
    deployments' kernels must be elsewhere."""
    return hashlib.sha256(manifest.read_bytes() + (image or "").encode()).hexdigest()[:12]


def prepare(run: RunFolder, plan: Planned) -> dict[str, str]:
    """Write kernels.json and python/warmup, which the kernel steps need; returns the variable that names the nodes'
    folder for these kernels. Raises WorkError.

    The package goes along because the workers' container has nothing of ours.
    """
    import warmup.kernels

    settings = plan.settings
    try:
        manifest = manifest_of(plan.config)
        manifest.write(run.path / "kernels.json")
    except warmup.kernels.ERRORS as e:
        raise WorkError(str(e)) from None
    name = folder_name(run.path / "kernels.json", settings.image)
    target = run.path / "python" / "warmup"
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text('"""Part of sgl-launch, for this job\'s steps."""\n')
    shutil.copytree(
        Path(warmup.kernels.__file__).parent,
        target / "kernels",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    trusted = trusted_ids(plan.config["warmup"]["kernels"].get("trusted_owners") or ())
    return {
        "SGLANG_DG_CACHE_DIR": f"{settings.kernels_local_dir}-{os.getuid()}/{name}",
        "KERNELS_TRUSTED": " ".join(map(str, trusted)),
    }


def trusted_ids(names: Sequence[str]) -> list[int]:
    """User ids of accounts; the workers' containers may not know them by name. Raises WorkError."""
    try:
        return [pwd.getpwnam(name).pw_uid for name in names]
    except KeyError as e:
        raise WorkError(f"warmup.kernels.trusted_owners: {e.args[0]}") from None


class Job(Protocol):
    """What the kernel steps need of the supervisor."""

    plan: Plan
    journal: Journal
    logs: Logs
    steps: Steps
    helpers: dict[str, Step]

    def places(self, nodes: Sequence[int]) -> list[Place]: ...


async def prepare_all(job: Job, run: RunFolder) -> dict[str, str]:
    """Unpack the archive that fits, or build it on a first node of each kind; then unpack it on all others. Returns
    variables for the workers. Raises WorkError where the config requires it or the job is for nothing else."""
    wish = job.plan.config.warmup.kernels
    try:
        job.steps.base.update(await asyncio.to_thread(prepare, run, Planned.read(to_json(job.plan))))
        try:
            await _all_nodes(job)
        except ForeignFolder as e:
            # made by another user under the name that ours would have, on some node: all of this job's get another
            folder = Path(job.steps.base["SGLANG_DG_CACHE_DIR"])
            other = folder.parent.with_name(f"{folder.parent.name}-{os.urandom(6).hex()}") / folder.name
            job.journal.say(f"{e}; the kernels of this job are in {other}")
            job.steps.base["SGLANG_DG_CACHE_DIR"] = str(other)
            await _all_nodes(job)
    except WorkError as e:
        if wish.required or job.plan.only_kernels:
            raise WorkError(f"the kernels could not be prepared: {e}") from None
        job.journal.say(f"the kernels could not be prepared ({e}): the workers will compile them")
        return {}
    # nothing is left to compile: SGLang need not look for it shape by shape
    return {"SGLANG_JIT_DEEPGEMM_PRECOMPILE": "0"}


class ForeignFolder(WorkError):
    """The nodes' folder for kernels is somebody else's on one of them."""


async def _all_nodes(job: Job) -> None:
    for suffix, first, others in kernel_nodes(job.plan):
        await _step(job, "ensure", f"kernels-head{suffix}", [first])
        if others:
            await _step(job, "unpack", f"kernels-all{suffix}", others)


async def merge_back(job: Job) -> None:
    """What the first worker of each role compiled beyond the archive is kept for the next job."""
    for node in sorted({role.groups[0].ranks[0].node for role in job.plan.roles}):
        try:
            await _step(job, "merge-back", f"kernels-merge-{node}", [node])
        except WorkError as e:
            job.journal.say(f"new kernels of node {node} were not kept: {e}")


async def _step(job: Job, do: str, name: str, nodes: Sequence[int]) -> None:
    step = job.steps.start(name, "kernels", job.places(nodes), {"KERNELS_DO": do})
    job.helpers[name] = step
    ended = await asyncio.shield(step.ended)
    del job.helpers[name]
    if ended.status:
        log = f"{name}-{ended.rank or 0}.log"
        said = " ".join(job.logs.tail(log)[-2:]) or ended.said
        if ended.status == FOREIGN_FOLDER:
            raise ForeignFolder(said.removeprefix("error: "))
        raise WorkError(f"{name} ended with exit status {ended.status}: {said} (log {job.logs.folder}/{log})")


def kernel_nodes(plan: Plan) -> list[tuple[str, int, list[int]]]:
    """Of each component its first node, which builds or unpacks the kernels that fit its kind, and the other nodes
    of workers, which then unpack them; before them a suffix for the steps' names. On this machine that is one."""
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
