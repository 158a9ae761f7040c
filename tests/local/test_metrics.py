"""A real deployment's metrics: by the real Prometheus with the printed configuration, in the shipped dashboard, and in
`top`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .run import SMALL, Launcher, Run, wait_until

needs_prometheus = pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus here (Debian has it)")
# what the mocker has no queue, KV cache and GPUs for, and a job here no time limit
NOT_HERE = ("sglang:", "walltime", "dynamo_component_inflight", "gpu_")


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[str]:
    """The address of a Prometheus with this configuration, which promtool has found good."""
    file = folder / "prometheus.yml"
    file.write_text(config)
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    """What an expression gives now. Fails on one that Prometheus refuses."""
    with urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(expression)}", timeout=10) as answer:
        found = json.load(answer)
    assert found["status"] == "success", found
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


def up(url: str) -> dict[str, str]:
    try:
        return {r["metric"]["sgl_group"]: r["value"][1] for r in ask(url, "up")}
    except OSError:
        return {}


def fetch(launcher: Launcher, run: Run, name: str) -> str:
    """The text of one server's /metrics, asked for without our own code."""
    targets = json.loads((run.path / "targets.json").read_text())
    labels, at = next((t["labels"], t["targets"][0]) for t in targets if t["labels"]["sgl_group"] == name)
    request = urllib.request.Request(f"{labels['__scheme__']}://{at}{labels['__metrics_path__']}")
    request.add_header("Authorization", f"Bearer {(run.path / 'secrets' / 'admin-key').read_text().strip()}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def total(text: str, name: str, **labels: str) -> float | None:
    """By Prometheus' own parser."""
    from prometheus_client.parser import text_string_to_metric_families

    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = [s.value for s in samples if s.name == name and all(s.labels.get(k) == v for k, v in labels.items())]
    return sum(found) if found else None


@needs_prometheus
def test_prometheus_scrapes_a_deployment_and_the_dashboard_shows_it(launcher: Launcher) -> None:
    run = launcher.start(*SMALL)
    config = launcher("metrics", run.job)
    assert config.returncode == 0, config.stderr
    with prometheus(launcher.folder, config.stdout) as url:
        every = {"prefill-0", "decode-0", "frontend", "launcher"}
        wait_until(lambda: up(url) == dict.fromkeys(every, "1"), 30, "all targets to be up")
        for _ in range(2):
            assert launcher("chat", run.job, "-m", "hello").returncode == 0
            time.sleep(5)  # a scrape
        wait_until(lambda: ask(url, 'sgl_launch_serving == 1 and on() sgl_launch_stage_seconds{stage="ready"} > 0'), 20,
                   "the launcher's own figures")  # fmt: skip
        boards = json.loads(launcher("metrics", run.job, "--dashboard").stdout)
        panels = [p for panel in boards["panels"] for p in (panel, *panel.get("panels", ()))]
        expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
        assert len(expressions) > 15
        for expression in expressions:
            whole = expression.replace("$name", "demo").replace("$__rate_interval", "1m")
            found = ask(url, whole)
            assert found or any(name in expression for name in NOT_HERE), whole
        # it may be back before the next scrape, which then sees the new process: dead for sure since `gone`
        os.kill(run.rank("decode-0").pid, signal.SIGKILL)
        wait_until(lambda: ask(url, 'sgl_launch_group_restarts_total{group="decode-0"} == 1'), 30, "the restart")
        gone = time.time()
        again = f'timestamp(up{{sgl_group="decode-0"}} == 1) > {gone}'
        wait_until(lambda: ask(url, again), 15, "decode-0 to be scraped again")
    launcher("cancel", run.job)


# Stands in for nvidia-smi (answers as of driver 580): four GPUs, one of which does not tell its power.
NVIDIA_SMI = """#!/bin/bash
case "$*" in
  *query-gpu=index,uuid,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu*' -l 5') ;;
  *) exit 1 ;;
esac
watts=(71.31 71.31 71.31 [N/A])
while for n in 0 1 2 3; do echo "$n, GPU-$n, 4$n, $((n + 1))000, 81559, ${watts[n]}, 33"; done; do sleep 1; done
"""


def test_figures_of_gpus(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each group's own GPUs, from a stand-in nvidia-smi, in the launcher's metrics and in `top`."""
    program = launcher.folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2,3")  # what the job has of this machine
    run = launcher.start(*SMALL, "--set=slurm.gpus_per_node=2")
    wait_until(lambda: "sgl_launch_gpu" in fetch(launcher, run, "launcher"), 20, "figures of GPUs")
    own = fetch(launcher, run, "launcher")
    top = {g["name"]: g for g in json.loads(launcher("top", run.job, "--json", "--interval", "0.2").stdout)["groups"]}
    for group, gpu in (("prefill-0", 2), ("decode-0", 3)):
        of = {"group": group, "gpu": str(gpu)}
        assert total(own, "sgl_launch_gpu_utilization_ratio", **of) == top[group]["gpu_use"] == (40 + gpu) / 100
        assert total(own, "sgl_launch_gpu_memory_used_bytes", **of) == (gpu + 1) * 1000 * 2**20
        assert top[group]["gpu_memory"] == (gpu + 1) * 1000 / 81559
    assert total(own, "sgl_launch_gpu_power_watts") == 71.31
    assert total(own, "sgl_launch_gpu_utilization_ratio", gpu="0") is None  # it is another job's
    assert top["frontend"]["gpu_use"] is None
    shown = launcher("top", run.job, "--once", "--interval", "0.2").stdout
    assert any("prefill-0" in line and "42%" in line for line in shown.splitlines()), shown
    assert max(map(len, shown.splitlines())) <= 80
    launcher("cancel", run.job)


def test_every_number_of_top_is_the_one_in_metrics(launcher: Launcher) -> None:
    run = launcher.start(*SMALL)
    assert launcher("chat", run.job, "-m", "hello").returncode == 0
    top = launcher("top", run.job, "--json", "--interval", "0.2")
    assert top.returncode == 0, top.stderr
    groups = {g["name"]: g for g in json.loads(top.stdout)["groups"]}
    assert set(groups) == {"prefill-0", "decode-0", "frontend"}
    for name, said in groups.items():
        text = fetch(launcher, run, name)
        if name == "frontend":
            assert said["running"] == total(text, "dynamo_frontend_active_requests")
            assert said["queued"] == total(text, "dynamo_frontend_queued_requests")
        else:
            assert said["running"] == total(text, "dynamo_component_inflight_requests", dynamo_endpoint="generate")
        assert said["kv_use"] is None
    own = fetch(launcher, run, "launcher")
    assert total(own, "sgl_launch_group_restarts_total", group="decode-0") == groups["decode-0"]["restarts"] == 0
    assert total(own, "sgl_launch_serving") == 1
    launcher("cancel", run.job)
