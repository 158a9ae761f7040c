"""An srt-slurm recipe becomes a config; one of the second schema is brought into the shape of the first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from launcher.base.counting import counted
from launcher.base.errors import InputError, Problem
from launcher.catalog.catalog import Catalog
from launcher.catalog.given import dashed
from launcher.catalog.pairs import of_image, sglang_of
from launcher.catalog.releases import history, order
from launcher.convert import dynamo, mocker, site
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
from launcher.convert.events import events
from launcher.convert.flags import RoleFlags, convert_flags
from launcher.convert.layout import Shape
from launcher.convert.ledger import Ledger
from launcher.convert.reasons import explain
from launcher.convert.schema2 import ROLES, lowered
from launcher.convert.service import bootstrap_port
from launcher.convert.tree import Item, Section, leaves
from launcher.engines.base import OWNED_FLAGS

# a role here -> its word in `resources`
RESOURCES = {"prefill": "prefill", "decode": "decode", "aggregated": "agg"}
_GPUS_PER_NODE = 4  # srtctl's own default


def convert_recipe(recipe: Section, name: str, catalog: Catalog, ledger: Ledger) -> tuple[Draft, list[Shape]]:
    """Raises InputError when the recipe's values can't be understood, or its backend is another."""
    recipe = lowered(recipe, ledger)
    kind = _backend(recipe)
    draft = Draft(name_for(name, ledger, recipe.get("name")))
    ledger.use(recipe.get("name"), recipe.get("backend", "type"))
    _comments(recipe, draft)
    problems: list[Problem] = []
    shapes: list[Shape] = []
    draft.env = env_section(section_of(recipe.get("environment")), ledger)

    def roles() -> None:
        shapes.extend(_roles(recipe, kind, draft, catalog, ledger))

    steps: tuple[Callable[[], None], ...] = (
        roles,
        lambda: site.model(recipe, kind, draft, ledger),
        lambda: site.mounts(recipe, draft, ledger),
        lambda: site.slurm(recipe, draft, ledger),
        lambda: site.frontend(recipe, draft, ledger),
        lambda: site.frontends(recipe, draft, shapes, ledger),
        lambda: events(recipe, draft, ledger),
        lambda: dynamo.dynamo(recipe, draft, ledger),
        lambda: site.services(recipe, draft, ledger),
        lambda: site.timeouts(recipe, draft, ledger),
    )
    for step in steps:
        try:
            step()
        except InputError as e:
            problems += e.problems
    if problems:
        raise InputError(*problems)
    explain(recipe, ledger)
    return draft, shapes


def image_version(recipe: Section) -> str:
    """The SGLang that the recipe's image has, as far as its name or the recipe's `identity` says; else the one that
    goes with the Dynamo that is installed in it."""
    told = recipe.get("identity", "frameworks", "sglang")
    if told is not None and isinstance(told.value, str):
        return of_image(f"sglang:{told.value}").sglang
    image = recipe.get("model", "container")
    named = of_image(str(image.value)).sglang if image is not None else ""
    installed = recipe.get("dynamo", "version") or recipe.get("dynamo", "source", "pypi")
    return named or (sglang_of(str(installed.value)) if installed is not None else "")


def knows_its_flags(recipe: Section, version: str) -> str:
    """`version`, or the first one after it that knows all of the recipe's flags that are newer."""
    roles = [item for name in ROLES if (item := recipe.get("roles", name, "args"))]
    roles += section_of(recipe.get("backend", "sglang_config")).items
    names = {dashed(flag.key) for role in roles if isinstance(role.value, Section) for flag in role.value.items}
    return max([version, *(known[0] for name in names if (known := history(name)))], key=order)


def _backend(recipe: Section) -> str:
    """`sglang` or `mocker`. Raises InputError for the others, by name."""
    backend = section_of(recipe.get("backend"))
    kind = backend.get("type")
    name = "sglang" if kind is None or kind.value is None else str(kind.value)
    if kind is None:
        other = next(
            (
                i
                for i in backend.items
                if i.key.endswith("_config") and i.key not in ("sglang_config", "kv_events_config")
            ),
            None,
        )
        if other is not None and backend.get("sglang_config") is None:
            kind, name = other, other.key.removesuffix("_config")
    if name not in ("sglang", "mocker"):
        message = f"a recipe for {name}; only those for sglang and mocker are converted"
        assert kind is not None
        raise InputError(problem(message, kind))
    return name


