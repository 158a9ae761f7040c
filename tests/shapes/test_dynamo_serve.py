"""`dynamo serve`, the way of 2025: what each node is told, and a real ai-dynamo 0.3.2 serving.

The real ones need a venv with ai-dynamo 0.3.2 and uvicorn; SGL_LAUNCH_DYNAMO_032 names its Python, and
`make dynamo-serve` makes it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.base.errors import InputError
from launcher.config import load_config
from launcher.engines.dynamo_serve import PART
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from tests.local.run import Launcher as LocalLauncher
from tests.local.run import Run as LocalRun
from tests.local.run import wait_until
from tests.local.test_doors import status
from tests.slurm.cluster import Cluster
from tests.slurm.deploy import CHAT, MODEL, ROOT, Launcher, check_nothing_left

from .configs import role

GRAPHS = ROOT / "tests" / "shapes" / "dynamo_2025"
PYTHON = os.environ.get("SGL_LAUNCH_DYNAMO_032", "")
needs_dynamo_032 = pytest.mark.skipif(
    not PYTHON, reason="SGL_LAUNCH_DYNAMO_032 names no Python with ai-dynamo 0.3.2 (make dynamo-serve)"
)


def config(**parts: Any) -> str:
    made = {
        "name": "serve",
        "engine": "dynamo-serve",
        "python": PYTHON or None,
        "model": {"path": f"{ROOT}/configs/tiny-model", "served_name": MODEL},
        "dynamo_serve": {"folder": str(GRAPHS)},
        "slurm": {"gpus_per_node": 4, "cpus-per-task": 4},
        "frontend": {"port": "auto"},
        "timeouts": {"ready": 90},
        "warmup": {"requests": {"enabled": False}},
        "prefill": role(gpus=8, odd='a "b" $c'),
        "decode": {**role(gpus=4), "env": {"STANDIN_MARK": "it's: so"}},
        **parts,
    }
    return json.dumps(made, indent=1)  # JSON is YAML


def problems(tmp_path: Path, **parts: Any) -> list[str]:
    path = tmp_path / "c.yaml"
    path.write_text(config(**parts))
    with pytest.raises(InputError) as error:
        make_plan(*load_config(str(path), sites=()))
    return [str(p) for p in error.value.problems]


def test_the_example_of_2025() -> None:
    plan = to_json(make_plan(*load_config(str(ROOT / "configs" / "dynamo-serve.yaml"), sites=())))
    prefill, decode = plan["groups"]
    assert prefill["argv"][:4] == ["dynamo", "serve", "graphs.agg:Frontend", "-f"]
    assert "--service-name" not in prefill["argv"]
    assert decode["argv"][:3] == ["dynamo", "serve", "graphs.disagg:Frontend"]
    assert decode["argv"][-2:] == ["--service-name", "SGLangDecodeWorker"]
    assert plan["frontend"]["argv"] == []
    assert prefill["file"][0] == "Frontend:"
    for group, nnodes in ((prefill, 2), (decode, 4)):
        for line in (
            f"  nnodes: {nnodes}",
            "  node-rank: 0",
            f"  dist-init-addr: <node{group['nodes'][0]}>:P+16",
            "  enable-deepep-moe: true",
            "  ServiceArgs:",
            "      gpu: 8",
        ):
            assert line in group["file"]


def test_a_file_says_what_the_config_says() -> None:
    plan = to_json(make_plan(*load_config(str(ROOT / "configs" / "dynamo-serve.yaml"), sites=())))
    told = yaml.safe_load("\n".join(plan["groups"][1]["file"]))["SGLangDecodeWorker"]
    given = plan["config"]["decode"]["args"]
    assert {k: told.get(k) for k in given if given[k] is not None} == {k: v for k, v in given.items() if v is not None}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"security": {"nats_tls": True}}, "security.nats_tls: the Dynamo of `dynamo serve` knows no TLS but etcd's"),
        ({"security": {"request_plane": "tls"}}, "security.request_plane: the Dynamo of `dynamo serve` knows no TLS"),
        ({"frontend": {"replicas": 2}}, "frontend.replicas: there is one frontend with dynamo serve"),
        ({"frontend": {"router_mode": "kv"}}, "frontend.router_mode: dynamo serve takes it from its graph"),
        ({"decode": role(x=[1, 2])}, "decode.args.x: a service file of dynamo serve gives a flag one value"),
    ],
)
def test_what_it_cannot(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    (problem,) = problems(tmp_path, **parts)
    assert message in problem


@pytest.fixture
def local() -> Iterator[LocalLauncher]:
    """sgl-launch in a folder with a short path: dynamo serve makes sockets below TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="serve-", dir="/tmp") as folder:
        made = LocalLauncher(Path(folder))
        yield made
        if left := made.kill_all():
            pytest.fail("left after the test:\n  " + "\n  ".join(map(str, left)), pytrace=False)


