"""The JSON Schema of a config or site file, for editors: it completes keys, sbatch's options and SGLang's flags.

As a file may be one layer of several, no key is required, and every key may be null, which takes away what a base sets.
"""

from __future__ import annotations

from typing import Any

from launcher.base.plugins import ENGINES, RUNTIMES
from launcher.catalog.flags import Flag, flags_of
from launcher.catalog.releases import versions
from launcher.config import Config
from launcher.config.schema import Slurm
from launcher.plan.slurm_options import OWNED_OPTIONS, SBATCH_OPTIONS

Schema = dict[str, Any]
_SCALAR = ["string", "number", "boolean", "null"]
_ANY: Schema = {"anyOf": [{"type": _SCALAR}, {"type": "array", "items": {"type": ["string", "number"]}}]}


def json_schema() -> Schema:
    """Draft 7, which editors know best."""
    made = Config.model_json_schema()
    parts: dict[str, Schema] = made["$defs"]
    for part in (made, *parts.values()):
        part.pop("required", None)
        part["properties"] = {name: _lenient(value) for name, value in part["properties"].items()}
    top = made["properties"]
    top["base"] = {"type": "string", "description": "Another config below this one: its path, or one that ships."}
    top["engine"] |= _one_of(ENGINES.names())
    parts["Container"]["properties"]["runtime"] |= _one_of(RUNTIMES.names())
    # a list of names is the usual way to write it
    top["env_from"] = {"description": top["env_from"]["description"], "type": ["array", "object", "string", "null"]}
    for name in ("Slurm", "RoleSlurm"):
        parts[name]["properties"] = {**_sbatch(), **parts[name]["properties"]}
    flags = {name: _flag(flag) for flag in flags_of(versions()[-1]) for name in flag.names}
    for name in ("Role", "SplitRole"):
        parts[name]["properties"]["args"]["properties"] = flags
    title = "sgl-launch: a config, or a site file"
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made, "title": title, "properties": top}


def _lenient(value: Schema) -> Schema:
    """As a reader takes it: null, and a number where a text is meant. Titles say nothing that the key does not."""
    value = {k: v for k, v in value.items() if k not in ("title", "default")}
    if "$ref" in value:  # draft 7 overlooks what stands beside it
        return {"anyOf": [{"$ref": value.pop("$ref")}, {"type": "null"}], **value}
    if "anyOf" in value:
        return {**value, "anyOf": [_typed(one) for one in value["anyOf"]] + [{"type": "null"}]}
    shown = {"description": value.pop("description")} if "description" in value else {}
    return {"anyOf": [_typed(value), {"type": "null"}], **shown}


def _typed(value: Schema) -> Schema:
    if value.get("type") == "string" and not value.keys() & {"enum", "const"}:
        return {**value, "type": ["string", "number"]}
    if value.get("type") == "array":
        return {**value, "items": _typed(value.get("items", {}))}
    return value


def _one_of(names: list[str]) -> Schema:
    """Those names, and whatever another installed package may add."""
    return {"anyOf": [{"enum": names}, {"type": ["string", "null"]}]}


def _sbatch() -> dict[str, Schema]:
    """sbatch's options in both spellings of their names."""
    own = set(Slurm.model_fields)
    names = sorted(name for name in SBATCH_OPTIONS if name not in OWNED_OPTIONS)
    spelt = (s for name in names for s in dict.fromkeys((name, name.replace("-", "_"))) if s not in own)
    return {name: {**_ANY, "description": f"sbatch --{name.replace('_', '-')}"} for name in spelt}


def _flag(flag: Flag) -> Schema:
    kinds = {"int": ["integer"], "float": ["number"], "switch": ["boolean"], "onoff": ["boolean"]}
    found: Schema = {"type": ["null", *kinds.get(flag.type, ["string", "number", "boolean", "object"])]}
    if flag.choices:
        found = {"enum": [*flag.choices, None, False]}
    elif flag.nargs is not None or flag.type not in kinds:
        found = {"type": ["null", "string", "number", "boolean", "object", "array"]}
    elif not flag.is_switch:
        found["type"] = [*found["type"], "boolean", "string"]  # false leaves it out; texts are judged by `check`
    return {**found, "description": "deprecated" if flag.deprecated else f"SGLang's --{flag.name}"}
