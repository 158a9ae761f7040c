"""Caddy's config as JSON (https://caddyserver.com/docs/json/). Pure.

Keys stand in the config itself, a file that this user alone can read: a file that is read for each request would make
every request wait for the run folder's storage.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from launcher.front.keys import Keys
from launcher.front.planes import SERVER_NAME

DIRECT = "/frontend-{}"  # the path before which the owner reaches one frontend of several, by its turn
OWN_METRICS = "/launcher/metrics"  # the launcher's own figures: a file of the run folder
NAMED = "unix/{env.XDG_DATA_HOME}/named-keys.sock"  # who knows the further keys (launcher.front.named)
ADMIN = "unix/{env.XDG_DATA_HOME}/admin.sock|0600"  # where it tells this user alone how many requests run
DOOR = "next"  # while next.open is in its folder, clients' requests go to next.sock: on to a service's next job

# Seconds. A frontend that does not take a connection is passed over at once, one that does not answer /live after
# `_LIVE`; without another one, a request waits for `_RETRY` for a frontend that is being started again.
_DIAL, _LIVE, _EVERY, _AWAY, _RETRY, _DOOR = 3, 2, 1, 5, 5, 10
_HEADERS, _IDLE = 15, 300  # for a client's request line and headers; between two requests of a connection
_PROBE = 2  # between two questions whether the other end of a silent connection is there
_COME_AGAIN = 10  # for a client that nobody serves now
_CONNECTIONS = 1024  # that are kept open to each frontend


@dataclass(frozen=True)
class Tls:
    """A server certificate and its key, paths as the front sees them."""

    cert: str
    key: str


@dataclass(frozen=True)
class Address:
    """The one address: where it listens, the frontends behind it (HOST:PORT), and who may use what.

    `routes` are the paths that clients may use. `named` says that further keys are asked for at NAMED. `job_keys` is
    the folder of the job's certificates, with which the gates before frontends on several nodes are called; None where
    all frontends are on this machine. `metrics` is the file that OWN_METRICS hands out to the owner.
    """

    listen: tuple[str, ...]
    frontends: tuple[str, ...]
    routes: tuple[str, ...]
    keys: Keys
    named: bool = False
    tls: Tls | None = None
    job_keys: str | None = None
    metrics: str | None = None


@dataclass(frozen=True)
class Gate:
    """The door to one frontend on its node, for holders of the job's certificate alone."""

    listen: str
    frontend: str
    job_keys: str


def config(address: Address | None, gate: Gate | None, grace: float, told: bool = False) -> str:
    """The config of one Caddy. At its end running requests get `grace` seconds. `told`: it is a service's, and hands
    requests on while DOOR is there."""
    servers: dict[str, Any] = {}
    certificates: list[dict[str, Any]] = []
    if address is not None:
        servers["front"] = _server(address.listen, _routes(address, told))
        if address.tls is not None:
            servers["front"]["tls_connection_policies"] = [_policy("front")]
            certificates.append(_files(address.tls, "front"))
    if gate is not None:
        servers["gate"] = _server([gate.listen], [{"handle": [_proxy([gate.frontend])]}])
        servers["gate"]["tls_connection_policies"] = [{**_policy("gate"), "client_authentication": _mutual(gate)}]
        servers["gate"].pop("logs")  # the front has said it
        servers["gate"]["strict_sni_host"] = False  # whatever address it is called by, the certificate decides
        own = Tls(f"{gate.job_keys}/server.pem", f"{gate.job_keys}/server.key")
        certificates.append(_files(own, "gate"))
    apps: dict[str, Any] = {"http": {"grace_period": f"{grace:g}s", "servers": servers}}
    if certificates:
        apps["tls"] = {"certificates": {"load_files": certificates}}
    admin = {"listen": ADMIN} if told else {"disabled": True}
    made = {"admin": {**admin, "config": {"persist": False}}, "logging": _logging(), "apps": apps}
    return json.dumps(made, indent=1) + "\n"


def door(socket: str, url: str, ca: str | None) -> str:
    """The config of a Caddy at the path `socket` that hands every request on to another deployment's address `url`,
    which asks for the keys itself. `ca` is the file of its own authority."""
    parts = urlsplit(url)
    handler = _proxy([parts.netloc])
    del handler["headers"]  # the keys go along
    # a node that dies closes nothing: without these, a stream from it would hang for minutes; nine go unanswered
    handler["transport"]["keep_alive"]["probe_interval"] = f"{_PROBE}s"
    if parts.scheme == "https":
        handler["transport"]["tls"] = {"ca": {"provider": "file", "pem_files": [ca]}} if ca else {}
    server = _server([f"unix/{socket}|0600"], [{"handle": [handler]}])
    server["errors"] = {"routes": [{"handle": [unavailable("the job that served does not answer")]}]}
    del server["logs"]
    made = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"servers": {"door": server}}},
    }
    return json.dumps(made, indent=1) + "\n"


