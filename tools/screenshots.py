"""Pictures for docs/images: of `status` in a terminal of 80 columns, and of the report page.

    python tools/screenshots.py STATUS.json RUN [WARMUP_RUN]

RUN is the run folder that the report is about, WARMUP_RUN that of the warm-up's plot; STATUS.json is
what `sgl-launch status --json` printed. Needs chromium.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from launcher.commands.status import show
from launcher.report.page import page
from launcher.run.folder import RunFolder
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


def status_page(status: Status) -> str:
    console = Console(record=True, width=80, file=open("/dev/null", "w"), force_terminal=True, highlight=False)  # noqa: SIM115
    show(status, console)
    body = console.export_html(inline_styles=True, code_format="{code}")
    style = "margin:0;padding:18px 22px;background:#14181d;color:#dde3ea;font:15px/1.4 'DejaVu Sans Mono',monospace"
    return f'<!doctype html><meta charset="utf-8"><body style="{style}"><pre style="margin:0;font:inherit">{body}</pre>'


def main() -> None:
    saved, runs = json.loads(Path(sys.argv[1]).read_text()), [RunFolder(Path(a).resolve()) for a in sys.argv[2:]]
    saved["folder"] = f"runs/{Path(saved['folder']).name}"
    ranks = [RankStatus(**rank) for rank in saved.pop("ranks")]
    IMAGES.mkdir(parents=True, exist_ok=True)
    status = Status(**saved, ranks=ranks)
    shoot(status_page(status), "status", 780, 350)
    shoot(page(runs[0]), "report", 1000, 1010)
    whole = page(runs[-1])
    begin, end = whole.index("<main>") + 6, whole.index("<h2>Warm-up</h2>")
    top = whole[:begin].replace("margin: 38px 0 10px", "margin: 0 0 10px")
    warmup = top + whole[end : whole.index("<h2>Versions</h2>")] + whole[whole.index("</main>") :]
    shoot(warmup, "warmup", 1000, 860)


if __name__ == "__main__":
    main()
