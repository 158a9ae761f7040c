"""Which servers of a deployment have metrics, as Prometheus wants to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from launcher.front.caddy import OWN_METRICS
from launcher.run.deployment import Deployment


@dataclass(frozen=True)
class Target:
    """A server with metrics: a group or a frontend by name, or `launcher`, the job itself; `role` is the group's,
    frontend or launcher. The latter two are reached through the front, with the admin key."""

    name: str
    role: str
    host: str
    address: str
    url: str
    key: str | None = field(default=None, repr=False)
    ca: str | None = None


def targets_of(deployment: Deployment) -> list[Target]:
    """Each group's head and each frontend. Workers of Dynamo have their metrics on their system port, SGLang's own
    server beside its requests (with `enable-metrics`)."""
    port = "http" if deployment.health is not None else "system"
    at = [(g, f"{g.address}:{g.ports[port]}") for g in deployment.groups if port in g.ports]
    found = [Target(g.name, g.role, g.host, where, f"http://{where}/metrics") for g, where in at]
    replicas = zip(deployment.plan.frontend.replicas, deployment.endpoints, strict=True)
    groups = {t.address for t in found}
    key, ca = deployment.keys.admin, deployment.ca
    fronts = [Target(r.name, "frontend", "", urlsplit(url).netloc, f"{url}/metrics", key, ca) for r, url in replicas]
    front = deployment.endpoint
    own = Target("launcher", "launcher", "", urlsplit(front).netloc, f"{front}{OWN_METRICS}", key, ca)
    return [*found, *(t for t in fronts if t.address not in groups), own]


PROMETHEUS = """\
global: {{scrape_interval: 5s}}
scrape_configs:
  - job_name: sgl-launch
    file_sd_configs:
      - files: [{folder}/targets.json]
    relabel_configs:
      - {{source_labels: [sgl_role], regex: frontend|launcher, action: drop}}
  - job_name: sgl-launch-front
    authorization: {{credentials_file: {folder}/secrets/admin-key}}
    file_sd_configs:
      - files: [{folder}/targets.json]
    relabel_configs:
      - {{source_labels: [sgl_role], regex: frontend|launcher, action: keep}}
"""
"""A configuration of Prometheus that scrapes one deployment. The job writes the file when it has found its nodes, and
again whenever a group has moved; Prometheus reads it again by itself."""


def file_sd(deployment: Deployment, job_id: str) -> list[dict[str, Any]]:
    """The content of a file for Prometheus' file_sd_configs: a target a server, with its labels."""
    common = {"sgl_job": job_id, "sgl_name": deployment.plan.name, "sgl_model": deployment.model}
    found = []
    for t in targets_of(deployment):
        url = urlsplit(t.url)
        own = {"sgl_group": t.name, "sgl_role": t.role, "sgl_node": t.host}
        where = {"__metrics_path__": url.path, "__scheme__": url.scheme}
        found.append({"targets": [t.address], "labels": {**common, **own, **where}})
    return found
