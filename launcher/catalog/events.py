"""What a worker tells a KV-aware router of its caches: kv-events-config, whose port the launcher gives out.

SGLang's scheduler of attention group n publishes at the port n above the flag's (ZmqEventPublisher of 0.5.16 and
0.5.23), and 0.5.23 its load at the ports after those of all groups; Dynamo's process beside it hands them on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from launcher.base.words import Joined, Ref
from launcher.catalog.given import Flags

FLAG = "kv-events-config"
DEFAULT = {"publisher": "zmq", "topic": "kv-events"}
# Above the ports of a worker group (launcher.base.portnames), and above those of as many groups as can share a node
# while each has several attention groups
_IN_GROUP, _OF_SEVERAL, _STEP = 19, 128, 16


class _Router(Protocol):
    @property
    def router_mode(self) -> str | None: ...
    @property
    def args(self) -> Mapping[str, Any]: ...


class _Config(Protocol):
    @property
    def engine(self) -> str: ...
    @property
    def frontend(self) -> _Router: ...


def goes_by_events(router: _Router) -> bool:
    """Whether Dynamo's frontend routes by what workers tell."""
    args = router.args
    off = any(args.get(f"no-{name}") or args.get(name) is False for name in ("router-kv-events", "kv-events"))
    return router.router_mode == "kv" and not off


def events_of(config: _Config, role: str, args: Mapping[str, Any]) -> dict[str, Any] | None:
    """The flag's value where its endpoint is still to be given out; None where there is none, or the config says all.

    Decode workers tell nothing unless the config says so: their caches have no part in routing.
    """
    given = args.get(FLAG)
    if given is None and goes_by_events(config.frontend) and role != "decode" and not args.get("disable-radix-cache"):
        given = DEFAULT
    if config.engine != "dynamo" or not isinstance(given, Mapping) or "endpoint" in given:
        return None
    return {**DEFAULT, **given}


def events_offset(config: _Config, role: str, args: Mapping[str, Any], slot: int, base: int) -> int | None:
    """The port's offset in the job's block, for the worker of a node's `slot` whose ports begin at `base`."""
    if events_of(config, role, args) is None:
        return None
    return base + _IN_GROUP if Flags(args).attention_groups == 1 else _OF_SEVERAL + _STEP * slot


def with_events(config: _Config, role: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The worker's flags, this one with its endpoint."""
    found = events_of(config, role, args)
    if found is None:
        return dict(args)
    rest = json.dumps(found, sort_keys=True)[1:]
    return {**args, FLAG: Joined(('{"endpoint": "tcp://*:', Ref("${KV_EVENTS_PORT}"), '", ' + rest))}
