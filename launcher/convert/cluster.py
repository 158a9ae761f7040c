"""srt-slurm's cluster file (srtslurm.yaml) becomes a site file; its names serve recipes converted with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from launcher.base.counting import counted
from launcher.convert.draft import section_of
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Item, Section, plain

KEYS = ("model_paths", "containers", "srtctl_root", "network_interface", "cluster", "use_het_jobs")
_SLURM = {"default_account": "account", "default_partition": "partition", "default_time_limit": "time"}
_DROPPED = {
    "srtctl_root": "of srtctl itself",
    "output_dir": "a config's runs says where run folders go",
    "reporting": "sgl-launch reports to nobody",
    "cluster": "a label",
    "use_het_jobs": "a role whose nodes are of another kind says so in prefill.slurm or decode.slurm",
    "use_gpus_per_node_directive": "slurm.gpu_request says how GPUs are asked for",
    "use_segment_sbatch_directive": "slurm.segment asks for nodes of one block",
    "use_exclusive_sbatch_directive": "slurm.exclusive says it",
    "nginx_raise_ulimit": "there is no nginx before the frontend",
    "preflight": "sgl-launch preflight looks at the nodes themselves",
}


def convert_cluster(root: Section, ledger: Ledger) -> Section:
    """The site file's keys."""
    slurm: list[Item] = []
    rest: list[Item] = []
    for item in root.items:
        value = plain(item.value)
        if item.key in _SLURM and value:
            slurm.append(Item(_SLURM[item.key], value, above=item.above, beside=item.beside))
        elif item.key == "gpus_per_node" and value:
            slurm.insert(0, Item("gpus_per_node", value, above=item.above, beside=item.beside))
        elif item.key == "network_interface" and value:
            rest.append(Item("network", Section((Item("interface", value, beside=item.beside),)), above=item.above))
        elif item.key == "default_mounts" and isinstance(value, Mapping):
            mounts = [f"{source}:{target}" for source, target in value.items()]
            rest.append(Item("container", Section((Item("mounts", mounts),)), above=item.above))
        elif item.key == "default_bash_preamble" and isinstance(value, str):
            rest.append(Item("setup", [line for line in value.splitlines() if line.strip()], above=item.above))
        elif item.key in ("model_paths", "containers"):
            names = counted(len(section_of(item).items), "name")
            ledger.warn(f"{names}: convert RECIPE --srtslurm FILE puts in what they stand for", item)
        else:
            ledger.drop(item, _DROPPED.get(item.key, "sgl-launch has no counterpart"))
            continue
        ledger.use(item)
    found = [Item("slurm", Section(tuple(slurm)))] if slurm else []
    return Section((*found, *rest))


def aliases(root: Section) -> dict[str, dict[str, str]]:
    """`model_paths` and `containers`: name -> what it stands for."""
    found: dict[str, dict[str, str]] = {}
    for key in ("model_paths", "containers"):
        names = plain(section_of(root.get(key)))
        found[key] = {str(k): str(v.get("path", "") if isinstance(v, Mapping) else v) for k, v in names.items()}
    return found


def resolved(recipe: Section, names: Mapping[str, Mapping[str, str]]) -> Section:
    """The recipe with what the names of its model and image stand for."""

    def put(section: Section, key: str, known: Mapping[str, str]) -> Section:
        return Section(
            tuple(replace(i, value=known.get(str(i.value), i.value)) if i.key == key else i for i in section.items)
        )

    items = []
    for item in recipe.items:
        if item.key == "model" and isinstance(item.value, Section):
            value = put(item.value, "path", names.get("model_paths", {}))
            item = replace(item, value=put(value, "container", names.get("containers", {})))
        items.append(item)
    return Section(tuple(items))
