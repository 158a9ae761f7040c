"""The parts of a config about a job that runs: failures, logs, who may connect."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from launcher.config.fields import Seconds, Text


class Part(BaseModel):
    """One mapping of the config: typed, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OnFailure(Part):
    """What happens when a process ends that should not have."""

    workers: Literal["restart", "stop", "requeue"] = Field(
        default="restart",
        description="A worker group that ends once the deployment has been ready: start it again "
        "while the others go on serving, end the job, or end it and requeue it without the node "
        "that failed. Before it has been ready, the job ends.",
    )
    services: Literal["stop", "restart", "requeue"] = Field(
        default="stop",
        description="NATS or etcd ends: end the job, start it again at once in its place with the data it had, "
        "or requeue the job.",
    )
    frontends: Literal["restart", "stop", "requeue"] = Field(
        default="restart",
        description="A frontend ends once the deployment has been ready: start it again (it has no state to lose), "
        "end the job, or requeue it. Before it has been ready, the job ends.",
    )
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        default=3,
        description="Restarts of one worker group, service or frontend within `window`; the next end is the job's.",
    )
    window: Seconds = Field(
        default=600,
        description="How long a restart counts, in seconds: what has run that long since is as good as new.",
    )
    max_requeues: Annotated[int, Field(ge=0)] = Field(default=2, description="Requeues of the job.")


class LogFiles(Part):
    """The logs of the job's processes, RUN/logs."""

    limit_mb: Annotated[int, Field(ge=16, le=1_000_000)] = Field(
        default=1000,
        description="Megabytes of all of them together, at most. A file that has grown to its share becomes "
        "NAME.log.1, in place of the one before it.",
    )


def _off(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


class TlsFiles(Part):
    """The site's own certificate for the endpoint."""

    cert: Text = Field(description="Certificate and its chain (PEM), as the job's first node sees it.")
    key: Text = Field(description="Its private key (PEM).")
    name: Text | None = Field(
        default=None, description="Host name of the certificate that clients use; the first node's when not given."
    )


class Security(Part):
    """Who may connect to the endpoint, to NATS and to etcd."""

    endpoint: Literal["key", "open"] = Field(
        default="key",
        description="`key`: clients send the job's own key (`sgl-launch endpoint JOB --env` prints it). "
        "`open`: whoever reaches the port may use the inference API; everything else needs the admin key even then.",
    )
    endpoint_keys: Text | None = Field(
        default=None,
        description="File of further keys, a line `NAME:SHA256` each (SHA-256 of the key, in hex), as the job's first "
        "node sees it; `NAME:SHA256:LIMIT` for at most so many requests at once. Read again within seconds when it "
        "changes; the log names the key of each request.",
    )
    tls: Annotated[Literal["off", "job"] | TlsFiles, BeforeValidator(_off)] = Field(
        default="off",
        description="TLS at the endpoint. `job`: by the job's own authority, whose certificate "
        "`sgl-launch endpoint JOB --ca` prints the path of. `{cert: FILE, key: FILE}`: by the site's certificate.",
    )
    services: Literal["secured", "open"] = Field(
        default="secured",
        description="`secured`: each job makes its own keys. etcd talks TLS and takes only clients "
        "with the job's certificate, NATS only those with its password. `open`: neither.",
    )
    nats_tls: bool = Field(
        default=False,
        description="TLS with the job's certificates for NATS too. Needs Dynamo 1.5 or newer on "
        "the workers: 1.4 and older can give NATS a password but no certificate.",
    )
    request_plane: Literal["tls", "open"] = Field(
        default="open",
        description="TLS with the job's certificates on Dynamo's TCP request plane too, which Dynamo has from 1.5 on. "
        "When not given: `tls` where the Dynamo that will run is known to be 1.5 or newer (by `dynamo_version`, by the "
        "image's name or, of a job of this machine, by what is installed).",
    )


def span(value: Any) -> Any:
    """Seconds of a text like 45s, 30m, 2h, 7d or 2w; whatever else is given as it is."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", value.strip()) if isinstance(value, str) else None
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]] if match else value


class Service(Part):
    """A chain of jobs under one name (`sgl-launch serve`)."""

    until: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="When the service ends, in seconds since the epoch; `serve --for` sets it."
    )
    joins: Text | None = Field(default=None, description="Run folder of the deployment it joins; `scale` sets it.")
    lead: Seconds | None = Field(
        default=None,
        description="Seconds before a job's end at which the next one may start. When not given: twice the time that "
        "this one took to become warm, two minutes, and what Slurm expects one to wait.",
    )
    idle_stop: Annotated[Seconds, BeforeValidator(span)] | None = Field(
        default=None,
        description="Seconds (or 45s, 30m, 2h, 1d) without a request after which the service ends; the gateway starts "
        "it again at the next one.",
    )
