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
    "missing": "required key is missing",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a string",
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
        """The folder of the file where the key is written; of an option, the current one."""
        place = self.place(*keys)
        return Path() if place.source.startswith("--set ") else Path(place.source).parent

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


def find_config(name: str, folder: Path | None = None, place: Place | None = None, key: str = "") -> Path:
    """The config file of that name, for CONFIG and `base` alike: a path from `folder` (of a base, its file's; else the
    current one), or a config that ships with sgl-launch: `dsr1`, `dsr1.yaml` or `configs/dsr1.yaml`.

    Raises InputError at `place`.
    """
    path = folder / name if folder else Path(name)
    if os.path.isfile(path) or (folder is None and os.path.exists(name)):  # False too for a name that is too long
        return path
    shipped, given = data_path("configs"), Path(name)
    candidate = shipped / f"{given.name.removesuffix('.yaml')}.yaml"
    if given.parent in (Path("configs"), Path()) and not name.startswith("./") and os.path.isfile(candidate):
        return candidate
    ready = sorted(f.stem for f in shipped.glob("*.yaml"))
    here = {f.stem: f.name for f in (folder or Path()).glob("*.yaml")} if given.parent == Path() else {}
    hint = nearest(given.name.removesuffix(".yaml"), {**dict.fromkeys(ready), **here})
    near = hint or f"; configs that ship: {', '.join(ready)}"
    raise InputError(Problem(f"no such file{f': {path}' if folder else ''}{near}", place or Place(name), key))


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
    """Every path as it is meant: `~`, `$HOME` and `$USER` expanded (launcher.config.paths), and ./ or ../ taken from
    the folder of the file where it is written: the config, a base of it or a site file; of a `--set`, from the current
    one. `runs` alone is taken from where the job is submitted. Raises InputError."""
    near = config.model.path.startswith(("./", "../"))
    config = _expanded(config, source)
    if near and config.model.served_name is None:
        name = Path(config.model.path).name
        config = config.model_copy(update={"model": config.model.model_copy(update={"served_name": name})})
    return config


PATHS: tuple[tuple[str, ...], ...] = (
    ("model", "path"), ("python",), ("container", "image"), ("container", "mounts"), ("services", "keys"),
    ("warmup", "kernels", "cache_dir"), ("warmup", "kernels", "local_dir"), ("warmup", "kernels", "manifest"),
    ("dynamo_serve", "folder"), ("runs",),
)  # fmt: skip


def _expanded(config: Config, source: Source) -> Config:
    problems = []
    for keys in PATHS:
        try:
            config = _with_path(config, keys, source.folder(*keys).absolute() if keys != ("runs",) else None)
        except ValueError as e:
            problems.append(source.problem(str(e), *keys))
    if problems:
        raise InputError(*problems)
    return config


def _with_path(part: Any, keys: Sequence[str], folder: Path | None) -> Any:
    """The config with one of its paths, or list of SOURCE:TARGET, expanded; ./ is `folder`."""

    def whole(path: str) -> str:
        path = expanded(path)
        if folder is None or not path.startswith(("./", "../")):
            return path
        return os.path.normpath(folder / path)  # links stay: a venv's python is one, and is asked for by its path

    value = getattr(part, keys[0])
    if value is None:
        return part
    if len(keys) > 1:
        new = _with_path(value, keys[1:], folder)
    elif isinstance(value, list):
        new = [":".join(map(whole, mount.split(":"))) for mount in value]
    else:
        new = whole(value)
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
        path = find_config(base, path.parent, place, "base")
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
    """Put `over` on top of `base`, in place: mappings merge, `null` takes away what `base` sets, anything else is
    replaced. A flag or sbatch option replaces the same one in another spelling (tp for tp-size)."""

    def merge(target: dict[str, Any], source: Mapping[str, Any], path: KeyPath) -> None:
        for key in list(target):
            same = next((k for k in source if k != key and k not in target and _same(k, key, path)), None)
            if same is not None:
                if source[same] is None:
                    target[same] = target[key]
                del target[key]
                for old in [p for p in places if p[: len(path) + 1] == (*path, key)]:
                    del places[old]
        for key, value in source.items():
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                merge(target[key], value, (*path, key))
            elif value is None and target.get(key) is not None and (*path, key) != ("setup",):
                del target[key]
            else:
                target[key] = value

    merge(base, over, ())
    places.update(over_places)


def _same(one: str, other: str, path: KeyPath) -> bool:
    """Whether two keys of the mapping at `path` are one flag, or one option of sbatch."""
    if path and path[-1] == "slurm":
        return one.replace("_", "-") == other.replace("_", "-")
    if not path or (path[-1] != "args" and path != ("mocker",)):
        return False
    from launcher.catalog.given import usual_name

    return usual_name(one) == usual_name(other)


def problems_of(error: ValidationError, source: Source) -> list[Problem]:
    """pydantic's findings in our words, at their places."""
    problems: list[Problem] = []
    for item in error.errors():
        keys, kind, context = item["loc"], item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            valid = valid_keys(keys[:-1])
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


def valid_keys(keys: Sequence[Any]) -> list[str]:
    """The keys of the mapping at a path of keys; empty if it is none of ours."""
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
