"""The config of a run as one file: all its layers merged, so that it can be submitted again as it was.

The secrets of `env_from` are not in it, as they are not in the layers: these name them, and where they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launcher.config import Config
from launcher.config.load import PATHS, merged_layers
from launcher.config.yamlpos import Number, Whole
from launcher.config.yamltext import scalar

_HEAD = "# made by sgl-launch: the site files, what `base` names, the config and --set, as one file\n"


def effective(name: str, sets: Sequence[str], config: Config) -> str:
    """The YAML of a config's merged layers, with the paths as `config` has them: whole.

    Raises InputError.
    """
    data, _ = merged_layers(name, sets)
    for *above, key in PATHS:
        mapping, value = data, config
        for part in above:
            mapping, value = mapping.get(part) or {}, getattr(value, part)
        if mapping.get(key) is not None:
            mapping[key] = getattr(value, key)
    # the name that clients ask for would follow from the path
    if config.model.served_name is not None:
        data["model"]["served_name"] = config.model.served_name
    return _HEAD + "\n".join(_block(data)) + "\n"


def _block(data: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{scalar(key)}:", *_block(value, indent + "  ")]
        else:
            lines.append(f"{indent}{scalar(key)}: {_flow(value)}")
    return lines


def _flow(value: Any) -> str:
    """On one line; a number as it was written, since it may be meant as a text."""
    if isinstance(value, (Number, Whole)):
        return value.written
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)