def _comments(recipe: Section, draft: Draft) -> None:
    """Comments above a part of the recipe go above the part of the config that it became."""
    homes = {
        "name": "name",
        "model": "model",
        "resources": "slurm",
        "slurm": "slurm",
        "sbatch_directives": "slurm",
        "environment": "env",
        "frontend": "frontend",
        "health_check": "timeouts",
        "container_mounts": "container",
        "extra_mount": "container",
    }
    for item in recipe.items:
        if home := homes.get(item.key):
            draft.above[home] = draft.above.get(home, ()) + item.above
    draft.under = recipe.items[-1].under


def _roles(recipe: Section, kind: str, draft: Draft, catalog: Catalog, ledger: Ledger) -> list[Shape]:
    names = _role_names(recipe)
    per_node = recipe.get("resources", "gpus_per_node")
    draft.gpus_per_node = whole(per_node, 1, 1024) or _GPUS_PER_NODE
    if per_node is None:
        ledger.warn(f"slurm.gpus_per_node: {_GPUS_PER_NODE} is srtctl's default; its cluster file may say otherwise")
    ledger.use(per_node)
    draft.gpus_comments = per_node
    backend = section_of(recipe.get("backend"))
    config = backend.get(f"{kind}_config")
    shapes: list[Shape] = []
    owned: dict[str, RoleFlags] = {}
    others: list[Item] = []  # mocker flags of a role that SGLang has no name for
    for name in names:
        shape, workers = _shape(name, recipe, draft.gpus_per_node, shapes, ledger)
        item = section_of(config).get(name) or _first_of(section_of(config).get(f"{name}_groups"), ledger)
        if kind == "mocker":
            flags = mocker.role_flags(section_of(item), shape, ledger, others)
        else:
            flags = convert_flags(section_of(item), catalog, ledger)
        if item is not None and not section_of(item).items:
            ledger.use(item)
        environment = backend.get(f"{name}_environment")
        env = env_section(_beside(section_of(environment), draft.env, ledger), ledger)
        if environment is not None and not section_of(environment).items:
            ledger.use(environment)
        draft.roles[name] = DraftRole(
            workers,
            flags.args,
            env,
            above=item.above if item else (),
            env_above=environment.above if environment else (),
        )
        shapes.append(_checked(shape, draft.roles[name], draft.gpus_per_node, ledger, recipe))
        owned[name] = flags
    first = draft.roles[names[0]]
    holders = [i for i in (recipe.get("backend"), config) if i is not None]
    first.above = (*(c for i in holders for c in i.above), *first.above)
    if kind == "mocker":
        mocker.settings(backend, others, draft, ledger)
    _owned(owned, draft, ledger)
    _own_folders(draft, ledger)
    return shapes


def _beside(environment: Section, common: Section, ledger: Ledger) -> Section:
    """A role's variables without those that `environment` sets too: srtctl lets the latter count."""
    for item in environment.items:
        other = common.get(item.key)
        if other is not None and str(other.value) != str(item.value):
            ledger.drop(item, "environment sets it for all, and that counts in srtctl too")
    return replace(environment, items=tuple(i for i in environment.items if common.get(i.key) is None))


def _first_of(groups: Item | None, ledger: Ledger) -> Item | None:
    """The flags of the first worker, where the source has a list of them, one for each worker of the role."""
    if groups is None:
        return None
    first, *rest = groups.value if isinstance(groups.value, list) and groups.value else [None]
    if not isinstance(first, dict):
        raise InputError(problem("must be a list of mappings, one for each worker", groups))
    if any(other != first for other in rest):
        ledger.warn("its workers differ; here all of a role have the same flags: the first one's are written", groups)
    for number, other in enumerate(rest, 1):
        there = Item(f"[{number}]", other, (*groups.path, number), groups.place)
        ledger.drop(there, "flags of this worker alone; the first one's are written")
    items = (Item(str(k), v, (*groups.path, 0, str(k)), groups.place) for k, v in first.items())
    return replace(groups, value=Section(tuple(items)), path=(*groups.path, 0))


def _role_names(recipe: Section) -> list[str]:
    resources = section_of(recipe.get("resources"))

    def has(role: str) -> bool:
        keys = (f"{RESOURCES[role]}_workers", f"{RESOURCES[role]}_nodes")
        return any(whole(resources.get(k), 0, 10**6) for k in keys)

    if has("prefill") or has("decode"):
        return ["prefill", "decode"]
    if has("aggregated"):
        return ["aggregated"]
    configs = [section_of(recipe.get("backend", f"{kind}_config")) for kind in ("sglang", "mocker")]
    given = [i.key.removesuffix("_groups") for c in configs for i in c.items]
    if "prefill" in given or "decode" in given:
        return ["prefill", "decode"]
    if "aggregated" in given:
        return ["aggregated"]
    where = recipe.get("resources") or recipe.items[0]
    raise InputError(problem("there is no worker: give it prefill and decode, or agg ones", where))


