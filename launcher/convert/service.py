"""The service file of Dynamo in 2025 (`dynamo serve … -f FILE`) becomes a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from launcher.base.counting import counted
from launcher.base.errors import InputError, Problem
from launcher.catalog.catalog import Catalog
from launcher.convert.draft import (
    Draft,
    DraftRole,
    entry,
    env_section,
    name_for,
    problem,
    section_of,
    whole,
)
from launcher.convert.flags import RoleFlags, convert_flags
from launcher.convert.layout import Shape
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Comment, Item, Section
from launcher.engines.base import OWNED_FLAGS

PREFILL, DECODE = "SGLangWorker", "SGLangDecodeWorker"
WORKERS = (PREFILL, "SGLangPrefillWorker", DECODE)
_HELPERS = {
    "Processor": "Dynamo's frontend prepares the requests itself",
    "SGLangDisaggLoadBalancer": "Dynamo's frontend sends requests to prefill and decode itself",
    "Router": "set frontend.router_mode instead",
    "KvRouter": "set frontend.router_mode instead",
    "Planner": "the number of workers is fixed here",
}
_FRONTEND = {
    "endpoint": "the frontend finds the workers by itself",
    "ServiceArgs": "one frontend runs beside the first worker",
}


def convert_service(root: Section, stem: str, catalog: Catalog, ledger: Ledger) -> tuple[Draft, list[Shape]]:
    """Raises InputError when the file's values can't be understood."""
    root = _with_common(root, ledger)
    draft = Draft(name_for(stem, ledger))
    problems: list[Problem] = []
    shapes: list[Shape] = []
    found: dict[str, tuple[Item, RoleFlags]] = {}
    for item in root.items:
        if item.key in WORKERS:
            try:
                name, flags, shape = _worker(item, root, draft, catalog, ledger)
            except InputError as e:
                problems += e.problems
                continue
            if name in found:
                problems.append(problem(f"{found[name][0].key} is the {name} worker too", item))
            found[name] = (item, flags)
            shapes.append(shape)
        elif item.key in _HELPERS:
            ledger.drop(item, _HELPERS[item.key])
    if problems:
        raise InputError(*problems)
    order = ("prefill", "decode", "aggregated")
    shapes.sort(key=lambda s: order.index(s.role))
    draft.roles = {name: draft.roles[name] for name in order if name in draft.roles}
    _frontend(root.get("Frontend"), draft, ledger)
    _model(found, root, draft, ledger)
    _bootstrap(found, draft, ledger)
    draft.gpus_per_node, shapes = _nodes(shapes, found, ledger)
    if "prefill" in draft.roles and "decode" not in draft.roles:
        ledger.warn("there is no SGLangDecodeWorker here; add the decode workers of its own file")
    if "decode" in draft.roles and "prefill" not in draft.roles:
        ledger.warn("there is no prefill worker here; add the prefill workers of its own file")
    if root.get("slurm_jobs") is None:
        ledger.to_set("container, or python: how the workers find SGLang and Dynamo")
        ledger.to_set("slurm: partition, account and time, unless a site file sets them")
    return draft, shapes


def _with_common(root: Section, ledger: Ledger) -> Section:
    """`common-configs: [x]` of a service takes x from `Common`."""
    common = root.get("Common")
    if common is None or not isinstance(common.value, Section):
        return root
    items = []
    for service in root.items:
        wanted = root.get(service.key, "common-configs")
        if wanted is None or not isinstance(wanted.value, list):
            items.append(service)
            continue
        own = service.value.items
        taken = tuple(i for i in common.value.items if i.key in wanted.value and all(i.key != o.key for o in own))
        ledger.use(wanted)
        rest = tuple(o for o in own if o is not wanted)
        items.append(replace(service, value=replace(service.value, items=(*taken, *rest))))
    return replace(root, items=tuple(items))


def _worker(item: Item, root: Section, draft: Draft, catalog: Catalog, ledger: Ledger) -> tuple[str, RoleFlags, Shape]:
    service = section_of(item)
    mode = next((i for i in service.items if _dashed(i) == "disaggregation-mode"), None)
    role = _role(item, mode, root)
    settings = service.get("ServiceArgs")
    inner = section_of(settings)
    rest = replace(service, items=tuple(i for i in service.items if i is not settings))
    flags = convert_flags(rest, catalog, ledger)
    workers = inner.get("workers")
    number = whole(workers, 1) or 1
    ledger.use(workers)
    env = _environment(inner.get("envs"), ledger)
    draft.roles[role] = DraftRole(
        entry("workers", number, workers),
        flags.args,
        env,
        above=item.above,
        env_above=_above(inner.get("envs")),
    )
    nodes = flags.owned.get("nnodes")
    count = whole(nodes, 1) or 1
    ledger.use(nodes)
    for name, owned in flags.owned.items():
        if name in ("model-path", "model", "served-model-name", "disaggregation-bootstrap-port"):
            continue  # other keys hold them
        ledger.drop(owned, OWNED_FLAGS[name])
    rank = flags.owned.get("node-rank")
    if rank is not None and rank.value not in (0, "0", None):
        ledger.warn("this file is for one node of several; the launcher starts them all", rank)
    return role, flags, Shape(role, number, count, draft.roles[role].gpus)


def _role(item: Item, mode: Item | None, root: Section) -> str:
    if mode is not None and mode.value in ("prefill", "decode"):
        return str(mode.value)
    if item.key == DECODE:
        return "decode"
    if item.key == "SGLangPrefillWorker" or root.get(DECODE) is not None:
        return "prefill"
    return "aggregated"


def _environment(envs: Item | None, ledger: Ledger) -> Section:
    """`envs`, as a mapping or as a list of {name, value}."""
    if envs is None or envs.value is None:
        return Section()
    if isinstance(envs.value, list):
        pairs = [
            Item(str(e["name"]), e.get("value"), (*envs.path, n), envs.place)
            for n, e in enumerate(envs.value)
            if isinstance(e, Mapping) and set(e) == {"name", "value"}
        ]
        if len(pairs) != len(envs.value):
            raise InputError(problem("must be a mapping, or a list of {name, value}", envs))
        if len({p.key for p in pairs}) != len(pairs):
            raise InputError(problem("a variable is given twice; keep one", envs))
        section = env_section(Section(tuple(pairs)), ledger)
        if len(section.items) == len(pairs):
            ledger.use(envs)
        return section
    return env_section(section_of(envs), ledger)


def _frontend(item: Item | None, draft: Draft, ledger: Ledger) -> None:
    section = section_of(item)
    port = section.get("port")
    number = whole(port, 1, 65535)
    if number is not None:
        draft.frontend.append(entry("port", number, port))
        ledger.use(port)
    for key in ("router", "router-mode", "router_mode"):
        mode = section.get(key)
        if mode is not None and mode.value in ("kv", "random", "round-robin"):
            draft.frontend.append(entry("router_mode", mode.value, mode))
            ledger.use(mode)
            break
    for key, reason in _FRONTEND.items():
        if found := section.get(key):
            ledger.drop(found, reason)
    if item is not None:
        draft.above["frontend"] = item.above


def _model(found: Mapping[str, tuple[Item, RoleFlags]], root: Section, draft: Draft, ledger: Ledger) -> None:
    paths = _given(found, "model-path") + _given(found, "model")
    if not paths:
        raise InputError(Problem("model-path: none of the workers has one", next(iter(found.values()))[0].place))
    path = _one(paths, ledger)
    draft.model.append(replace(entry("path", path.value), value=_folder(path.value)))
    frontend = root.get("Frontend", "served_model_name")
    names = ([frontend] if frontend else []) + _given(found, "served-model-name")
    if names:
        draft.model.append(entry("served_name", _one(names, ledger).value))


def _given(found: Mapping[str, tuple[Item, RoleFlags]], name: str) -> list[Item]:
    items = [flags.owned.get(name) for _, flags in found.values()]
    return [i for i in items if i is not None and i.value is not None]


def _one(items: list[Item], ledger: Ledger) -> Item:
    """The first item's value; the others say the same, or are listed."""
    first = items[0]
    ledger.use(first)
    for other in items[1:]:
        if other.value == first.value:
            ledger.use(other)
        else:
            ledger.drop(other, f"{first.value!r} is used for all")
    return first


