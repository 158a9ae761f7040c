"""Configs of the tests: small ones, as texts."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.slurm.deploy import MODEL, ROOT

STANDIN = ROOT / "tests" / "shapes" / "standin"


def config(engine: str = "mocker", gpus_per_node: int = 8, **parts: Any) -> str:
    """A config of the mocker, or of SGLang's stand-in; workers of 8 GPUs unless `parts` says else."""
    made: dict[str, Any] = {
        "name": "shape",
        "engine": engine,
        "model": {"path": f"{ROOT}/configs/tiny-model", "served_name": MODEL},
        "slurm": {"gpus_per_node": gpus_per_node, "cpus-per-task": 4},
        "frontend": {"port": "auto"},
        "timeouts": {"ready": 60},
        "warmup": {"requests": {"enabled": False}},
    }
    if engine == "mocker":
        made["mocker"] = {"speedup-ratio": 100}
    if engine == "sglang":
        made["python"] = sys.executable
        made["env"] = {"PYTHONPATH": str(STANDIN)}
    if not {"prefill", "decode", "aggregated"} & set(parts):
        parts.update(prefill=role(), decode=role())
    for key, value in parts.items():
        made[key] = {**made.get(key, {}), **value} if isinstance(value, dict) else value
    return json.dumps(made, indent=1)  # JSON is YAML


def role(workers: int = 1, gpus: int = 8, **args: Any) -> dict[str, Any]:
    return {"workers": workers, "args": {"tp-size": gpus, "page-size": 16, **args}}
