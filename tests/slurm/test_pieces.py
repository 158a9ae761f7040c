"""A worker group in a job of its own joins a deployment that runs, and leaves it: real Slurm, Dynamo's mocker."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from .cluster import LOGIN, Cluster, wait_until
from .deploy import CHAT, MODEL, Launcher, Run, small


def test_a_decode_group_joins_and_leaves(cluster: Cluster, folder: Path) -> None:
    launcher = Launcher(cluster, folder)
    run = launcher.start(launcher.write(small()))

    def answered() -> set[int]:
        env, words = {"OPENAI_API_KEY": run.key}, [sys.executable, str(CHAT), run.url, MODEL]
        return {json.loads(cluster.run(words, LOGIN, env=env, check=True).stdout)["decode"] for _ in range(3)}

    assert "at least decode=1" in launcher("scale", "small", "decode=0").stderr
    done = launcher("scale", "small", "decode=2")
    piece = Run(launcher, folder / "runs" / f"small-decode-{re.findall(r'decode: job ([0-9]+)', done.stdout)[0]}")
    piece.wait_event("piece", "waits")
    assert answered() == run.workers("decode")  # it is not used before it has answered its own requests
    piece.wait_event("piece", "joined")
    wait_until(lambda: answered() == run.workers("decode") | piece.workers("decode"), 20, "an answer of each")
    assert f"piece {piece.job}  decode  RUNNING  joined: decode-0" in launcher("status", "small").stdout
    assert "has that already" in launcher("scale", "small", "decode=2").stdout
    assert f"job {piece.job} takes nothing new" in launcher("scale", "small", "decode=1").stdout
    piece.wait_event("stop", "done")
    assert answered() == run.workers("decode")
    assert "has ended" not in launcher("cancel", "small").stderr