@needs_dynamo_032
@pytest.mark.parametrize("services", ["secured", "open"])
def test_dynamo_032_on_this_machine(local: LocalLauncher, services: str) -> None:
    path = local.folder / "c.yaml"
    path.write_text(config(security={"services": services}))
    run = local.start(config=path)
    assert "prefill-0 decode-0 word" in answer(run)
    for path, key, expected in (("/v1/models", None, 401), ("/v1/models", run.key, 200), ("/metrics", run.key, 403)):
        assert status(f"{run.url}{path}", key) == expected, path
    ranks = [p for p in local.processes(run.job) if "serve" in p.argv and "-f" in p.argv]
    told = {Path(p.argv[p.argv.index("-f") + 1]).stem: p.argv[p.argv.index("-f") + 4 :] for p in ranks}
    assert told == {
        "prefill-0-0": (),
        "prefill-0-1": ("--service-name", "SGLangWorker"),
        "decode-0-0": ("--service-name", "SGLangDecodeWorker"),
    }
    logs = {name: (run.path / "logs" / f"{name}.log").read_text() for name in told}
    assert "group=prefill-0 rank=1 nnodes=2 " in logs["prefill-0-1"]
    assert " gpus=8,9,10,11 mark=it's: so" in logs["decode-0-0"]
    assert "odd: \"a \\\"b\\\" $c\"" in (run.path / "steps" / "prefill-0-1.yaml").read_text()
    assert local("cancel", str(run.path)).returncode == 0
    local.wait_gone(5)


@needs_dynamo_032
def test_a_service_that_ends_is_restarted(local: LocalLauncher) -> None:
    """`dynamo serve` itself would live on without its service."""
    path = local.folder / "c.yaml"
    path.write_text(config())
    run = local.start(config=path)
    part = PART.replace("[d]", "d")
    (worker,) = [p for p in local.processes(run.job) if "graphs.disagg:Frontend" in p.argv and part in p.argv]
    os.kill(worker.pid, signal.SIGKILL)
    run.wait_event("decode-0", "restarting")
    wait_until(lambda: run.events()[-1][:2] == ("decode-0", "ready"), 40, "decode-0 to be ready again")
    lost = next(detail for stage, state, detail in run.events() if (stage, state) == ("decode-0", "lost"))
    assert f"a process of its engine ended or was stopped (rank decode-0/0, pid {worker.pid}" in lost
    assert "prefill-0 decode-0 word" in answer(run)
    assert local("cancel", str(run.path)).returncode == 0
    local.wait_gone(5)


def answer(run: LocalRun) -> str:
    words = [sys.executable, str(CHAT), run.url, MODEL]
    env = {"OPENAI_API_KEY": run.key}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    text: str = json.loads(done.stdout)["text"]
    return text


@needs_dynamo_032
def test_dynamo_032_on_a_cluster(slurm: Launcher, cluster: Cluster) -> None:
    """Two nodes of prefill, one of decode: each rank has a file with its own address and rank."""
    run = slurm.start(slurm.write(config()))
    done = cluster.run([sys.executable, str(CHAT), run.url, MODEL], env={"OPENAI_API_KEY": run.key})
    assert done.returncode == 0, done.stderr
    assert "prefill-0 decode-0 word" in done.stdout
    told = {}
    for name in ("prefill-0-0", "prefill-0-1", "decode-0-0"):
        file = yaml.safe_load((run.path / "steps" / f"{name}.yaml").read_text())
        (its,) = [v for k, v in file.items() if k != "Frontend"]
        told[name] = (its["node-rank"], its["nnodes"], its["host"], its["dist-init-addr"].split(":")[0])
    head, second, decode = (told[n][2] for n in told)
    assert len({head, second, decode}) == 3
    assert list(told.values()) == [(0, 2, head, head), (1, 2, second, head), (0, 1, decode, decode)]
    assert slurm("cancel", str(run.path)).returncode == 0
    check_nothing_left(cluster)
