"""Layers of YAML become one validated Config; every mistake is reported with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from launcher.base.errors import InputError, Place, Problem
from launcher.base.files import data_path
from launcher.base.suggest import nearest
from launcher.config.fields import AT_KEYS
from launcher.config.paths import expanded
from launcher.config.schema import Config
from launcher.config.site import mapping_of, printable, short, site_files, site_layer
from launcher.config.yamlpos import KeyPath, parse

_MESSAGES = {
    "missing": "this key is needed",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
}


@dataclass(frozen=True)
class Source:
    """Where a config came from: lets later stages point at the line of a key."""

    path: str
    places: Mapping[KeyPath, Place]

    def place(self, *keys: Any) -> Place:
        """The place of the key, or of its nearest parent that was written.

        Of a flag or an sbatch option, in whichever spelling it was written.
        """
        path = tuple(keys)
        while path:
            for spelling in _spellings(path[-1]):
                if found := self.places.get((*path[:-1], spelling)):
                    return found
            path = path[:-1]
        return self.places.get((), Place(self.path))

    def folder(self, *keys: Any) -> Path:
        """The folder of the file where the key is written; of an option, the config's."""
        place = self.place(*keys)
        return Path(place.source if place.line is not None else self.path).parent

    def problem(self, message: str, *keys: Any) -> Problem:
        return Problem(message, self.place(*keys), dotted(keys))


def _spellings(key: Any) -> list[Any]:
    """tp-size, tp_size, --tp-size and --tp_size are one flag."""
    if not isinstance(key, str):
        return [key]
    snake = key.replace("-", "_")
    return [key, snake, f"--{key}", f"--{snake}"]


def dotted(keys: Sequence[Any]) -> str:
    out = ""
    for key in keys:
        out += f"[{key}]" if isinstance(key, int) else f".{key}" if out else str(key)
    return printable(out)


def find_config(name: str) -> Path:
    """The config file of that name: as given, or one that ships with sgl-launch.

    `configs/dsr1.yaml` works in any folder: what is not there is looked up among the shipped ones.
    """
    path = Path(name)
    if os.path.exists(name):  # unlike Path.exists, False for a name that is too long
        return path
    shipped = data_path("configs")
    candidate = shipped / path.name
    if path.parent in (Path("configs"), Path()) and os.path.isfile(candidate):
        return candidate
    ready = sorted(f.name for f in shipped.glob("*.yaml"))
    hint = nearest(path.name, ready) or f"; shipped configs: {', '.join(ready)}"
    raise InputError(Problem(f"no such file{hint}", Place(name)))


def load_config(name: str, sets: Sequence[str] = (), *, sites: Sequence[Path] | None = None) -> tuple[Config, Source]:
    """Load a config file over the site files, under `--set key=value` options.

    Raises InputError with every mistake found.
    """
    data, source = merged_layers(name, sets, sites=sites)
    return resolve(validate(data, source), source), source


def merged_layers(
    name: str, sets: Sequence[str] = (), *, sites: Sequence[Path] | None = None
) -> tuple[dict[str, Any], Source]:
    """The layers of a config as plain data, before it is checked. Raises InputError."""
    path = find_config(name)
    data: dict[str, Any] = {}
    places: dict[KeyPath, Place] = {}
    for site in site_files() if sites is None else sites:
        _merge(data, places, *site_layer(site))
    site_lines = data.pop("setup", None)
    for layer, layer_places in _with_bases(path):
        _merge(data, places, layer, layer_places)
    for item in sets:
        _merge(data, places, *_set(item))
    own_lines = data.setdefault("setup", []) if site_lines is not None else None
    if isinstance(site_lines, list) and isinstance(own_lines, list):
        data["setup"] = [*site_lines, *own_lines]  # what the site's nodes need holds for every config
    elif site_lines is not None and own_lines == []:
        data["setup"] = site_lines
    return data, Source(str(path), places)


def validate(data: Mapping[str, Any], source: Source) -> Config:
    """Type and check the merged data; raises InputError with every mistake found."""
    try:
        return Config.model_validate(dict(data))
    except ValidationError as e:
        raise InputError(*problems_of(e, source)) from None


def resolve(config: Config, source: Source) -> Config:
    """Every path as it is meant: `~`, `$HOME` and `$USER` put in (launcher.config.paths), and ./ or ../ of the model
    and Python taken from the folder of the file where it is written: the config, a base of it or a site file; of a
    `--set`, from the config's. Raises InputError."""
    config = _expanded(config, source)
    if config.python and config.python.startswith(("./", "../")):
        # not resolved: a venv's python is a link, and is asked for by the link's own path
        python = os.path.normpath(source.folder("python").absolute() / config.python)
        config = config.model_copy(update={"python": python})
    path = config.model.path
    if not path.startswith(("./", "../")):
        return config
    model = config.model.model_copy(update={"path": str((source.folder("model", "path") / path).resolve())})
    if model.served_name is None:
        model = model.model_copy(update={"served_name": Path(path).name})
    return config.model_copy(update={"model": model})


