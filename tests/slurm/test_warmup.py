"""The job's own warm-up on six nodes: it meets every worker of two prefill and four decode, at every size."""

from __future__ import annotations

import json
from pathlib import Path

from .cluster import Cluster
from .deploy import Launcher, small

SWEEP = "enabled: true, prompt_tokens: [32, 256], concurrency: [1, 8], output_tokens: [8], timeout: 90"
SIZES = f"warmup.requests={{{SWEEP}}}"
NAMES = {"prefill-0", "prefill-1", "decode-0", "decode-1", "decode-2", "decode-3"}


def test_every_worker_is_met_at_every_size(cluster: Cluster, folder: Path) -> None:
    launcher = Launcher(cluster, folder)
    config = launcher.write(small(prefill=(2, 8), decode=(4, 8)))
    run = launcher.start(config, sets=[SIZES, "frontend.router_mode=kv"], wait="warm")
    report = json.loads((run.path / "warmup.json").read_text())
    assert report["verdict"] == "warm", report["verdict"]
    assert {w["name"] for w in report["workers"]} == NAMES
    assert len(report["sizes"]) == 4
    for size in report["sizes"]:
        assert size["not_met"] == []
        assert {w["name"] for w in size["workers"] if w["rounds"] > 0} == NAMES, size
    printed = launcher("endpoint", str(run.job), "--env").stdout.splitlines()
    given = dict(line.removeprefix("export ").split("=", 1) for line in printed if line.startswith("export "))
    # again, by hand, as the 2025 script was called: by the head prefill node's address
    endpoint = json.loads((run.path / "endpoint.json").read_text())["url"]
    sizes = ["--prompt-tokens", "32", "--concurrency", "4", "--output-tokens", "4"]
    again = launcher("warmup", endpoint.removeprefix("http://"), *sizes, "--json", timeout=90, env=given)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["verdict"] == "warm"
    assert launcher("cancel", str(run.job)).returncode == 0
