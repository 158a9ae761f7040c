"""Which kind of file it is; those that are not converted are refused by name."""

from __future__ import annotations

import re

from launcher.base.errors import InputError, Place, Problem
from launcher.convert.draft import problem
from launcher.convert.service import WORKERS
from launcher.convert.strangers import by_keys
from launcher.convert.tree import Item, Section


def kind_of(root: Section, source: str) -> str:
    """`service` or `recipe`. Raises InputError, by name, for files that are not converted."""
    keys = {item.key: item for item in root.items}

    def refuse(message: str, item: Item) -> InputError:
        return InputError(problem(message, item))

    if any(key in WORKERS for key in keys):
        return "service"
    base = keys.get("base")
    inner = base.value if base is not None and isinstance(base.value, Section) else Section()
    for schema in (keys.get("schema"), inner.get("schema")):
        if schema is not None and schema.value not in (1, "1", None):
            raise refuse(
                f"an srt-slurm recipe of schema {schema.value}; only the first shape "
                "(`backend`, `resources`) is converted",
                schema,
            )
    if "apiVersion" in keys and "kind" in keys:
        shown = f"a Kubernetes manifest ({keys['kind'].value})"
        raise refuse(f"{shown}; only service files and recipes are converted", keys["kind"])
    for key, item in keys.items():
        if re.search(r"^(vllm|trtllm|tensorrt)\w*worker$", key, re.IGNORECASE):
            raise refuse("a Dynamo service file for another engine than SGLang", item)
    for key in ("engine", "roles"):
        if key in keys and ("roles" in keys or "resources" in keys) and "backend" not in keys:
            raise refuse(
                "an srt-slurm recipe of schema 2; only the first shape (`backend`, `resources`) is converted",
                keys[key],
            )
    if inner.get("roles") is not None and inner.get("backend") is None:
        raise refuse("an srt-slurm recipe of schema 2; only the first shape is converted", inner.items[0])
    if {"prefill", "aggregated"} & set(keys) and "model" in keys and "resources" not in keys:
        raise refuse("a config of sgl-launch already", next(iter(keys.values())))
    if base is not None or {"resources", "backend"} & set(keys):
        return "recipe"
    neither = "neither a Dynamo service file (SGLangWorker) nor an srt-slurm recipe (model, resources, backend)"
    raise InputError(Problem(by_keys(root) or neither, Place(source, 1, 1)))
