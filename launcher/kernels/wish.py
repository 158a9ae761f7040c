"""What the kernel steps of a job are told: DeepGEMM's shapes, the folders of caches and archives, trusted owners."""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.base.errors import WorkError
from launcher.config import Config

if TYPE_CHECKING:
    from warmup.kernels import Job, Manifest

# One process that compiles as it meets (shape, M) pairs: 154 s for 8 shapes of 2,048 Ms (docs/results.md), of which two
# thirds is nvcc.
SHAPE_S, PAIR_S = 15.0, 0.0025


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


def manifest_or_why(config: Config) -> tuple[Manifest | None, str]:
    """The shapes, or why there are none: then DeepGEMM's kernels are not built ahead, and all else is kept as ever."""
    from warmup.kernels import ERRORS

    try:
        manifest = manifest_of(config.model_dump(mode="json"))
    except ERRORS as e:
        return None, str(e)
    return (manifest, "") if manifest.shapes else (None, "no layer runs on DeepGEMM")


def cache_dir(config: Config, runs: Path) -> Path:
    """Where archives are kept: a folder of the user's beside the run folders, unless the config or site names one."""
    given = config.warmup.kernels.cache_dir
    return Path(os.path.abspath(given or runs / f"kernels_{os.geteuid()}"))


def usual_folder(config: Config) -> Path:
    """A node's folder of caches: the same path in every job of the same image and model, since Triton and ninja note
    paths. What is there is packed whole, so other deployments' kernels are elsewhere."""
    what = f"{config.container.image or config.python or ''}\0{config.served_name}"
    name = hashlib.sha256(what.encode()).hexdigest()[:12]
    return Path(f"{config.warmup.kernels.local_dir}-{os.geteuid()}", name)


def image_key(image: str | None) -> str:
    """The image's name, and its size and time where it is a file that is seen here: a new one of the same name is
    another."""
    try:
        about = os.stat(image or "")
    except OSError:
        return image or ""
    return f"{image} {about.st_size} {about.st_mtime_ns}"


def job_of(config: Config, runs: Path, manifest: Manifest | None) -> Job:
    """What the steps of a job are told. Raises WorkError for an account that there is not."""
    from warmup.kernels import Job

    folder = usual_folder(config)
    trusted = tuple(trusted_ids(config.warmup.kernels.trusted_owners))
    image = image_key(config.container.image)
    return Job(folder, cache_dir(config, runs), str(folder), image, config.served_name, trusted, manifest)


def trusted_ids(names: Sequence[str]) -> list[int]:
    """User ids of accounts; the workers' containers may not know them by name. Raises WorkError."""
    try:
        return [pwd.getpwnam(name).pw_uid for name in names]
    except KeyError as e:
        raise WorkError(f"warmup.kernels.trusted_owners: {e.args[0]}") from None


def compile_seconds(manifest: Manifest) -> float:
    """About how long SGLang takes to compile all of it by itself, one kernel after another."""
    shapes = manifest.distinct()
    return len(shapes) * SHAPE_S + sum(len(s.sweep) * len(s.reserved_sms) for s in shapes) * PAIR_S
