"""NATS and etcd as the job runs them, and how Dynamo's processes find them."""

from __future__ import annotations

from launcher.config import Config
from launcher.engines.base import Command
from launcher.words import Ref, Word


def secured(config: Config) -> bool:
    return config.security.services == "secured"


def nats(config: Config) -> Command:
    words: list[Word] = [
        "nats-server",
        "--addr",
        Ref("${NODE_ADDR}"),
        "--port",
        Ref("${NATS_PORT}"),
        "--jetstream",
        "--store_dir",
        Ref("${SCRATCH}/nats"),
    ]
    if secured(config):
        # certificates, and the password: in a file, so that it is in no argv
        words += ["--config", Ref("${RUN}/secrets/nats.conf")]
    return Command(tuple(words))


def etcd(config: Config) -> Command:
    scheme = "https" if secured(config) else "http"
    client = Ref(scheme + "://${NODE_ADDR}:${ETCD_PORT}")
    # one member: its peer port is of no use to anyone else
    peer = Ref(scheme + "://127.0.0.1:${ETCD_PEER_PORT}")
    words: list[Word] = [
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
        Ref("sgl-launch=" + peer.text),
        "--log-level",
        "warn",
    ]
    if secured(config):
        for prefix in ("", "peer-"):
            words += [
                f"--{prefix}cert-file",
                Ref("${RUN}/secrets/server.pem"),
                f"--{prefix}key-file",
                Ref("${RUN}/secrets/server.key"),
                f"--{prefix}trusted-ca-file",
                Ref("${RUN}/secrets/ca.pem"),
                f"--{prefix}client-cert-auth",
            ]
    return Command(tuple(words))


def client_env(config: Config) -> dict[str, Word]:
    """Where Dynamo's processes find NATS and etcd (https://docs.nvidia.com/dynamo).

    The keys themselves are exported by the script's stage `keys`: they are in no argv and not here.
    """
    tls = secured(config) and config.security.nats_tls
    nats_scheme, etcd_scheme = "tls" if tls else "nats", "https" if secured(config) else "http"
    return {
        "NATS_SERVER": Ref(nats_scheme + "://${SERVICES_ADDR}:${NATS_PORT}"),
        "ETCD_ENDPOINTS": Ref(etcd_scheme + "://${SERVICES_ADDR}:${ETCD_PORT}"),
    }
