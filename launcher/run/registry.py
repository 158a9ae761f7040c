"""Dynamo's registrations in etcd: which worker groups are there, under which lease."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "v1/instances/"


@dataclass(frozen=True)
class Registration:
    """A worker's `generate` endpoint: `address` is HOST:PORT of its request plane."""

    instance_id: int
    address: str


def connect(host: str, port: int, secrets: Path | None, timeout: float = 5.0) -> Any:
    """A client of the job's etcd, with the job's keys if it has some; raises pyetcd's exceptions."""
    import pyetcd

    files = {"ca_cert": "ca.pem", "cert_cert": "client.pem", "cert_key": "client.key"}
    keys = {name: str(secrets / file) for name, file in files.items()} if secrets is not None else {}
    # gRPC takes a proxy from the environment; a job's etcd is on the way in, never on the way out
    direct = [("grpc.enable_http_proxy", 0)]
    return pyetcd.client(host=host, port=port, timeout=timeout, grpc_options=direct, **keys)


def registrations(client: Any) -> list[Registration]:
    """The workers that are registered now; raises pyetcd's exceptions."""
    found = []
    for raw, _ in client.get_prefix(PREFIX):
        try:
            value = json.loads(raw)
            if value["endpoint"] == "generate":  # others (the KV router's own) are registered beside it
                tcp = str(value.get("transport", {}).get("tcp", ""))
                found.append(Registration(int(value["instance_id"]), tcp.partition("/")[0]))
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
    return found


def forget(client: Any, address: str, known: Container[int]) -> bool:
    """Take a dead worker off at once instead of when its lease ends; False if it was not there. `known` are the
    instance ids seen before it died: the new one may have the address already."""
    found = [r for r in registrations(client) if r.address == address and r.instance_id in known]
    for registration in found:
        # all keys of a worker hang on one lease, whose id is its instance id
        client.revoke_lease(registration.instance_id)
    return bool(found)