def through(folder: str, name: str) -> dict[str, Any]:
    """A route through the door `folder/NAME.sock`, while there is `folder/NAME.open`. Another door may take the path at
    any time: each request opens a connection of its own, so that none meets one that is just being closed."""
    handler = _proxy([f"unix/{folder}/{name}.sock"])
    del handler["headers"]
    handler["transport"]["keep_alive"] = {"enabled": False}
    handler["load_balancing"]["try_duration"] = f"{_DOOR}s"
    match = {"file": {"root": folder, "try_files": [f"/{name}.open"]}}  # it has to be a file that can be opened
    return {"match": [match], "handle": [handler], "terminal": True}


def unavailable(message: str) -> dict[str, Any]:
    """An error that tells a client when to come again."""
    made = refusal(503, message)
    made["headers"]["Retry-After"] = [str(_COME_AGAIN)]
    return made


def client_upstreams(made: str) -> set[str]:
    """What clients' requests go to in a config: HOST:PORT of frontends, and the door, if any."""
    found, left = set(), list(json.loads(made)["apps"]["http"]["servers"]["front"]["routes"])
    while left:
        route = left.pop()
        for handler in route["handle"]:
            left += handler.get("routes", ())
            if any("path" in match or "file" in match for match in route.get("match", ())):
                found |= {one["dial"] for one in handler.get("upstreams", ())}
    return found


def _server(listen: Sequence[str], routes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "listen": list(listen),
        "protocols": ["h1", "h2"],  # h3 would open a UDP port
        "automatic_https": {"disable": True},
        "read_header_timeout": f"{_HEADERS}s",
        "idle_timeout": f"{_IDLE}s",
        "logs": {"default_logger_name": "access"},
        "routes": routes,
    }


def _routes(address: Address, told: bool) -> list[dict[str, Any]]:
    """In order; the first that fits a request answers it."""
    # the job's own questions at intervals are no matter for the log
    routes: list[dict[str, Any]] = [{"match": [{"method": ["HEAD"], "path": ["/"]}], "handle": [_UNLOGGED, _NO_KEY]}]
    admin, client = _bearers(address.keys.admin), _bearers(address.keys.endpoint)
    proxy = _proxy(address.frontends, address.job_keys, address.keys.worker)
    if address.metrics:
        own = [{**m, "path": [OWN_METRICS]} for m in admin]
        routes.append({"match": own, "handle": [_UNLOGGED, *_file(address.metrics)]})
    if len(address.frontends) > 1:
        for turn, frontend in enumerate(address.frontends):
            path = DIRECT.format(turn)
            strip = {"handler": "rewrite", "strip_path_prefix": path}
            one = [*_OWNER, strip, _proxy([frontend], address.job_keys, address.keys.worker)]
            routes.append({"match": [{**m, "path": [f"{path}/*"]} for m in admin], "handle": one})
    routes.append({"match": admin, "handle": [*_OWNER, proxy]})
    allowed = {"path": list(address.routes)}
    passed_on = through("{env.XDG_DATA_HOME}", DOOR)
    passed_on["match"] = [{**allowed, **passed_on["match"][0]}]
    if address.keys.endpoint is None:
        routes += [passed_on] if told else []
        routes.append({"match": [allowed], "handle": [proxy]})
        routes.append({"handle": [refusal(403, "this path needs the job's admin key")]})
        return [{**route, "terminal": True} for route in routes]
    forbidden = refusal(403, "this path is not part of the inference API: it needs the job's admin key")
    inner: list[dict[str, Any]] = [{"match": [allowed], "handle": [proxy], "terminal": True}, {"handle": [forbidden]}]
    inner = [passed_on, *inner] if told else inner
    routes.append({"match": client, "handle": [_logged("job"), _subroute(inner)]})
    if address.named:
        other = {"header": {"Authorization": ["Bearer *"]}}
        routes.append({"match": [other], "handle": [_ask_named(), _subroute(inner)]})
    routes.append({"handle": [_NO_KEY]})
    return [{**route, "terminal": True} for route in routes]


def _file(path: str) -> list[dict[str, Any]]:
    """One file as text, whatever the request's path."""
    folder, _, name = path.rpartition("/")
    kind = {"handler": "headers", "response": {"set": {"Content-Type": ["text/plain; version=0.0.4"]}}}
    return [kind, {"handler": "rewrite", "uri": f"/{name}"}, {"handler": "file_server", "root": folder or "/"}]


def _bearers(key: str | None) -> list[dict[str, Any]]:
    """Requests with this key, as OpenAI's clients send it or as Anthropic's do."""
    return [{"header": {"Authorization": [f"Bearer {key}"]}}, {"header": {"X-Api-Key": [key]}}] if key else []


