"""The values of a run's config that its readers use, typed: from plan.json, which has the whole config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


def _key(path: str, default: Any) -> Any:
    """A field that is this key of the config. The default is for a run that was made before the key was: a test
    compares it with the schema's."""
    return field(default=default, metadata={"path": path})


@dataclass(frozen=True)
class Settings:
    """Times are in seconds. None is "not given"."""

    image: str | None = _key("container.image", None)
    runtime: str = _key("container.runtime", "none")
    interface: str | None = _key("network.interface", None)
    sglang_version: str | None = _key("sglang_version", None)
    preflight: bool = _key("preflight", False)
    services_where: str = _key("services.where", "head")
    nats: str | None = _key("services.nats", None)
    etcd: str | None = _key("services.etcd", None)
    services_keys: str | None = _key("services.keys", None)
    security_services: str = _key("security.services", "secured")
    nats_tls: bool = _key("security.nats_tls", False)
    request_plane: str = _key("security.request_plane", "open")
    timeout_services: float = _key("timeouts.services", 60)
    timeout_ready: float = _key("timeouts.ready", 3600)
    timeout_stop: float = _key("timeouts.stop", 8)
    timeout_drain: float = _key("timeouts.drain", 60)
    on_failure_workers: str = _key("on_failure.workers", "restart")
    on_failure_services: str = _key("on_failure.services", "stop")
    on_failure_frontends: str = _key("on_failure.frontends", "restart")
    max_restarts: int = _key("on_failure.max_restarts", 3)
    max_requeues: int = _key("on_failure.max_requeues", 2)
    requests_enabled: bool = _key("warmup.requests.enabled", True)
    requests_required: bool = _key("warmup.requests.required", False)
    requests_timeout: float = _key("warmup.requests.timeout", 1800)
    kernels_cache_dir: str | None = _key("warmup.kernels.cache_dir", None)
    kernels_local_dir: str = _key("warmup.kernels.local_dir", "/tmp/sgl-launch-kernels")
    kernels_required: bool = _key("warmup.kernels.required", False)

    @property
    def external_services(self) -> bool:
        """Whether NATS and etcd are not the job's own."""
        return self.services_where == "external"

    @property
    def secured(self) -> bool:
        """Whether the job makes keys for its services."""
        return self.security_services == "secured"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """From a validated config as a mapping; a key that is not there has its default. Raises
        ValueError for a value of another type."""
        found = {}
        for one in fields(cls):
            value: Any = config
            for key in one.metadata["path"].split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is None:
                continue
            if not _fits(value, str(one.type)):
                raise ValueError(f"this is not a plan of sgl-launch: config.{one.metadata['path']} is {value!r}")
            found[one.name] = value
        return cls(**found)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value of JSON is of a field's type; a bool is no number."""
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    numbers: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float)}
    return isinstance(value, numbers.get(kind, (str,)))
