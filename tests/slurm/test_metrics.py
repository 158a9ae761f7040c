"""The real Prometheus on the login node of the test cluster scrapes a deployment over its nodes."""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
from pathlib import Path

import pytest

from .cluster import LOGIN, Cluster, wait_until
from .deploy import Launcher, small

PORT = 29990


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus here (Debian has it)")
def test_prometheus_scrapes_a_deployment_on_slurm(cluster: Cluster, folder: Path) -> None:
    launcher = Launcher(cluster, folder)
    run = launcher.start(launcher.write(small(prefill=(1, 8), decode=(2, 8))))
    printed = launcher("metrics", str(run.job))
    assert printed.returncode == 0, printed.stderr
    (folder / "prometheus.yml").write_text(printed.stdout)
    words = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    scraper = cluster.popen([*words, f"--web.listen-address=127.0.0.1:{PORT}"], LOGIN, cwd=folder)

    def ask(expression: str) -> list[dict[str, object]]:
        url = f"http://127.0.0.1:{PORT}/api/v1/query?query={urllib.parse.quote(expression)}"
        said = cluster.run(["curl", "-s", url], LOGIN, cwd=folder).stdout
        return list(json.loads(said)["data"]["result"]) if said else []

    try:
        # prefill-0 is on n001, the decode workers on n002 and n003
        wait_until(lambda: len(ask("up == 1")) == 5, 40, "all five targets to be up")
        assert {r["metric"]["sgl_node"] for r in ask('up{sgl_role="decode"}')} == {"n002", "n003"}  # type: ignore[index]
        victim, *_ = run.rank_processes("n003", "decode-1")
        cluster.kill_processes("n003", [victim])
        wait_until(lambda: bool(ask('sgl_launch_group_restarts_total{group="decode-1"} == 1')), 30, "the restart")
        since = time.time()
        again = f'timestamp(up{{sgl_group="decode-1"}} == 1) > {since}'
        wait_until(lambda: bool(ask(again)), 15, "decode-1 to be scraped again")
        print(f"a restart to its scrape: {time.time() - since:.1f} s")
    finally:
        scraper.terminate()
        scraper.wait(20)
    launcher("cancel", str(run.job))
