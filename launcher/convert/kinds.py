"""Which kind of file it is; those that are not converted are refused by name."""

from __future__ import annotations

import re

from launcher.base.errors import InputError, Place, Problem
from launcher.convert.cluster import KEYS as CLUSTER_KEYS
from launcher.convert.draft import problem
from launcher.convert.service import WORKERS
from launcher.convert.strangers import by_keys
from launcher.convert.tree import Item, Section


def kind_of(root: Section, source: str) -> str:
    """`service`, `recipe` or `cluster`. Raises InputError, by name, for files that are not converted."""
    keys = {item.key: item for item in root.items}

    def refuse(message: str, item: Item) -> InputError:
        return InputError(problem(message, item))

    if any(key in WORKERS for key in keys):
        return "service"
    base = keys.get("base")
    inner = base.value if base is not None and isinstance(base.value, Section) else Section()
    for schema in (keys.get("schema"), inner.get("schema")):
        if schema is not None and schema.value not in (1, "1", 2, "2", None):
            raise refuse(f"an srt-slurm recipe of schema {schema.value}; 1 and 2 are known", schema)
    if "apiVersion" in keys and "kind" in keys:
        shown = f"a Kubernetes manifest ({keys['kind'].value})"
        raise refuse(f"{shown}; only service files and recipes are converted", keys["kind"])
    for key, item in keys.items():
        if re.search(r"^(vllm|trtllm|tensorrt)\w*worker$", key, re.IGNORECASE):
            raise refuse("a Dynamo service file for another engine than SGLang", item)
    if {"prefill", "aggregated"} & set(keys) and "model" in keys and "resources" not in keys:
        raise refuse("a config of sgl-launch already", next(iter(keys.values())))
    if base is not None or {"resources", "backend", "roles"} & set(keys):
        return "recipe"
    if any(key in CLUSTER_KEYS or key.startswith("default_") for key in keys):
        return "cluster"
    neither = (
        "neither a Dynamo service file (SGLangWorker), an srt-slurm recipe (model, resources, backend or roles) "
        "nor its cluster file (srtslurm.yaml)"
    )
    raise InputError(Problem(by_keys(root) or neither, Place(source, 1, 1)))
