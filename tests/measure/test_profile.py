"""profile --nsys: the wrapper of docs/measure.md under a stand-in nsys, and the order to a stand-in engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import WorkError
from launcher.measure import profile
from launcher.run.deployment import GroupAddress

DOC = Path(__file__).resolve().parents[2] / "docs" / "measure.md"

# Stands in for nsys: notes its words and runs the program, as `nsys profile` does.
NSYS = """#!/bin/bash
printf '%s\\n' "$@" > "$RUN/nsys-words"
while [ "$1" != python3 ]; do shift; done
exec "$@"
"""


def test_a_worker_runs_under_nsys(tmp_path: Path) -> None:
    """The wrapper as it is printed in the documentation."""
    text = DOC.read_text(encoding="utf-8")
    wrapper = "\n".join(line[4:] for line in text[text.index("    #!/bin/bash") :].split("\n\n")[0].split("\n"))
    for name, content in (("nsys-python", wrapper), ("nsys", NSYS)):
        (tmp_path / name).write_text(f"{content}\n")
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RUN": str(tmp_path / "a run")}
    (tmp_path / "a run").mkdir()
    words = [str(tmp_path / "nsys-python"), "-c", "import sys; print(sys.argv[1:])", "--tp-size", "2"]
    done = subprocess.run(words, env={**env, "GROUP": "decode-0", "RANK": "1"}, capture_output=True, text=True)
    assert done.stdout == "['--tp-size', '2']\n", done.stderr
    said = (tmp_path / "a run" / "nsys-words").read_text().splitlines()
    folder = tmp_path / "a run" / "profiles" / "nsys-decode-0"
    assert folder.is_dir()
    assert said[0] == "profile"
    assert "--capture-range=cudaProfilerApi" in said
    assert f"--output={folder}/rank-1" in said


def ask(folder: Path, activities: tuple[str, ...], writes: str, wait: float) -> tuple[list[Path], dict[str, Any]]:
    """What `profile` finds when an engine, told to, has `writes` written; and what it was told."""
    from aiohttp import web

    told: dict[str, Any] = {}

    async def start(request: web.Request) -> web.Response:
        told.update(await request.json())
        if writes:
            (folder / writes).write_text("x")
        return web.json_response({"status": "ok"})

    async def whole() -> list[Path]:
        app = web.Application()
        app.router.add_post("/engine/control/start_profile", start)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        group = GroupAddress("decode-0", "decode", "n1", "127.0.0.1", {"system": runner.addresses[0][1]})
        body = {"output_dir": str(folder), "num_steps": 5, "activities": list(activities)}
        try:
            return await profile._profile(group, True, body, folder, wait, None)
        finally:
            await runner.cleanup()

    return asyncio.run(whole()), told


def test_a_report_of_nsys_is_the_one_that_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SETTLED", 0.2)
    (tmp_path / "rank-0.1.nsys-rep").write_text("an earlier one")
    found, told = ask(tmp_path, profile.NSYS, "rank-0.2.nsys-rep", 10)
    assert [f.name for f in found] == ["rank-0.2.nsys-rep"]
    assert (told["activities"], told["num_steps"]) == (["CUDA_PROFILER"], 5)


def test_a_trace_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SETTLED", 0.2)
    with pytest.raises(WorkError, match=r"no trace in .* after 1 s; a group without requests makes no steps"):
        ask(tmp_path, profile.TORCH, "", 1)
