"""Pictures for docs/images: of `status` and of a plan with 48 groups in a terminal of 80 columns, and of the report
page, on a desk and on a telephone.

    python tools/screenshots.py STATUS.json RUN [WARMUP_RUN]

RUN is the run folder that the report is about, WARMUP_RUN that of the warm-up's plot; STATUS.json is
what `sgl-launch status --json` printed. Needs chromium.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from launcher.commands.status import show
from launcher.config import load_config
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from launcher.report.page import page
from launcher.report.plantext import plan_text
from launcher.run.folder import RunFolder
from launcher.run.planned import Planned
from launcher.run.status import RankStatus, Status

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
OPTIONS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --hide-scrollbars""".split()


def shoot(html: str, name: str, width: int, height: int) -> None:
    """One page of HTML as docs/images/NAME.png."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(html, encoding="utf-8")
        words = [f"--user-data-dir={folder}/profile", f"--window-size={width},{height}"]
        target = IMAGES / f"{name}.png"
        subprocess.run(
            ["chromium", *OPTIONS, *words, f"--screenshot={target}", f"file://{file}"],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        print(target, target.stat().st_size)


def terminal(show_it: Callable[[Console], None]) -> str:
    """What is printed on a console of 80 columns, as a page."""
    console = Console(record=True, width=80, file=open("/dev/null", "w"), force_terminal=True, highlight=False)  # noqa: SIM115
    show_it(console)
    body = console.export_html(inline_styles=True, code_format="{code}")
    style = "margin:0;padding:18px 22px;background:#14181d;color:#dde3ea;font:15px/1.4 'DejaVu Sans Mono',monospace"
    return f'<!doctype html><meta charset="utf-8"><body style="{style}"><pre style="margin:0;font:inherit">{body}</pre>'


def main() -> None:
    saved, runs = json.loads(Path(sys.argv[1]).read_text()), [RunFolder(Path(a).resolve()) for a in sys.argv[2:]]
    saved["folder"] = f"runs/{Path(saved['folder']).name}"
    ranks = [RankStatus(**rank) for rank in saved.pop("ranks")]
    IMAGES.mkdir(parents=True, exist_ok=True)
    status = Status(**saved, ranks=ranks)
    shoot(terminal(lambda console: show(status, console)), "status", 780, 380)
    sets = ["prefill.workers=40", "decode.workers=8", "slurm.partition=gpu", "model.path=/shared/models/DeepSeek-R1"]
    plan = plan_text(Planned.read(to_json(make_plan(*load_config("dsr1", sets, sites=())))), commands=False)
    shoot(terminal(lambda console: console.print(plan, markup=False)), "plan", 780, 480)
    shoot(page(runs[0]), "report", 1280, 1010)
    shoot(page(runs[0]), "report-400", 400, 1600)
    whole = page(runs[-1])
    begin, end = whole.index("<main>") + 6, whole.index("<h2>Warm-up</h2>")
    top = whole[:begin].replace("margin: 38px 0 10px", "margin: 0 0 10px")
    warmup = top + whole[end : whole.index("<h2>Versions</h2>")] + whole[whole.index("</main>") :]
    shoot(warmup, "warmup", 1000, 860)


if __name__ == "__main__":
    main()
