"""NATS and etcd as the job runs them, and how Dynamo's processes find them."""

from __future__ import annotations

import re

from launcher.base.errors import Problem
from launcher.base.words import Ref, Word
from launcher.config import Config, Source
from launcher.engines.base import Command, flag_words
from launcher.front.planes import nats_tls, secured

_URLS = {"nats": ("nats", "tls"), "etcd": ("http", "https")}


def service_problems(config: Config, source: Source) -> list[Problem]:
    """Addresses are given if, and only if, NATS and etcd run elsewhere."""
    services, found = config.services, []
    external = services.where == "external"
    for name, schemes in _URLS.items():
        url = getattr(services, name)
        shape = " or ".join(f"{s}://HOST:PORT" for s in schemes)
        if external and url is None and not config.service.joins:
            found.append(source.problem(f"say where it is: {shape}", "services", name))
        elif url is not None and not external:
            found.append(source.problem("is for services.where: external", "services", name))
        elif url is not None and not re.fullmatch(rf"({'|'.join(schemes)})://[A-Za-z0-9._-]+:[0-9]{{1,5}}", url):
            found.append(source.problem(f"must be {shape}", "services", name))
    if config.security.request_plane == "tls" and ((external and not config.service.joins) or not secured(config)):
        elsewhere = "it takes the job's own keys, and the services are elsewhere"
        why = elsewhere if external else "it takes the job's keys; leave out security.services: open"
        found.append(source.problem(f"tls cannot be had here: {why}", "security", "request_plane"))
    if services.keys is not None and not external:
        found.append(source.problem("is for services.where: external; a job makes its own", "services", "keys"))
    return found


def own_services(config: Config) -> dict[str, Command]:
    """NATS and etcd, where they are the job's own."""
    return {} if config.services.where == "external" else {"nats": _nats(config), "etcd": _etcd(config)}


def _nats(config: Config) -> Command:
    flags = {
        "addr": Ref("${NODE_ADDR}"),
        "port": Ref("${NATS_PORT}"),
        "jetstream": True,
        "store_dir": Ref("${SCRATCH}/nats"),
        # certificates, and the password: in a file, so that it is in no argv
        "config": Ref("${RUN}/secrets/nats.conf") if secured(config) else None,
    }
    return Command(("nats-server", *flag_words(flags)))


def _etcd(config: Config) -> Command:
    scheme = "https" if secured(config) else "http"
    client = Ref(scheme + "://${NODE_ADDR}:${ETCD_PORT}")
    # one member: its peer port is of no use to anyone else
    peer = Ref(scheme + "://127.0.0.1:${ETCD_PEER_PORT}")
    flags = {
        "name": "sgl-launch",
        "data-dir": Ref("${SCRATCH}/etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": Ref("sgl-launch=" + peer.text),
        "log-level": "warn",
    }
    for prefix in ("", "peer-") if secured(config) else ():
        flags |= {
            f"{prefix}cert-file": Ref("${RUN}/secrets/server.pem"),
            f"{prefix}key-file": Ref("${RUN}/secrets/server.key"),
            f"{prefix}trusted-ca-file": Ref("${RUN}/secrets/ca.pem"),
            f"{prefix}client-cert-auth": True,
        }
    return Command(("etcd", *flag_words(flags)))


def client_env(config: Config) -> dict[str, Word]:
    """Where Dynamo's processes find NATS and etcd (https://docs.nvidia.com/dynamo).

    The keys themselves are exported by the script's stage `keys`: they are in no argv and not here.
    """
    if config.services.where == "external":
        nats, etcd = config.services.nats or Ref("${JOINED_NATS}"), config.services.etcd or Ref("${JOINED_ETCD}")
        return {"NATS_SERVER": nats, "ETCD_ENDPOINTS": etcd}
    nats_scheme, etcd_scheme = "tls" if nats_tls(config) else "nats", "https" if secured(config) else "http"
    return {
        "NATS_SERVER": Ref(nats_scheme + "://${SERVICES_ADDR}:${NATS_PORT}"),
        "ETCD_ENDPOINTS": Ref(etcd_scheme + "://${SERVICES_ADDR}:${ETCD_PORT}"),
    }
