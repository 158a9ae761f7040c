"""Who is let in on NATS, etcd and Dynamo's request plane: by the job's password, or its certificates."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from launcher.base.words import Ref, Word
from launcher.catalog.pairs import of_image
from launcher.catalog.releases import CatalogError, order

if TYPE_CHECKING:
    from launcher.config import Config

SERVER_NAME = "sgl-launch"  # what the job's certificates say besides addresses: Dynamo's frontend chooses its own
FIRST_WITH_TLS = (1, 5)  # Dynamo's release; earlier ones ignore DYN_TCP_TLS_*
_ASK = "import importlib.metadata as m; print(m.version('ai-dynamo'))"
_ANSWER = 20  # seconds; a Python on network storage starts slowly


def secured(config: Config) -> bool:
    """Whether this job's services ask for keys: its own, or those given with the addresses."""
    if config.services.where == "external":
        return config.services.keys is not None
    return config.security.services == "secured"


def nats_tls(config: Config) -> bool:
    """Whether clients give NATS a certificate."""
    if config.services.nats:
        return config.services.nats.startswith("tls:")
    return secured(config) and config.security.nats_tls


def key_paths(config: Config) -> dict[str, Word]:
    """Variables with the paths of the job's keys, for NATS over TLS and Dynamo's request plane; KEYS is their
    folder."""
    env: dict[str, Word] = {}
    if nats_tls(config):
        env["NATS_TLS_CA_CERT_PATH"] = Ref("${KEYS}/ca.pem")
        env["NATS_TLS_CLIENT_CERT_PATH"] = Ref("${KEYS}/client.pem")
        env["NATS_TLS_CLIENT_KEY_PATH"] = Ref("${KEYS}/client.key")
    if config.security.request_plane == "tls":
        env["DYN_TCP_TLS_CERT_PATH"] = Ref("${KEYS}/server.pem")
        env["DYN_TCP_TLS_KEY_PATH"] = Ref("${KEYS}/server.key")
        env["DYN_TCP_TLS_CA_CERT_PATH"] = Ref("${KEYS}/ca.pem")
        env["DYN_TCP_TLS_SERVER_NAME"] = SERVER_NAME
        # only a client with the job's certificate is let in
        env["DYN_TCP_TLS_CLIENT_CA_CERT_PATH"] = Ref("${KEYS}/ca.pem")
        env["DYN_TCP_TLS_CLIENT_CERT_PATH"] = Ref("${KEYS}/client.pem")
        env["DYN_TCP_TLS_CLIENT_KEY_PATH"] = Ref("${KEYS}/client.key")
    return env


def with_planes(config: Config, local: bool) -> Config:
    """The config with `security.request_plane: tls` where it says neither, and the Dynamo that will run is known to
    speak it: by `dynamo_version`, by the image's name or, of a job of this machine, by what is installed."""
    elsewhere = config.services.where == "external" and not config.service.joins
    may = config.engine in ("dynamo", "mocker") and not elsewhere and secured(config)
    if not may or "request_plane" in config.security.model_fields_set:
        return config
    try:
        speaks = order(_dynamo_of(config, local))[:2] >= FIRST_WITH_TLS
    except CatalogError:
        return config
    security = config.security.model_copy(update={"request_plane": "tls"})
    return config.model_copy(update={"security": security}) if speaks else config


def _dynamo_of(config: Config, local: bool) -> str:
    """The release of Dynamo that will run; empty where nobody knows it."""
    if config.engine == "mocker":  # whatever the config is for: the mocker runs in the launcher's own Python
        from importlib.metadata import distributions

        return next((d.version for d in distributions(name="ai-dynamo")), "")
    said = config.dynamo_version or of_image(config.container.image or "").dynamo
    if said or not local or config.container.runtime != "none":
        return said
    try:
        words = [config.python or "python3", "-c", _ASK]
        return subprocess.run(words, capture_output=True, text=True, timeout=_ANSWER, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