def _shape(role: str, recipe: Section, per_node: int, before: list[Shape], ledger: Ledger) -> tuple[Shape, Item]:
    """What `resources` says of a role, and the config's `workers`."""
    word = RESOURCES[role]
    items = [recipe.get("resources", key) for key in (f"{word}_workers", f"{word}_nodes", f"gpus_per_{word}")]
    spread = recipe.get("resources", "spread_workers")
    number, nodes, gpus = whole(items[0], 0), whole(items[1], 0, 10**6), whole(items[2], 1, 10**6)
    workers = number or 1
    shares = nodes == 0 and bool(before)  # decode on the prefill nodes
    if gpus is None and nodes:
        gpus = nodes * per_node // workers
        if not gpus:
            at = next((i for i in items if i is not None), None)
            ledger.warn(f"{counted(workers, 'worker')} on {counted(nodes, 'node')} of {counted(per_node, 'GPU')}", at)
    if gpus is None and shares:
        gpus = before[-1].gpus
    if number is None and nodes is None:
        ledger.warn(f"the resources do not say how many {role} workers; 1 is written", recipe.get("resources"))
    ledger.use(*items, spread)
    per_worker = -(-gpus // per_node) if gpus else 1
    shape = Shape(
        role,
        workers,
        per_worker,
        gpus or 0,
        fresh=not shares,
        spread=bool(spread and spread.value is True),
    )
    if nodes and gpus:
        room = max(1, per_node // gpus)
        filled = workers * per_worker if per_worker > 1 else -(-workers // room)
        if shape.spread:
            filled = workers * per_worker
        if filled != nodes:
            ledger.warn(f"{counted(nodes, 'node')}, but its workers fill {filled}; so many are asked for", items[1])
    return shape, entry("workers", workers, *items)


def _checked(shape: Shape, role: DraftRole, per_node: int, ledger: Ledger, recipe: Section) -> Shape:
    """The shape; sizes that ask for another number of GPUs than `resources` are a warning."""
    if not shape.gpus:
        gpus = role.gpus or 1
        return replace(shape, gpus=gpus, nodes=-(-gpus // per_node))
    if role.gpus and role.gpus != shape.gpus:
        ledger.warn(
            f"each {shape.role} worker has {shape.gpus} GPUs by its resources, and uses "
            f"{role.gpus} by its sizes (tp-size x pp-size x dp-size)",
            recipe.get("resources"),
        )
    return shape


def _owned(roles: dict[str, RoleFlags], draft: Draft, ledger: Ledger) -> None:
    """Flags that the launcher gives out, or that another key holds."""
    ports = [f.owned.get("disaggregation-bootstrap-port") for f in roles.values()]
    bootstrap_port([p for p in ports if p is not None and p.value is not None], draft, ledger)
    names = [f.owned["served-model-name"] for f in roles.values() if "served-model-name" in f.owned]
    if names:
        draft.model.append(Item("served_name", names[0].value))
    for item in names:
        if item.value == names[0].value:
            ledger.use(item)
        else:
            ledger.drop(item, f"{names[0].value!r} is used for all")
    for role, flags in roles.items():
        for name, item in flags.owned.items():
            if name in ("model", "model-path"):
                ledger.drop(item, "srtctl gives it out from model.path")
            elif name == "disaggregation-mode" and item.value not in (role, "null"):
                ledger.warn(f"{item.value!r} for a {role} worker; {role} is what it gets", item)
                ledger.use(item)
            else:
                ledger.drop(item, OWNED_FLAGS[name])


def _own_folders(draft: Draft, ledger: Ledger) -> None:
    """srtctl mounts folders of its own at /configs and /logs."""
    found: dict[str, str] = {}
    for role in draft.roles.values():
        for section in (role.args, role.env):
            for item in leaves(section):
                for folder in re.findall(r"(?<![\w/.])(/configs|/logs)(?=/|$)", str(item.value)):
                    found.setdefault(folder, item.key)
    for folder, key in sorted(found.items()):
        ledger.to_set(f"container.mounts: {key} is in {folder}, where srtctl mounts a folder of its own")
