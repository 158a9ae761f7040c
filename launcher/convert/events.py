"""A recipe's `kv_events_config`: who tells a KV-aware router what is in its cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.catalog.events import DEFAULT, FLAG, goes_by_events
from launcher.convert.draft import Draft
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Item, Section, plain


@dataclass(frozen=True)
class _Router:
    router_mode: str | None
    args: dict[str, Any]


def events(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """The launcher gives out the ports, and has prefill and aggregated workers publish where a router goes by it; what
    is otherwise in the source becomes the role's flag."""
    config = recipe.get("backend", "kv_events_config")
    front = {item.key: plain(item.value) for item in draft.frontend}
    if draft.engine != "dynamo" or not goes_by_events(_Router(front.get("router_mode"), front.get("args") or {})):
        if config is not None and config.value:
            ledger.drop(config, "no router goes by events here: that needs frontend.router_mode: kv, and Dynamo")
        return
    given = plain(config.value) if config is not None else None
    if given is None:
        mode = "frontend.router_mode: the source's workers send no events for kv; here they do"
        ledger.warn(f"{mode} (frontend.args: {{no-router-kv-events: true}} is without)")
        return
    ledger.use(config)
    for name, role in draft.roles.items():
        own = given.get(name) if isinstance(given, dict) else given
        if isinstance(own, dict):
            own = {key: own[key] for key in own if key not in ("endpoint", "replay_endpoint")}
        usual = own is True or own == {} or own == DEFAULT
        if own and not usual:
            value: Any = own
        elif usual:
            value = DEFAULT if name == "decode" else None
        else:
            value = False if own is False and name != "decode" else None
        if value is not None and role.args.get(FLAG) is None:
            items = (*role.args.items, Item(FLAG, value))
            role.args = Section(items)
