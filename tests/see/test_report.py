"""The report page: its data, its pictures, and how a real browser shows it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from launcher.config.load import load_config
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from launcher.report import svg
from launcher.report.facts import Span, timeline
from launcher.report.page import page
from launcher.run.folder import Event, RunFolder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CONFIG = """\
name: "a<b>&c"
model: {path: /m, served_name: "<script>document.title = 'broken'</script>"}
slurm: {gpus_per_node: 8}
prefill: {workers: 2, args: {tp-size: 4}}
decode: {args: {tp-size: 16}}
"""


def size(prompt: int, first: float, rounds: list[float]) -> dict[str, Any]:
    return {
        "size": f"{prompt}x1", "prompt_tokens": prompt, "concurrency": 1, "output_tokens": 16, "state": "warm",
        "rounds": len(rounds), "first_ttft": first, "steady_ttft": rounds[-1], "steady_itl": 0.01,
        "history": [{"requests": 1, "errors": 0, "ttft": value} for value in rounds],
    }  # fmt: skip


EVENTS = [
    (0.0, "nodes", "started"), (1.0, "nodes", "done"), (1.0, "workers", "started"), (1.1, "prefill-0", "started"),
    (1.1, "prefill-1", "started"), (1.1, "decode-0", "started"), (2.0, "workers", "done"), (2.0, "ready", "started"),
    (30.0, "prefill-0", "registered"), (31.0, "prefill-1", "registered"), (40.0, "decode-0", "registered"),
    (41.0, "prefill-0", "ready"), (41.0, "prefill-1", "ready"), (41.0, "decode-0", "ready"), (42.0, "ready", "done"),
    (42.0, "warm", "started"), (90.0, "warm", "done"), (90.0, "serve", "started"),
    (400.0, "prefill-1", "restarting"), (450.0, "prefill-1", "registered"), (452.0, "prefill-1", "ready"),
    (460.0, "prefill-1", "warm"), (900.0, "serve", "failed"), (900.0, "stop", "started"), (902.0, "stop", "done"),
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIG.replace("a<b>&c", "demo"))
    config, source = load_config("c.yaml", sites=())
    folder = tmp_path / "demo-L1"
    (folder / "logs").mkdir(parents=True)
    made = RunFolder(folder)
    made.write_json("plan.json", to_json(make_plan(config, source, "slurm")))
    made.write_json("local.json", {"pid": 2**22 + 5, "start_time": 1})
    (folder / "hosts").write_text("".join(f"{n} n00{n + 1} 10.0.0.{n + 1} ib0\n" for n in range(3)))
    (folder / "config.yaml").write_text(CONFIG)
    lines = [{"time": 1.8e9 + t, "stage": a, "state": b, "detail": ""} for t, a, b in EVENTS]
    lines[-3]["detail"] = "decode-0 ended with exit status 1"
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "logs" / "decode-0-0.log").write_text("torch.OutOfMemoryError: CUDA out of memory. <b>\n")
    sizes = [size(64, 0.9, [0.9, 0.06, 0.05]), size(4096, 4.2, [4.2, 0.4, 0.31]), size(16384, 8.0, [8.0, 1.3, 1.2])]
    made.write_json(
        "warmup.json",
        {"verdict": "warm", "reasons": [], "requests": 54, "seconds": 48.0, "sizes": sizes},
    )
    return made


def test_a_group_that_was_restarted() -> None:
    events = [Event(1.8e9 + t, a.replace("who", "nodes"), b) for t, a, b in EVENTS]
    stages, groups = timeline(events, ["prefill-0", "prefill-1"], 1.8e9, 1.8e9 + 902)
    assert [row.name for row in stages] == ["nodes", "workers", "ready", "warm", "serve", "stop"]
    assert groups[0].spans[-1] == Span(90.0, 900.0, "warm")
    assert [(s.state, round(s.begin)) for s in groups[1].spans] == [
        ("starting", 1), ("registered", 31), ("ready", 41), ("warm", 90),
        ("restarting", 400), ("registered", 450), ("ready", 452), ("warm", 460),
    ]  # fmt: skip
    assert [round(at) for at, _ in groups[1].marks] == [400]


@pytest.mark.parametrize(
    ("limit", "texts"),
    [
        (9, ["0 s", "2 s", "4 s", "6 s", "8 s"]),
        (100, ["0 s", "15 s", "30 s", "45 s", "1 min", "1 min 15 s", "1 min 30 s"]),
        (1e4, ["0 s", "30 min", "1 h", "1 h 30 min", "2 h", "2 h 30 min"]),
    ],
)
def test_ticks(limit: float, texts: list[str]) -> None:
    assert [svg.tick_text(t) for t in svg.ticks(limit)] == texts


def test_page_needs_nothing_and_escapes_everything(run: RunFolder) -> None:
    text = page(run)
    assert not re.search(r"(src|href)=|@import|url\(|<script", text)
    assert "&lt;script&gt;" in text
    assert "CUDA out of memory. &lt;b&gt;" in text
    pictures = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(pictures) == 5
    for picture in pictures:
        ET.fromstring(picture)
    assert "What to do: if activations or CUDA graphs ran out, lower mem-fraction-static" in text


def test_a_sweep_by_hand_does_not_hide_the_jobs_own(run: RunFolder) -> None:
    assert "by hand" not in page(run)
    own = page(run)
    for number in (2, 10):
        run.write_json(f"warmup-{number}.json", {"verdict": "not steady", "requests": number})
        os.utime(run.path / f"warmup-{number}.json", (1.8e9 + 950, 1.8e9 + 950))
    again = page(run)
    said = "<p>Swept again by hand; the latest, warmup-10.json: not steady after 10 requests.</p>\n"
    assert again.replace(said, "") == own
    # one of an attempt before this one
    os.utime(run.path / "warmup-10.json", (1.7e9, 1.7e9))
    assert "the latest, warmup-2.json:" in page(run)
    assert run.next_sweep() == "warmup-3.json"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_a_browser(run: RunFolder, tmp_path: Path) -> None:
    """Chromium lays it out: nothing wider than the window, every picture has a size and its bars."""
    file = tmp_path / "r.html"
    probe = """<script>addEventListener("load", () => {
      const boxes = [...document.querySelectorAll("svg")].map(s => s.getBoundingClientRect());
      const texts = [...document.querySelectorAll("svg")].flatMap(s => { const o = s.getBoundingClientRect();
        return [...s.querySelectorAll("text")].filter(t => { const b = t.getBoundingClientRect();
          return b.left < o.left - 1 || b.right > o.right + 1; }).map(t => t.textContent); });
      document.body.dataset.found = JSON.stringify({wide: document.documentElement.scrollWidth, boxes, texts,
        bars: document.querySelectorAll(".bar").length, title: document.title});
    });</script>"""
    file.write_text(page(run) + probe)
    options = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
        --disable-component-update --disable-sync --hide-scrollbars --window-size=1000,2400""".split()
    shot = tmp_path / "r.png"
    done = subprocess.run(
        [str(CHROMIUM), *options, f"--user-data-dir={tmp_path}/profile", f"--screenshot={shot}", "--dump-dom", f"file://{file}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if not re.search(r"data-found=", done.stdout):  # some versions do one of the two only
        done = subprocess.run(
            [str(CHROMIUM), *options, f"--user-data-dir={tmp_path}/profile2", "--dump-dom", f"file://{file}"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    found_at = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found_at, done.stderr
    found = json.loads(found_at[1].replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&"))
    assert found["title"] == "demo L1"
    assert found["wide"] <= 1000
    assert found["texts"] == []
    assert found["bars"] > 20
    assert all(box["width"] > 500 and box["height"] > 40 for box in found["boxes"])
