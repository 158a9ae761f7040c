"""NATS and etcd as the job runs them, and how Dynamo's processes find them."""

from __future__ import annotations

from launcher.engines.base import Command
from launcher.words import Ref, Word


def nats() -> Command:
    return Command(
        (
            "nats-server",
            "--jetstream",
            "--store_dir",
            Ref("${SCRATCH}/nats"),
            "--addr",
            Ref("${NODE_ADDR}"),
            "--port",
            Ref("${NATS_PORT}"),
            "--http_port",
            Ref("${NATS_MONITOR_PORT}"),
        )
    )


def etcd() -> Command:
    client = Ref("http://${NODE_ADDR}:${ETCD_PORT}")
    # one member: its peer port is of no use to anyone else
    peer = Ref("http://127.0.0.1:${ETCD_PEER_PORT}")
    return Command(
        (
            "etcd",
            "--name",
            "sgl-launch",
            "--data-dir",
            Ref("${SCRATCH}/etcd"),
            "--listen-client-urls",
            client,
            "--advertise-client-urls",
            client,
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            Ref("sgl-launch=http://127.0.0.1:${ETCD_PEER_PORT}"),
            "--log-level",
            "warn",
        )
    )


def client_env() -> dict[str, Word]:
    """Where Dynamo's processes find NATS and etcd (https://docs.nvidia.com/dynamo)."""
    return {
        "NATS_SERVER": Ref("nats://${SERVICES_ADDR}:${NATS_PORT}"),
        "ETCD_ENDPOINTS": Ref("http://${SERVICES_ADDR}:${ETCD_PORT}"),
    }
