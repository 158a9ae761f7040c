"""aiperf, NVIDIA's load generator, run for one point."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.measure.point import Point

INSTALL = "pip install 'sgl-launch[bench]' brings it"


@dataclass(frozen=True)
class Server:
    """What is measured. `tokenizer` is a folder, or `builtin`: only prompts are made with it; tokens are counted by the
    server. `key` is the deployment's, None where it is open."""

    url: str
    model: str
    tokenizer: str = "builtin"
    key: str | None = None


def find() -> str:
    """The program. Raises WorkError where there is none."""
    beside = Path(sys.executable).with_name("aiperf")
    found = str(beside) if beside.exists() else shutil.which("aiperf")
    if found is None:
        raise WorkError(f"bench needs aiperf, which is not installed here; {INSTALL}")
    return found


def command(program: str, server: Server, point: Point, folder: Path) -> list[str]:
    """Its words for a point; results go to `folder`. The key is not among them: others on the machine can see them."""
    words = [
        program, "profile", "--url", server.url, "--model", server.model, "--tokenizer", server.tokenizer,
        "--endpoint-type", "completions", "--streaming", "--use-server-token-count",
        "--output-artifact-dir", str(folder), "--ui", "none", "--no-gpu-telemetry", "--no-server-metrics",
        "--random-seed", "1",
    ]  # fmt: skip
    if point.trace:
        return [*words, "--input-file", point.trace, "--custom-dataset-type", "mooncake_trace", "--fixed-schedule"]
    words += ["--isl", f"{point.prompt_tokens}", "--osl", f"{point.output_tokens}"]
    words += ["--request-count", f"{point.requests}", "--extra-inputs", "ignore_eos:true"]
    if point.spread:
        words += ["--prompt-input-tokens-stddev", f"{point.spread * point.prompt_tokens:g}"]
        words += ["--prompt-output-tokens-stddev", f"{point.spread * point.output_tokens:g}"]
    else:
        words += ["--extra-inputs", f"min_tokens:{point.output_tokens}"]
    if point.rate is not None:
        return [*words, "--request-rate", f"{point.rate:g}", "--arrival-pattern", "poisson"]
    # The first wave, which arrives all at once, is not what a steady load is like.
    return [*words, "--concurrency", f"{point.concurrency}", "--num-warmup-requests", f"{point.concurrency}"]


async def run(server: Server, point: Point, folder: Path, limit: float) -> int:
    """aiperf's exit status; its output is in folder/aiperf.log, its records in folder/profile_export.jsonl. Ended
    after `limit` seconds, and with the one that waits."""
    words = command(find(), server, point, folder)
    folder.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    if server.key:
        env["OPENAI_API_KEY"] = server.key
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