def _subroute(routes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"handler": "subroute", "routes": routes}


def _logged(name: str) -> dict[str, Any]:
    return {"handler": "log_append", "key": "key", "value": name}


def _ask_named() -> dict[str, Any]:
    """Asks whether the request's key is one of the further ones, and by what name; a refusal goes to the client. The
    rest of the request is handled before the answer's body is closed, by which the other side knows that it runs."""
    name = _logged("{http.reverse_proxy.header.X-Key-Name}")
    known = {"match": {"status_code": [2]}, "routes": [{"handle": [name]}]}
    too_many = {"match": {"status_code": [429]}, "routes": [{"handle": [name, {"handler": "copy_response"}]}]}
    return {
        "handler": "reverse_proxy",
        "rewrite": {"method": "GET", "uri": "/"},
        "upstreams": [{"dial": NAMED}],
        "handle_response": [known, too_many],
    }


def refusal(status: int, message: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = {401: "authentication_error", 404: "not_found_error", 503: "server_error"}.get(status, "permission_error")
    headers = {"Content-Type": ["application/json"]}
    if status == 401:
        headers["Www-Authenticate"] = ["Bearer"]
    body = json.dumps({"error": {"message": message, "type": kind, "code": status}})
    return {"handler": "static_response", "status_code": status, "headers": headers, "body": body}


_UNLOGGED = {"handler": "vars", "log_skip": True}
_NO_KEY = refusal(401, "a key is needed: Authorization: Bearer KEY")
_OWNER = (_logged("admin"), _subroute([{"match": [{"path": ["*/live"]}], "handle": [_UNLOGGED]}]))


def _proxy(frontends: Sequence[str], job_keys: str | None = None, key: str | None = None) -> dict[str, Any]:
    """To the frontend that has the fewest requests, with the `key` that it asks for. A request ends there when its
    client goes: no flush_interval is set, since -1 would undo that, and Caddy passes on event streams at once
    anyway."""
    transport: dict[str, Any] = {
        "protocol": "http",
        "dial_timeout": f"{_DIAL}s",
        "keep_alive": {"max_idle_conns_per_host": _CONNECTIONS},
        "network_proxy": {"from": "none"},
        "compression": False,
    }
    if job_keys:
        transport["tls"] = {
            "ca": {"provider": "file", "pem_files": [f"{job_keys}/ca.pem"]},
            "client_certificate_file": f"{job_keys}/client.pem",
            "client_certificate_key_file": f"{job_keys}/client.key",
            "server_name": SERVER_NAME,
        }
    handler: dict[str, Any] = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": one} for one in frontends],
        "transport": transport,
        # a client's key is the front's business alone, and no matter for a frontend's log
        "headers": {"request": {"delete": ["X-Api-Key", *([] if key else ["Authorization"])]}},
        "load_balancing": {
            "selection_policy": {"policy": "least_conn"},
            "try_duration": f"{_RETRY}s",
            "try_interval": "100ms",
        },
    }
    if key:
        handler["headers"]["request"]["set"] = {"Authorization": [f"Bearer {key}"]}
    if len(frontends) > 1:
        handler["health_checks"] = {
            "passive": {"fail_duration": f"{_AWAY}s", "max_fails": 1},
            "active": {"uri": "/live", "interval": f"{_EVERY}s", "timeout": f"{_LIVE}s"},
        }
    return handler


def _policy(tag: str) -> dict[str, Any]:
    return {"certificate_selection": {"any_tag": [tag]}}


def _files(tls: Tls, tag: str) -> dict[str, Any]:
    return {"certificate": tls.cert, "key": tls.key, "tags": [tag]}


def _mutual(gate: Gate) -> dict[str, Any]:
    ca = {"provider": "file", "pem_files": [f"{gate.job_keys}/ca.pem"]}
    return {"mode": "require_and_verify", "ca": ca}


def _logging() -> dict[str, Any]:
    """A line for each request on standard output, and errors on the other; without headers and without the query, which
    may hold anything."""
    drop = ["request>headers", "request>tls", "resp_headers", "bytes_read", "user_id"]
    fields: dict[str, Any] = {name: {"filter": "delete"} for name in drop}
    fields["request>uri"] = {"filter": "regexp", "regexp": r"\?.*", "value": "?..."}
    encoder = {"format": "filter", "wrap": {"format": "json"}, "fields": fields}
    access = {"writer": {"output": "stdout"}, "encoder": encoder, "include": ["http.log.access"]}
    rest = {"writer": {"output": "stderr"}, "encoder": encoder, "level": "WARN", "exclude": ["http.log.access"]}
    return {"logs": {"access": access, "default": rest}}
