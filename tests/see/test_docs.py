"""The pages about seeing and mending say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.cli import COMMANDS
from launcher.config import Config
from launcher.report.causes import CAUSES

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("site.md", "troubleshooting.md", "quickstart.md", "first-run.md", "image-and-weights.md")


def test_the_table_of_causes_is_the_programs() -> None:
    table = (DOCS / "troubleshooting.md").read_text().split("|---|---|---|\n")[-1]
    assert table == "".join(f"| {c.name} | {c.means} | {c.do} |\n" for c in CAUSES)


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_keys_exist(page: str) -> None:
    text = (DOCS / page).read_text()
    assert set(re.findall(r"(?m)(?:`|^    )sgl-launch ([a-z]+)", text)) <= set(COMMANDS)
    for dotted in re.findall(r"`((?:slurm|network|ports|frontend|security|timeouts|on_failure|warmup)\.\w+)", text):
        model = Config.model_fields[dotted.partition(".")[0]].annotation
        assert model is not None
        extra = model.model_config.get("extra") == "allow"
        assert extra or dotted.partition(".")[2] in model.model_fields, dotted


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_are_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target