def _bootstrap(found: Mapping[str, tuple[Item, RoleFlags]], draft: Draft, ledger: Ledger) -> None:
    bootstrap_port(_given(found, "disaggregation-bootstrap-port"), draft, ledger)


def bootstrap_port(items: list[Item], draft: Draft, ledger: Ledger) -> None:
    """The roles' bootstrap ports, prefill's first, as `ports.bootstrap`."""
    if items and "aggregated" in draft.roles:
        for item in items:
            ledger.drop(item, "an aggregated worker has no bootstrap server")
    elif items:
        first = _one(items, ledger)
        draft.ports.append(entry("bootstrap", whole(first, 1, 65535)))


def _nodes(shapes: list[Shape], found: Mapping[str, tuple[Item, RoleFlags]], ledger: Ledger) -> tuple[int, list[Shape]]:
    """GPUs of a node, from nnodes and from what ServiceArgs asks for."""
    several = any(s.nodes > 1 for s in shapes)
    per_rank = [s.gpus // s.nodes for s in shapes if s.gpus >= s.nodes]
    for name, (item, _) in found.items():
        gpu = section_of(item).get("ServiceArgs", "resources", "gpu")
        number = whole(gpu, 0)
        shape = next(s for s in shapes if s.role == name)
        if gpu is None or number is None:
            continue
        ledger.use(gpu)
        if shape.gpus and number * shape.nodes != shape.gpus:
            ledger.warn(
                f"{counted(number, 'GPU')} on each of {counted(shape.nodes, 'node')}, but the sizes ask for "
                f"{shape.gpus} in all; the sizes count",
                gpu,
            )
    if several and per_rank:
        return max(per_rank), shapes
    total = sum(s.gpus * s.workers for s in shapes)
    ledger.warn("slurm.gpus_per_node: 8 is assumed; the source does not say it")
    fresh = total > 8
    return 8, [replace(s, fresh=fresh) for s in shapes]


def _above(item: Item | None) -> tuple[Comment, ...]:
    return item.above if item else ()


def _dashed(item: Item) -> str:
    return item.key.replace("_", "-")


def _folder(value: Any) -> Any:
    """`/model/` is `/model`."""
    if isinstance(value, str) and len(value) > 1:
        return value.rstrip("/") or "/"
    return value
