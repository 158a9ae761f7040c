"""Registrations of Dynamo's that hold in two name spaces: how a worker is shown to frontends, and taken from them.

Every job's workers register in a name space of the job's own, and frontends look into that of their job alone. A copy
of a worker's keys in another name space shows it to the frontends there. The copies hang on the worker's own lease:
they go when it does, whatever becomes of the process that made them. What a key's value says of addresses and of
NATS's subjects stays as it is, since the worker listens and speaks where it did.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from launcher.run.deployment import Deployment, etcd_client
from launcher.run.registry import registrations

PREFIX = "v1/"
COMPONENTS = {"prefill": "prefill", "decode": "backend", "aggregated": "backend"}
"""What Dynamo calls the workers of each role."""


def place_of(key: str) -> tuple[str, str] | None:
    """Name space and component of a key: v1/instances/SPACE/COMPONENT/ENDPOINT/ID, v1/mdc/... likewise, and
    v1/event_channels/namespace/SPACE/component/COMPONENT/..."""
    parts = key.split("/")
    if parts[2:3] == ["namespace"]:
        parts = [*parts[:2], *parts[3::2]]
    return (parts[2], parts[3]) if len(parts) > 4 else None


def moved_key(key: str, old: str, new: str) -> str:
    return "/".join(new if part == old else part for part in key.split("/"))


def moved_value(value: Any, old: str, new: str) -> Any:
    """A value with `namespace` changed wherever it stands."""
    if isinstance(value, dict):
        return {k: new if k == "namespace" and v == old else moved_value(v, old, new) for k, v in value.items()}
    return [moved_value(v, old, new) for v in value] if isinstance(value, list) else value


def changes(
    keys: Mapping[str, int], own: str, main: str, shown: Collection[int], hidden: Collection[int],
    borrowed: Collection[str],
) -> tuple[list[tuple[str, str]], list[str]]:  # fmt: skip
    """What to copy, as (key, its copy), and which copies to delete. Pure. `keys` with their leases, `own` and `main`
    name spaces, leases of workers of `own` to be shown in `main` and to be hidden there, and the components of
    `main` that `own` is to have too."""
    copies, gone = [], []
    for key, lease in sorted(keys.items()):
        space, component = place_of(key) or ("", "")
        if space == own and component in borrowed:
            if moved_key(key, own, main) not in keys:
                gone.append(key)
        elif space == own and lease in shown:
            copies.append((key, moved_key(key, own, main)))
        elif space == main and component in borrowed:
            copies.append((key, moved_key(key, main, own)))
        elif space == main and lease in hidden:
            gone.append(key)
    return [(key, copy) for key, copy in copies if copy not in keys], gone


class Bridge:
    """Between a piece's name space and that of the deployment that it joins, in the latter's etcd. Its methods raise
    pyetcd's and grpc's exceptions, and connect anew after one."""

    def __init__(self, head: Deployment, own: str, main: str, borrowed: Collection[str]) -> None:
        self.head, self.own, self.main, self.borrowed = head, own, main, borrowed
        self.ever: set[int] = set()  # leases of workers that were shown
        self._copies: set[str] = set()
        self._client: Any = None

    def show(self, addresses: Collection[str]) -> set[str]:
        """Have the deployment's frontends use the workers at these addresses, and no other ones of this piece; returns
        the addresses of those that are registered."""
        try:
            self._client = self._client or etcd_client(self.head)
            return self._show(self._client, addresses)
        except Exception:
            self._client = None
            raise

    def hide(self) -> None:
        """Show none any more, at once: no question comes before it."""
        client = self._client or etcd_client(self.head)
        for copy in sorted(self._copies, key=lambda key: not key.startswith(f"{PREFIX}instances/{self.main}/")):
            client.delete(copy)

    def _show(self, client: Any, addresses: Collection[str]) -> set[str]:
        shown = {r.instance_id: r.address for r in registrations(client) if r.address in addresses}
        self.ever |= shown.keys()
        keys = {meta.key.decode(): int(meta.lease_id) for _, meta in client.get_prefix(PREFIX, keys_only=True)}
        copies, gone = changes(keys, self.own, self.main, shown, self.ever - shown.keys(), self.borrowed)
        for key in gone:
            client.delete(key)
        for key, copy in copies:
            value, meta = client.get(key)
            if value is None:
                continue
            spaces = (self.own, self.main) if self.own in key.split("/") else (self.main, self.own)
            with contextlib.suppress(ValueError):
                client.put(copy, json.dumps(moved_value(json.loads(value), *spaces)), lease=meta.lease_id)
                self._copies.add(copy)
        return set(shown.values())
