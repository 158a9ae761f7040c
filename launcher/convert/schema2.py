"""srt-slurm's second schema in the shape of the first: the keys have moved, and mean the same.

`roles.prefill.args` was `backend.sglang_config.prefill`, and so on: srt-slurm's docs/legacy-v1.md has the table. Every
key keeps its own path and place, so what is said of it names it as the file does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from launcher.base.errors import InputError
from launcher.convert.draft import problem, section_of
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Item, Section, plain

# a role of the file -> the role here, and its word in `resources`
ROLES = {"prefill": ("prefill", "prefill"), "decode": ("decode", "decode"), "agg": ("aggregated", "agg")}
_DROPPED = {
    "critical": "on_failure says what follows when a worker ends",
    "restart": "on_failure says when a worker is started again",
    "srun_options": "the script chooses srun's options",
    "container": "all workers run in the one image of container.image",
    "sidecar": "a worker is python -m dynamo.sglang here, without a sidecar",
    "extra_args": "flags of another engine",
}
_SERVICES = "sgl-launch starts NATS and etcd; run this beside the job"


def is_schema2(root: Section) -> bool:
    return root.get("roles") is not None or root.get("engine") is not None


def lowered(recipe: Section, ledger: Ledger) -> Section:
    """The recipe in the first shape. Raises InputError when its roles can't be understood."""
    if not is_schema2(recipe):
        return recipe
    roles, engine = recipe.get("roles"), recipe.get("engine")
    resources = list(section_of(recipe.get("resources")).items)
    backend = list(section_of(recipe.get("backend")).items) + _engine(roles, engine)
    kind = next((str(i.value) for i in backend if i.key == "type"), "sglang")
    config: list[Item] = []
    events: list[Item] = []
    for role in section_of(roles).items:
        if role.key not in ROLES:
            raise InputError(problem("is not a role: prefill, decode or agg", role))
        name, word = ROLES[role.key]
        moved = {"nodes": f"{word}_nodes", "workers": f"{word}_workers", "gpus": f"gpus_per_{word}"}
        for item in section_of(role).items:
            if item.key in moved:
                value = 0 if item.value == "colocate" else item.value
                resources.append(replace(item, key=moved[item.key], value=value))
            elif item.key == "env":
                backend.append(replace(item, key=f"{name}_environment"))
            elif item.key == "args":
                config.append(replace(item, key=name, above=(*role.above, *item.above)))
            elif item.key == "kv_events":
                events.append(replace(item, key=name))
            elif item.key != "engine":
                ledger.drop(item, _DROPPED.get(item.key, "sgl-launch has no counterpart"))
    above = (*(engine.above if engine else ()), *(roles.above if roles else ()))
    path = roles.path if roles else engine.path if engine else ()
    if config:
        backend.append(Item(f"{kind}_config", Section(tuple(config)), path))
    if events:
        backend.append(Item("kv_events_config", Section(tuple(events)), path))
    keys = ("roles", "engine", "resources", "backend", "frontend", "services")
    rest = [i for i in recipe.items if i.key not in keys]
    held = recipe.get("resources")
    rest.append(
        Item("resources", Section(tuple(resources)), held.path if held else path, above=held.above if held else ())
    )
    rest.append(Item("backend", Section(tuple(backend)), path, roles.place if roles else None, above=above))
    if frontend := recipe.get("frontend"):
        rest.append(_frontend(frontend, ledger))
    if services := recipe.get("services"):
        rest += _services(services, ledger)
    return Section(tuple(rest))


def _engine(roles: Item | None, engine: Item | None) -> list[Item]:
    """`type` and the engine's own settings; each role may have them instead."""
    if engine is None:
        engine = next((e for r in section_of(roles).items if (e := section_of(r).get("engine"))), None)
    if engine is None:
        return []
    return list(engine.value.items) if isinstance(engine.value, Section) else [replace(engine, key="type", above=())]


def _frontend(frontend: Item, ledger: Ledger) -> Item:
    items = []
    for item in section_of(frontend).items:
        if item.key == "type" and item.value == "sglang":
            ledger.warn("the source has no router before its one worker; here SGLang's router is", item)
        if item.key == "placement":
            if plain(item.value) in ({}, None, {"node": "head"}):
                ledger.use(item)
            else:
                ledger.drop(item, "the frontend runs beside the first worker")
        else:
            items.append(item)
    return replace(frontend, value=Section(tuple(items)))


def _services(services: Item, ledger: Ledger) -> list[Item]:
    """NATS and etcd are `infra`'s; others have no place."""
    infra: dict[str, Item] = {}
    for number, entry in enumerate(services.value if isinstance(services.value, list) else []):
        entry = plain(entry)
        here = Item(f"[{number}]", entry, (*services.path, number), services.place)
        name = entry.get("type", entry.get("name")) if isinstance(entry, Mapping) else None
        if name not in ("etcd", "nats") or entry.get("enabled") is False:
            ledger.drop(here, _SERVICES)
            continue
        for key, value in _infra(entry).items():
            infra[key] = replace(here, key=key, value=value)
        if entry.get("external") is not None:
            ledger.to_set(f"services.where: external, with services.{name}: {entry['external']}", here)
        ledger.use(here)
    ledger.use(services)
    return [Item("infra", Section(tuple(infra.values())), services.path)] if infra else []


def _infra(entry: Mapping[str, Any]) -> dict[str, Any]:
    placement, options = (v if isinstance(v := entry.get(k), Mapping) else {} for k in ("placement", "options"))
    found: dict[str, Any] = {"etcd_nats_dedicated_node": True} if placement.get("node") == "dedicated" else {}
    return found | ({"nats_max_payload_mb": options["max_payload_mb"]} if "max_payload_mb" in options else {})