_PATHS: tuple[tuple[str, ...], ...] = (
    ("model", "path"), ("python",), ("container", "image"), ("container", "mounts"), ("services", "keys"),
    ("warmup", "kernels", "cache_dir"), ("warmup", "kernels", "local_dir"), ("warmup", "kernels", "manifest"),
    ("dynamo_serve", "folder"), ("runs",),
)  # fmt: skip


def _expanded(config: Config, source: Source) -> Config:
    problems = []
    for keys in _PATHS:
        try:
            config = _with_path(config, keys)
        except ValueError as e:
            problems.append(source.problem(str(e), *keys))
    if problems:
        raise InputError(*problems)
    return config


def _with_path(part: Any, keys: Sequence[str]) -> Any:
    """The config with one of its paths, or list of SOURCE:TARGET, expanded."""
    value = getattr(part, keys[0])
    if value is None:
        return part
    if len(keys) > 1:
        new = _with_path(value, keys[1:])
    elif isinstance(value, list):
        new = [":".join(expanded(path) for path in mount.split(":")) for mount in value]
    else:
        new = expanded(value)
    return part if new == value else part.model_copy(update={keys[0]: new})


def _with_bases(path: Path) -> list[tuple[dict[str, Any], dict[KeyPath, Place]]]:
    """The file's layers, weakest first: what its `base` names (and that one's), then itself."""
    layers: list[tuple[dict[str, Any], dict[KeyPath, Place]]] = []
    seen: list[Path] = []
    while True:
        data, places = mapping_of(path)
        seen.append(path.resolve())
        base = data.pop("base", None)
        place = places.get(("base",))
        layers.append((data, places))
        if base is None:
            return layers[::-1]
        if not isinstance(base, str) or not base.isprintable():
            raise InputError(Problem("must be the path of another config", place, "base"))
        path = path.parent / base
        if not os.path.isfile(path):
            message = f"no such file: {path} (a base is looked up from the config's folder)"
            raise InputError(Problem(message, place, "base"))
        if path.resolve() in seen:
            raise InputError(Problem(f"{base} is based on this file in turn", place, "base"))


def _set(item: str) -> tuple[dict[str, Any], dict[KeyPath, Place]]:
    key, equals, text = item.partition("=")
    place = Place(f"--set {printable(item)}")
    if not equals or any(not part or part != part.strip() for part in key.split(".")):
        raise InputError(Problem("write it as --set key.key=value", place))
    try:
        value, _ = parse(text, "")
    except InputError as e:
        raise InputError(*(Problem(p.message, place, key) for p in e.problems)) from None
    path = tuple(key.split("."))
    data: Any = value
    for part in reversed(path):
        data = {part: data}
    return data, {path[:n]: place for n in range(1, len(path) + 1)}


def _merge(
    base: dict[str, Any],
    places: dict[KeyPath, Place],
    over: Mapping[str, Any],
    over_places: Mapping[KeyPath, Place],
) -> None:
    """Put `over` on top of `base`, in place: mappings merge, anything else is replaced."""

    def merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
        for key, value in source.items():
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                merge(target[key], value)
            else:
                target[key] = value

    merge(base, over)
    places.update(over_places)


def problems_of(error: ValidationError, source: Source) -> list[Problem]:
    """pydantic's findings in our words, at their places."""
    problems: list[Problem] = []
    for item in error.errors():
        keys, kind, context = item["loc"], item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            valid = _valid_keys(keys[:-1])
            hint = nearest(str(keys[-1]), valid) or f"; valid here: {', '.join(valid)}"
            message = f"unknown key{hint}"
        elif kind == "literal_error":
            message = f"must be {context['expected']}, not {short(item['input'])}"
            if isinstance(item["input"], str):
                message += nearest(item["input"], str(context["expected"]).split("'"))
        elif kind == "value_error":
            message = str(context["error"])
        elif kind == AT_KEYS:
            problems += [source.problem(m, *keys, key) for key, m in context["found"]]
            continue
        elif kind == "missing":
            message = _MESSAGES[kind]
        else:
            message = _MESSAGES.get(kind) or item["msg"][:1].lower() + item["msg"][1:]
            limits = {k: f"{v:.15g}" for k, v in context.items() if isinstance(v, (int, float))}
            message = f"{message.format(**limits)}, not {short(item['input'])}"
        problems.append(source.problem(message, *keys))
    return problems


def _valid_keys(keys: Sequence[Any]) -> list[str]:
    model: type[BaseModel] = Config
    for key in keys:
        field = model.model_fields.get(str(key))
        if field is None:
            return []
        found = [t for t in _types(field.annotation) if isinstance(t, type)]
        parts = [t for t in found if issubclass(t, BaseModel)]
        if not parts:
            return []
        model = parts[0]
    return [*model.model_fields, *([] if keys else ["base"])]


def _types(annotation: Any) -> list[Any]:
    args = getattr(annotation, "__args__", None)
    return [t for a in args for t in _types(a)] if args else [annotation]
