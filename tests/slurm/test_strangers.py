"""A second user on the cluster: what each door of a deployment tells them, and what they can read of it.

configs/dsr1.yaml on six nodes, the mocker in SGLang's place. `make stranger` prints the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.front.doors import port_names

from .cluster import LOGIN, Cluster
from .deploy import NO_WARMUP, REHEARSAL, ROOT, Launcher, Run, program, reset_all, shared_folder
from .test_deploy import SLURMS_OWN

STRANGER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """As conftest.py's, but for the module: its tests share a deployment."""
    yield
    if left := reset_all():
        pytest.fail("left after all jobs had ended:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="module")
def run(nothing_left: None, cluster: Cluster) -> Iterator[Run]:
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        env_from = f'env_from=[{{HF_TOKEN: "file:{folder}/token"}}]'
        sets = [*(s for s in REHEARSAL if not s.startswith("warmup")), NO_WARMUP, env_from]
        started = launcher.start(f"{ROOT}/configs/dsr1.yaml", sets=sets)
        yield started
        launcher("cancel", str(started.path))


TOKEN = "hf_thisTokenStandsNowhere"


# What answers a stranger, with its reason in docs/security.md; all else is refused or asks for the key
OPEN = {
    "frontend": {"200", "400", "404", "405", "415", "422"},  # to a process of its own node alone
    "system": {"200", "404", "405"},
    "bootstrap": {"200", "400", "404", "405", "500", "no HTTP"},
    "rpc": {"no HTTP"},
    "stream": {"no HTTP"},
    "dist_init": {"no HTTP"},
}
SHUT = {"refused", "refused by NATS", "certificate asked for", "401"}
ELSEWHERE = ("/metrics", "/engine/stop_profile", "/flush_cache", "/v1/models", "/route", "/healthz", "/")


def test_what_a_stranger_is_told_at_every_door(run: Run, cluster: Cluster) -> None:
    """Another user, on every node and from another one, asks every path of every part; with the key 200."""
    names = port_names(run.json("plan.json"), run.json("placement.json"))
    admin = (run.path / "secrets" / "admin-key").read_text()
    api = cluster.run(["curl", "-s", "-H", f"Authorization: Bearer {admin}", f"{run.url}/openapi.json"], check=True)
    paths = sorted(re.sub(r"\{[^}]*\}", "tiny", path) for path in json.loads(api.stdout)["paths"])
    assert len(paths) > 15
    doors = [
        (host, one.address, one.port, names.get(one.port, "stream"))
        for host in cluster.hosts
        for one in cluster.listening(host)
        if one.process and program(one.process) not in SLURMS_OWN
    ]
    told: dict[tuple[str, str, str], set[str]] = {}

    def ask(origin: str) -> tuple[str, list[tuple[str, str, int, str]], list[dict[str, list[str]]]]:
        mine = [door for door in doors if door[0] == origin or not door[1].startswith("127.")]
        asked = [
            (cluster.address(host) if address in ("0.0.0.0", "*", "::") else address, port,
             paths if name in ("front", "frontend") else [*paths[:1], *ELSEWHERE])
            for host, address, port, name in mine
        ]  # fmt: skip
        return origin, mine, stranger(cluster, origin, asked)

    with ThreadPoolExecutor() as threads:  # most of the time they wait for doors that say nothing
        answered = list(threads.map(ask, (*cluster.hosts, LOGIN)))
    for origin, mine, every in answered:
        for door, said in zip(mine, every, strict=True):
            near = "its own node" if door[0] == origin else "another"
            where = "127.0.0.1" if door[1].startswith("127.") else "its address"
            told.setdefault((door[3], where, near), set()).update(answer for two in said.values() for answer in two)
    assert run.has("serve", "started"), run.output
    assert not run.has("stop", "started"), run.output
    for (name, where, near), answers in sorted(told.items()):
        print(f"{name:12}{where:14}{near:14}{', '.join(sorted(answers))}")
    for (name, where, near), answers in told.items():
        assert answers <= (SHUT if near == "another" and where == "127.0.0.1" else SHUT | OPEN.get(name, set())), name
    assert told["front", "its address", "another"] == {"401"}
    assert told["front", "its address", "its own node"] == {"401"}
    address, port = run.url.removeprefix("http://").split(":")
    (said,) = stranger(cluster, LOGIN, [(address, int(port), paths)], run.key)
    for path, answers in said.items():
        refused = path in ("/", "/busy_threshold", "/metrics")
        assert ("403" in answers) == refused, (path, answers)
        assert "401" not in answers, (path, answers)
    assert said["/v1/models"][0] == said["/health"][0] == "200"
    assert stranger(cluster, LOGIN, [(address, int(port), ["/metrics"])], admin)[0]["/metrics"][0] == "200"


def stranger(
    cluster: Cluster, node: str, doors: list[tuple[str, int, list[str]]], key: str | None = None, limit: float = 2
) -> list[dict[str, list[str]]]:
    """What a user who has nothing to do with the job is told, by path, of GET and POST (tests/front/stranger.py)."""
    text = (ROOT / "tests" / "front" / "stranger.py").read_text()
    words = [*STRANGER, "/usr/bin/python3", "-c", text]
    done = cluster.run(words, node, cwd="/", input=json.dumps({"doors": doors, "key": key, "limit": limit}), check=True,
                       timeout=400)  # fmt: skip
    found: list[dict[str, list[str]]] = json.loads(done.stdout)
    return found


READ = """
import json, os, sys
found = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    for file in ("cmdline", "environ"):
        try:
            found[f"{pid} {file}"] = open(f"/proc/{pid}/{file}", errors="replace").read()
        except OSError:
            pass
for above, _, files in os.walk(sys.argv[1]):
    for file in files:
        try:
            found[f"{above}/{file}"] = open(f"{above}/{file}", errors="replace").read()
        except OSError:
            pass
print(json.dumps(found))
"""


def test_no_secret_is_where_a_stranger_can_read(run: Run, cluster: Cluster) -> None:
    """Argv and environment of every process, the run folder, Slurm's record, queue and script; the plan and the logs
    hold none for their owner either."""
    folder = run.path / "secrets"
    secrets = [TOKEN, *(line for p in folder.glob("*.key") for line in p.read_text().splitlines()[1:2])]
    secrets += [folder.joinpath(f).read_text() for f in ("nats-password", "endpoint-key", "admin-key")]
    assert len(secrets) > 5
    seen = 0
    for node in (*cluster.hosts, LOGIN):
        done = cluster.run([*STRANGER, "/usr/bin/python3", "-c", READ, str(run.path)], node, cwd="/", check=True)
        texts: dict[str, str] = json.loads(done.stdout)
        seen += len(texts)
        assert [where for where, text in texts.items() if any(s in text for s in secrets)] == [], node
    assert seen > 20
    for ask in (f"scontrol --details show job {run.job}", "squeue --Format=ALL", "squeue --long",
                f"scontrol write batch_script {run.job} -"):  # fmt: skip
        for words in ([*STRANGER, "bash", "-c", ask], ["bash", "-c", ask]):
            done = cluster.run(words, cwd="/tmp")
            assert not [s for s in secrets if s in done.stdout + done.stderr], ask
    for path in run.path.rglob("*"):
        if path.is_file() and folder not in path.parents:
            assert not [s for s in secrets if s.encode() in path.read_bytes()], path
