"""The text of a first site file, and of a first config on top of one that ships, from what there is here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.base.counting import counted
from launcher.base.files import data_path
from launcher.begin.seen import Interface, Partition, accounts, images, interfaces, models, partitions, runtime, shared
from launcher.config import Config
from launcher.config.load import load_config
from launcher.config.paths import user
from launcher.config.placeholders import placeholders
from launcher.config.yamltext import scalar
from launcher.plan.make import make_plan

# a rehearsal: everything but SGLang and the model is real
_REHEARSAL: dict[str, Any] = {
    "engine": "mocker",
    "container": {"runtime": "none"},
    "mocker": {"speedup-ratio": 100},
    "warmup": {
        "requests": {"prompt_tokens": [64, 512], "concurrency": [1, 8], "output_tokens": [16], "timeout": 120}
    },
}


def site_text() -> str:
    """A site file. What could not be decided stands there as a comment."""
    return "\n".join(
        [
            f"# What is the same for all your jobs on this cluster. `sgl-launch init` wrote it for {user()},",
            "# from what it saw here: read it once. docs/site.md explains it, docs/config.md has all keys.",
            *_slurm_lines(partitions(), accounts()),
            *_container_lines(runtime(), images()),
            *_network_lines(interfaces()),
            *_runs_lines(),
            "",
        ]
    )


def _slurm_lines(found: Sequence[Partition], charged: Sequence[str]) -> list[str]:
    if not found:
        return ["", "# No Slurm answers here (sinfo): run `sgl-launch init` on the login node for its partitions.",
                "# slurm: {partition: NAME, gpus_per_node: 8}"]  # fmt: skip
    first = next((p for p in found if p.default and p.gpus), max(found, key=lambda p: p.gpus * p.nodes))
    lines = ["", "slurm:", f"  # this cluster has: {'; '.join(map(str, found))}", f"  partition: {scalar(first.name)}"]
    if first.gpus:
        lines.append(f"  gpus_per_node: {first.gpus}")
    else:
        lines.append("  gpu_request: none     # Slurm knows of no GPUs here")
    if first.gpu_type:
        lines.append(f"  # gpu_type: {first.gpu_type}      # if your sbatch wants a type")
    if len(charged) == 1:
        lines.append(f"  account: {scalar(charged[0])}")
    else:
        yours = f"yours: {', '.join(charged)}" if charged else "if jobs are charged"
        lines.append(f"  # account: NAME       # {yours}")
    lines.append("  # exclusive: true       # whole nodes, with all their cores and memory (and mem: 0)")
    return lines


def _container_lines(name: str, found: Sequence[Path]) -> list[str]:
    if name == "none":
        return ["", "# No pyxis, apptainer or docker here: workers run as they are, in the config's `python`."]
    mounts = 'mounts: ["/shared/models:/shared/models"]'
    if not found:
        return ["", f"# {name} is here, but no image was found; docs/image-and-weights.md says how to get one.",
                f"# container: {{runtime: {name}, image: /shared/images/sglang.sqsh, {mounts}}}"]  # fmt: skip
    others = f"      # also: {', '.join(map(str, found[1:4]))}" if found[1:] else ""
    return ["", "container:", f"  runtime: {name}", f"  image: {scalar(str(found[0]))}{others}",
            f"  # {mounts}    # what workers must see of the nodes"]  # fmt: skip


def _network_lines(found: Sequence[Interface]) -> list[str]:
    seen = ", ".join(f"{i.name} ({i.address})" for i in found) or "none"
    return ["", "# The interface by which nodes reach each other; without it the one of the default route.",
            f"# On this machine: {seen}.", "# network: {interface: ib0}"]  # fmt: skip


def _runs_lines() -> list[str]:
    home, here = Path.home(), Path.cwd()
    if not shared(home) and shared(here):
        return ["", "# Run folders, on storage that every node sees.", f"runs: {scalar(str(here / 'runs'))}"]
    how = "is on storage that other machines see" if shared(home) else "must be on storage that every node sees"
    return ["", f"# Run folders; your home {how}.", "runs: ~/sgl-launch-runs"]


def config_text(base: str, path: Path, name: str, rehearse: bool) -> tuple[str, list[str]]:
    """A config on top of `base` (found at `path`), and what is still to be set in it. Raises InputError."""
    config, source = load_config(str(path))
    plan, found = make_plan(config, source, "slurm"), partitions()
    head = [f"# {name}: {base} on this cluster, written by `sgl-launch init {base}{' --rehearse' * rehearse}`."]
    if rehearse:
        head.append("# A rehearsal: Dynamo's mocker in place of SGLang, no container, no weights. All else is real.")
    head.append(f"# As it ships it takes {counted(plan.nodes, 'node')}; {_has(found)}.")
    data: dict[str, Any] = {"base": f"configs/{base}.yaml", "name": name}
    if found and ("slurm", "partition") not in source.places:
        first = next((p for p in found if p.gpus and p.nodes >= plan.nodes), found[0])
        data["slurm"] = {"partition": first.name}
    chosen = next((p for p in found if p.name == (config.slurm.given.get("partition") or found[0].name)), None)
    if chosen and not chosen.gpus:
        data.setdefault("slurm", {})["gpu_request"] = "none"
    elif chosen and chosen.gpus != config.slurm.gpus_per_node and not plan.heterogeneous and config.engine != "mocker":
        data.setdefault("slurm", {})["gpus_per_node"] = chosen.gpus
    if rehearse:
        data.update(_REHEARSAL, model={"path": str(data_path("configs") / "tiny-model")})
    missing = []
    for keys, what in placeholders(config.model_dump(mode="json", exclude_none=True)):
        if rehearse and keys[0] in ("model", "container"):
            continue
        there = _candidates(keys, config.served_name, found, rehearse)
        _put(data, keys, there[0] if there else f"<{what}>")
        if there[1:]:
            head.append(f"# {'.'.join(map(str, keys))}: there is {', '.join(there[1:4])} too")
        missing += [] if there else [f"{'.'.join(map(str, keys))}: {what}"]
        if there and keys == ("model", "path") and not _seen_inside(there[0], config):
            _put(data, ("container", "mounts"), [*config.container.mounts, f"{there[0]}:{there[0]}"])
    return "\n".join([*head, *(f"{key}: {_flow(value)}" for key, value in data.items()), ""]), missing


def _has(found: Sequence[Partition]) -> str:
    return f"this cluster has {'; '.join(map(str, found))}" if found else "no Slurm answers here (sinfo)"


def _candidates(keys: Sequence[Any], served: str, found: Sequence[Partition], rehearse: bool) -> list[str]:
    """What there is here for a placeholder. Of several partitions, which one is meant is for the user to say."""
    if keys[-1] == "partition":
        return [p.name for p in found[:1]] if rehearse or len(found) == 1 else []
    seen = models(served) if keys[-1] == "path" else images() if keys[-1] == "image" else []
    return [str(path) for path in seen]


def _put(data: dict[str, Any], keys: Sequence[Any], value: Any) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
    data[keys[-1]] = value


def _seen_inside(model: str, config: Config) -> bool:
    """Whether the workers see a folder of the nodes."""
    sources = [mount.split(":")[0].rstrip("/") + "/" for mount in config.container.mounts]
    return config.container.runtime == "none" or any(f"{model}/".startswith(source) for source in sources)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def user_site_file() -> Path:
    """Where the user's own site file is read from."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "sgl-launch" / "site.yaml"
