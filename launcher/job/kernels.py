"""Which DeepGEMM kernels a job needs, and the package that builds them, into its run folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.base.errors import WorkError
from launcher.plan.model import Plan
from launcher.run.folder import RunFolder
from launcher.run.planned import Planned

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
    return {"SGLANG_DG_CACHE_DIR": f"{settings.kernels_local_dir}-{os.getuid()}/{name}"}


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
