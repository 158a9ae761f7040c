"""docs/config.md, generated from the schema so that it cannot fall behind."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from launcher.config.schema import Config

_HEAD = """# Config reference

Made by `sgl-launch schema`; do not edit. A config is one YAML file. Later layers win over earlier
ones, key by key: defaults, the site files (`/etc/sgl-launch/site.yaml`, then
`~/.config/sgl-launch/site.yaml`; or `$SGL_LAUNCH_SITE` alone), the file named by the config's
`base`, the config, `--set key=value`, and for sbatch what stands after `--`.
"""


def markdown() -> str:
    """The whole reference."""
    sections = [_HEAD, "## Top level", _table(Config, ""), *_below(Config, "")]
    return "\n\n".join(s.strip() for s in sections) + "\n"


def _below(model: type[BaseModel], prefix: str) -> list[str]:
    """The sections of a mapping's own mappings."""
    sections = []
    for name, field in model.model_fields.items():
        for part in _models(field.annotation):
            path = f"{prefix}{name}"
            note = (part.__doc__ or "").strip()
            sections += [f"## `{path}`", note, _table(part, f"{path}."), *_below(part, f"{path}.")]
    return sections


def _table(model: type[BaseModel], prefix: str) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        models = _models(field.annotation)
        note = (models[0].__doc__ or "").strip() if models else ""
        meaning = (field.description or note).replace("|", "\\|")
        kind, default = _type(field.annotation), _default(field)
        rows.append(f"| `{prefix}{name}` | {kind} | {default} | {meaning} |")
    return "\n".join(rows)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models(a)]


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return ""
    if get_origin(annotation) is Literal:
        return " \\| ".join(f"`{v}`" for v in get_args(annotation))
    args = get_args(annotation)
    if isinstance(annotation, type) and not args:
        if issubclass(annotation, BaseModel):
            return "mapping"
        return {str: "text", int: "number", float: "number", bool: "true/false", dict: "mapping"}[annotation]
    if get_origin(annotation) is list:
        return f"list of {_type(args[0])}"
    if get_origin(annotation) is dict:
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _type(args[0])
    return " or ".join(dict.fromkeys(t for t in map(_type, args) if t))


def _default(field: Any) -> str:
    if field.is_required():
        return "(needed)"
    if field.default_factory is not None:
        made = field.default_factory()
        return "" if isinstance(made, BaseModel) or not made else f"`{made}`"
    if field.default is None or field.default is PydanticUndefined:
        return ""
    value = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
