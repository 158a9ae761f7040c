"""Which servers of a deployment have metrics, as Prometheus wants to be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from launcher.run.deployment import Deployment


@dataclass(frozen=True)
class Target:
    """A server with /metrics: a group or a frontend by name; `role` is the group's, or frontend."""

    name: str
    role: str
    host: str
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}/metrics"


def targets_of(deployment: Deployment) -> list[Target]:
    """Each group's head and each frontend. Workers of Dynamo have their metrics on their system port, SGLang's own
    server beside its requests (with `enable-metrics`)."""
    port = "http" if deployment.health is not None else "system"
    found = [
        Target(g.name, g.role, g.host, f"{g.address}:{g.ports[port]}") for g in deployment.groups if port in g.ports
    ]
    replicas = zip(deployment.plan.frontend.replicas, deployment.endpoints, strict=True)
    groups = {t.address for t in found}
    fronts = [Target(r.name, "frontend", "", urlsplit(url).netloc) for r, url in replicas]
    return [*found, *(t for t in fronts if t.address not in groups)]


PROMETHEUS = """\
global: {{scrape_interval: 5s}}
scrape_configs:
  - job_name: sgl-launch
    file_sd_configs:
      - files: [{file}]
"""
"""A configuration of Prometheus that scrapes one deployment. The job writes the file when it has found its nodes, and
again whenever a group has moved; Prometheus reads it again by itself."""


def file_sd(deployment: Deployment, job_id: str) -> list[dict[str, Any]]:
    """The content of a file for Prometheus' file_sd_configs: a target a server, with its labels."""
    common = {"sgl_job": job_id, "sgl_name": deployment.plan.name, "sgl_model": deployment.model}
    return [
        {"targets": [t.address], "labels": {**common, "sgl_group": t.name, "sgl_role": t.role, "sgl_node": t.host}}
        for t in targets_of(deployment)
    ]
