"""Which DeepGEMM kernels a job needs, and the package that builds them, into its run folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.run.folder import RunFolder

if TYPE_CHECKING:
    from warmup.kernels import Manifest


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


def prepare(run: RunFolder) -> int:
    """Write kernels.json, kernels.name and python/warmup, which steps need; returns the number of shapes.

    The package goes along because the workers' container has nothing of ours.
    """
    import warmup.kernels

    config = run.plan().config
    manifest = manifest_of(config)
    manifest.write(run.path / "kernels.json")
    name = folder_name(run.path / "kernels.json", config["container"].get("image"))
    (run.path / "kernels.name").write_text(name + "\n")
    package = Path(warmup.kernels.__file__).parent
    target = run.path / "python" / "warmup"
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text('"""Part of sgl-launch, for this job\'s steps."""\n')
    shutil.copytree(
        package,
        target / "kernels",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    return len(manifest.shapes)
