"""aiperf, NVIDIA's load generator, run for one point."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError
from launcher.measure.point import Point

INSTALL = "pip install 'sgl-launch[bench]' brings it"
NAMED = "model/tokenizer"  # by which aiperf finds the tokenizer's folder


@dataclass(frozen=True)
class Server:
    """What is measured. `tokenizer` is a folder, or `builtin`: only prompts are made with it; tokens are counted by the
    server. `key` is the deployment's, None where it is open."""

    url: str
    model: str
    tokenizer: str = "builtin"
    key: str | None = field(default=None, repr=False)
    ca: str | None = None


def find() -> str:
    """The program. Raises WorkError where there is none."""
    beside = Path(sys.executable).with_name("aiperf")
    found = str(beside) if beside.exists() else shutil.which("aiperf")
    if found is None:
        raise WorkError(f"bench needs aiperf, which is not installed here; {INSTALL}")
    return found


def config(server: Server, point: Point, folder: Path) -> dict[str, Any]:
    """aiperf's configuration for a point; results go to `folder`. It names the key's variable, not the key."""
    endpoint: dict[str, Any] = {
        "urls": [server.url], "type": "completions", "streaming": True, "use_server_token_count": True,
    }  # fmt: skip
    if server.key:
        endpoint["api_key"] = "${OPENAI_API_KEY}"
    endpoint["extra"] = {"ignore_eos": True}
    if point.trace:
        dataset: dict[str, Any] = {
            "name": "main",
            "type": "file",
            "path": str(Path(point.trace).resolve()),
            "format": "mooncake_trace",
        }
        phases: list[dict[str, Any]] = [{"name": "profiling", "type": "fixed_schedule"}]
    else:
        endpoint["extra"] |= {"min_tokens": point.output_tokens} if not point.spread else {}
        lengths = {"isl": point.prompt_tokens, "osl": point.output_tokens}
        prompts = {name: {"mean": n, "stddev": n * point.spread} for name, n in lengths.items()}
        dataset = {"name": "main", "type": "synthetic", "entries": point.requests, "random_seed": 1, "prompts": prompts}
        if point.rate is not None:
            phases = [{"name": "profiling", "type": "poisson", "rate": point.rate, "requests": point.requests}]
        else:
            load = {"type": "concurrency", "concurrency": point.concurrency}
            # The first wave, which arrives all at once, is not what a steady load is like.
            first = {"name": "warmup", "kind": "warmup", "exclude_from_results": True, "requests": point.concurrency}
            phases = [{**first, **load}, {"name": "profiling", "requests": point.requests, **load}]
    return {
        "benchmark": {
            "models": [server.model],
            "endpoint": endpoint,
            "datasets": [dataset],
            "phases": phases,
            "tokenizer": {"name": NAMED if os.path.isdir(server.tokenizer) else server.tokenizer},
            "artifacts": {"dir": str(folder)},
            "gpu_telemetry": {"enabled": False},
            "server_metrics": {"enabled": False},
            "runtime": {"ui": "none"},
        }
    }


def _tokenizer(source: Path, folder: Path) -> dict[str, str]:
    """Environment in which aiperf finds the tokenizer in `source` under NAMED: as if downloaded. aiperf 0.13 takes a
    folder's path for a repository's name wherever it is offline, and makes itself so to read a trace."""
    if not source.is_dir():
        return {}
    hub = folder.resolve() / "hub"
    at = hub / f"models--{NAMED.replace('/', '--')}"
    shutil.rmtree(hub, ignore_errors=True)
    (at / "refs").mkdir(parents=True)
    (at / "refs" / "main").write_text("0" * 40, encoding="ascii")
    (at / "snapshots").mkdir()
    (at / "snapshots" / ("0" * 40)).symlink_to(source.resolve())
    return {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


async def run(server: Server, point: Point, folder: Path, limit: float) -> int:
    """aiperf's exit status; its output is in folder/aiperf.log, its records in folder/profile_export.jsonl. Ended
    after `limit` seconds, and with the one that waits."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "aiperf.yaml"  # JSON is YAML
    file.write_text(json.dumps(config(server, point, folder.resolve()), indent=1) + "\n", encoding="utf-8")
    words = [find(), "profile", "--config", str(file)]
    env = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore", **_tokenizer(Path(server.tokenizer), folder)}
    if server.key:
        env["OPENAI_API_KEY"] = server.key
    if server.ca:
        env["SSL_CERT_FILE"] = server.ca
    with (folder / "aiperf.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=env, start_new_session=True
        )
        try:
            return await asyncio.wait_for(process.wait(), limit)
        except asyncio.TimeoutError:
            return 124
        finally:
            # Its workers are processes of their own, in the session that it leads.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
