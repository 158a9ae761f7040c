"""Questions with known answers, asked by sgl-eval: how many are right?"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.base.errors import InputError, WorkError
from launcher.measure.aiperf import Server
from launcher.measure.bench import of

INSTALL = "pip install 'sgl-launch[eval]' brings it"
# The key stays out of every argv: sgl-eval takes it as a word of its own, inside its process.
START = """import os, sys
from sgl_eval.cli import main
sys.exit(main([*sys.argv[1:], "--api-key", os.environ.pop("KEY")]))"""


@dataclass(frozen=True)
class Score:
    """`share` of the `questions` were answered right (the first try of each, on average); `partial`: not all were
    asked; `failed`: the share of requests without an answer."""

    name: str
    share: float
    questions: int
    partial: bool
    folder: Path
    failed: float = 0.0

    def reaches(self, threshold: float) -> bool:
        return not self.partial and not self.failed and self.questions > 0 and self.share >= threshold


def run(target: str | None, runs: Path, name: str, data: Path, limit: int | None, words: tuple[str, ...]) -> Score:
    """Have sgl-eval ask the questions of `data` and grade the answers as its set `name` does. Raises InputError,
    WorkError."""
    if importlib.util.find_spec("sgl_eval") is None:
        raise WorkError(f"eval --data needs sgl-eval, which is not installed here; {INSTALL}")
    _look(data)
    bench = of(target, runs)
    place = bench.run.path if bench.run else Path()
    folder = place / "eval" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True)
    few = ["--num-examples", str(limit)] if limit else []
    own = ["run", name, "--base-url", f"{bench.server.url}/v1", "--model", bench.server.model]
    own += ["--from-dataset", str(data.resolve()), "--out-dir", str(folder.resolve()), *few, *words]
    done = subprocess.run([sys.executable, "-c", START, *own], env=_environment(bench.server), stdin=subprocess.DEVNULL)
    return read(folder, done.returncode)


def _look(data: Path) -> None:
    """Raises InputError for a file that holds no questions."""
    try:
        lines = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{data} is no file of questions: {error}") from None
    if not lines or not all(isinstance(x, dict) and {"problem", "expected_answer"} <= x.keys() for x in lines):
        raise InputError(f'{data}: each line must be JSON, {{"problem": ..., "expected_answer": ...}}')


def _environment(server: Server) -> dict[str, str]:
    env = {**os.environ, "KEY": server.key or "EMPTY", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**env, "SSL_CERT_FILE": server.ca} if server.ca else env


def read(folder: Path, status: int) -> Score:
    """What sgl-eval wrote below `folder`. Raises WorkError where it wrote nothing."""
    file = next(iter(sorted(folder.glob("*/metrics.json"))), None)
    if file is None:
        raise WorkError(f"sgl-eval gave no result (exit status {status}); what it said is above")
    found = json.loads(file.read_text(encoding="utf-8"))
    scores = found["aggregate"]
    share = next((scores[k] for k in ("pass@1", "score", "accuracy") if isinstance(scores.get(k), (int, float))), None)
    if share is None:
        raise WorkError(f"{file} has no score that is known here: {', '.join(scores)}")
    questions, partial = int(found["num_examples"]), bool(found.get("partial"))
    return Score(found["name"], float(share), questions, partial, file.parent, float(scores.get("error_rate") or 0))
