"""Dynamo's registrations in etcd: which worker groups are there, under which lease."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "v1/instances/"


@dataclass(frozen=True)
class Registration:
    """A worker's `generate` endpoint: `address` is HOST:PORT of its request plane."""

    component: str
    instance_id: int
    address: str


def connect(host: str, port: int, secrets: Path | None, timeout: float = 5.0) -> Any:
    """A client of the job's etcd, with the job's keys if it has some; raises pyetcd's exceptions."""
    import pyetcd

    keys = {}
    if secrets is not None:
        keys = {
            "ca_cert": str(secrets / "ca.pem"),
            "cert_cert": str(secrets / "client.pem"),
            "cert_key": str(secrets / "client.key"),
        }
    # gRPC takes a proxy from the environment; a job's etcd is on the way in, never on the way out
    direct = [("grpc.enable_http_proxy", 0)]
    return pyetcd.client(host=host, port=port, timeout=timeout, grpc_options=direct, **keys)


def parse(values: Iterable[bytes]) -> list[Registration]:
    """Registrations from the values below PREFIX; what is not a worker's is left out."""
    found = []
    for raw in values:
        try:
            value: Mapping[str, Any] = json.loads(raw)
            # other endpoints (the KV router's own) are registered beside it
            if value.get("endpoint") != "generate":
                continue
            tcp = str(value.get("transport", {}).get("tcp", ""))
            found.append(Registration(str(value["component"]), int(value["instance_id"]), tcp.partition("/")[0]))
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
    return found


def registrations(client: Any) -> list[Registration]:
    """What is registered now; raises pyetcd's exceptions."""
    return parse(value for value, _ in client.get_prefix(PREFIX))


def forget(client: Any, address: str, known: Container[int]) -> bool:
    """Take a dead worker off at once instead of when its lease ends; False if it was not there.

    `known` are the instance ids seen before it died: the new one may have the address already.
    """
    found = [r for r in registrations(client) if r.address == address and r.instance_id in known]
    for registration in found:
        # all keys of a worker hang on one lease, whose id is its instance id
        client.revoke_lease(registration.instance_id)
    return bool(found)
