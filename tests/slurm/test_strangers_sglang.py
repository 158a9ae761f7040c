"""A second user beside SGLang's own servers: real SGLang and its router over two nodes (`make stranger`).

It needs .venv-sglang (3.7 GB, `make sglang-cpu`) and a minute or more, so `make test` leaves it out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from tests.front.doors import documented_names, port_names

from .cluster import LOGIN, Cluster
from .deploy import ROOT, Launcher, Run, reset_all, shared_folder
from .test_deploy import SLURMS_OWN, program
from .test_strangers import SHUT, stranger

PYTHON = ROOT / ".venv-sglang" / "bin" / "python"
SETS = (
    "slurm.gpus_per_node=1",  # each worker on a node of its own
    "env.UCX_NET_DEVICES=all",
    "warmup.requests.enabled=false",
    "timeouts.ready=500",
)
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not PYTHON.exists() or "STRANGER" not in os.environ, reason="make stranger runs it, with .venv-sglang"
    ),
]

# What each part answers without a key, with its reason in docs/security.md: all of it, or these paths alone
SERVER_OPEN = {"/health", "/health_generate", "/metrics", "/ready"}
ROUTER_OPEN = {"/health", "/health_generate", "/liveness", "/readiness", "/engine_metrics", "/v1/models"}
ROUTER_OPEN |= {"/get_model_info", "/get_server_info"}
NOTHING = {*SHUT, "404", "405"}
KEYLESS = ("bootstrap", "dist_init", "metrics", "nccl", "stream")
BOOTSTRAP = ["/health", "/query_dp_ranks", "/register_dp_rank", "/route"]


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    if left := reset_all():
        pytest.fail("left after all jobs had ended:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="module")
def run(nothing_left: None, cluster: Cluster) -> Iterator[Run]:
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        started = launcher.start(f"{ROOT}/configs/sglang-cpu-native.yaml", sets=SETS, wait=None)
        done = launcher("wait", str(started.job), "--for", "ready", "--timeout", "500", timeout=520)
        assert done.returncode == 0, done.stdout + done.stderr + started.output
        yield started
        launcher("cancel", str(started.path))


def test_the_bootstrap_servers_routes_are_known() -> None:
    """SGLang describes that server nowhere: they are read from its code."""
    text = next(PYTHON.parents[1].glob("lib/*/site-packages/sglang/srt/disaggregation/common/conn.py")).read_text()
    assert sorted(re.findall(r'router\.add_\w+\((?:"\*", )?"([^"]*)"', text)) == BOOTSTRAP


def server_paths(run: Run, cluster: Cluster, address: str) -> list[str]:
    """SGLang's own list of routes, and those that it leaves out of its description."""
    bearer = f"Authorization: Bearer {(run.path / 'secrets' / 'worker-key').read_text()}"
    said = cluster.run(["curl", "-s", "-H", bearer, f"http://{address}/openapi.json"], check=True).stdout
    file = next(PYTHON.parents[1].glob("lib/*/site-packages/sglang/srt/entrypoints/http_server.py"))
    written = re.findall(r'^@\w+\.\w+\(\s*"(/[^"]*)"', file.read_text(), re.M)
    return sorted({re.sub(r"\{[^}]*\}", "x", path) for path in (*json.loads(said)["paths"], *written)})


def answers_once(run: Run, cluster: Cluster) -> bool:
    """Whether the model answers a client with the key."""
    body = json.dumps({"model": "tiny", "prompt": "the quick", "max_tokens": 4})
    key, kind = f"Authorization: Bearer {run.key}", "Content-Type: application/json"
    words = ["curl", "-s", "-m", "150", "-H", key, "-H", kind]
    return '"text"' in cluster.run([*words, "-d", body, f"{run.url}/v1/completions"], timeout=160).stdout


def test_what_a_stranger_is_told_by_sglangs_own_servers(run: Run, cluster: Cluster) -> None:
    """Every path of the server's own list of routes, and every listening port; with the key 200."""
    names = port_names(run.json("plan.json"), run.json("placement.json"))
    doors = [
        (host, one.address, one.port, names.get(one.port, "stream"))
        for host in cluster.hosts
        for one in cluster.listening(host)
        if one.process and program(one.process) not in SLURMS_OWN
    ]
    assert {"front", "frontend", "http", "bootstrap", "metrics"} <= {door[3] for door in doors}
    assert not {door[3] for door in doors} - documented_names()
    paths = server_paths(run, cluster, next(f"{cluster.address(h)}:{port}" for h, _, port, n in doors if n == "http"))
    assert len(paths) > 60
    assert answers_once(run, cluster)
    asked_of = {"http": paths, "bootstrap": BOOTSTRAP}
    told: dict[tuple[str, str, str], dict[str, set[str]]] = {}
    for origin in (*{door[0] for door in doors}, LOGIN):
        mine = [door for door in doors if door[0] == origin or not door[1].startswith("127.")]
        asked = [
            (cluster.address(host) if address in ("0.0.0.0", "*", "::") else address, port,
             asked_of.get(name, sorted({*paths, *ROUTER_OPEN}) if name in ("front", "frontend") else ["/"]))
            for host, address, port, name in mine
        ]  # fmt: skip
        for door, answers in zip(mine, stranger(cluster, origin, asked, limit=30), strict=True):
            near = "its own node" if door[0] == origin else "another"
            where = "127.0.0.1" if door[1].startswith("127.") else "its address"
            for path, two in answers.items():
                told.setdefault((door[3], where, near), {}).setdefault(path, set()).update(two)
    for (name, where, near), by_path in sorted(told.items()):
        every = sorted(set().union(*by_path.values()))
        open_ = sorted(path for path, answers in by_path.items() if not answers <= NOTHING)
        print(f"{name:12}{where:14}{near:14}{len(by_path):4} paths: {', '.join(every)}; open: {' '.join(open_) or '-'}")
    for (name, _, _), by_path in told.items():
        open_paths = {path for path, answers in by_path.items() if not answers <= NOTHING}
        allowed = {"http": SERVER_OPEN, "frontend": ROUTER_OPEN}.get(name, set())
        assert name in KEYLESS or open_paths <= allowed, (name, open_paths - allowed)
    assert told["front", "its address", "another"]["/generate"] == {"401"}
    http = [(cluster.address(host), port, ["/v1/models", "/flush_cache"]) for host, _, port, n in doors if n == "http"]
    worker_key = (run.path / "secrets" / "worker-key").read_text()
    for answers in stranger(cluster, LOGIN, http, worker_key, 30):
        assert answers["/v1/models"][0] == "200", answers
    address, port = run.url.removeprefix("http://").split(":")
    (with_key,) = stranger(
        cluster, LOGIN, [(address, int(port), ["/v1/models", "/flush_cache", "/workers"])], run.key, 30
    )
    assert with_key["/v1/models"][0] == "200"
    assert with_key["/flush_cache"] == with_key["/workers"] == ["403", "403"]
    assert not [path for path in run.path.rglob("*.log") if worker_key in path.read_text(errors="replace")]
    print("after all this the model", "answers" if answers_once(run, cluster) else "does not answer within 150 s")
    for host in cluster.hosts:
        assert not [p for p in cluster.processes(host) if any(worker_key in word for word in p.argv)]
