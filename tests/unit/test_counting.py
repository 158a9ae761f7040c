"""One of something is not several of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.base.counting import counted

from .helpers import Cli


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((1, "node"), "1 node"),
        ((2, "node"), "2 nodes"),
        ((0, "GPU"), "0 GPUs"),
        ((1, "GPU is", "GPUs are"), "1 GPU is"),
        ((7, "GPU is", "GPUs are"), "7 GPUs are"),
    ],
)
def test_counted(words: tuple[int, str], text: str) -> None:
    assert counted(*words) == text


@pytest.mark.parametrize(
    ("size", "gpus", "said"), [(1, 1, "1 node of 1 GPU"), (2, 2, "1 node of 2 GPUs"), (2, 1, "2 nodes of 1 GPU")]
)
def test_plan(cli: Cli, size: int, gpus: int, said: str) -> None:
    Path("c.yaml").write_text(
        f"name: t\nmodel: {{path: /m}}\nslurm: {{gpus_per_node: {gpus}}}\naggregated: {{args: {{tp-size: {size}}}}}\n"
    )
    done = cli("plan", "c.yaml")
    assert done.code == 0, done.err
    assert f"nodes     {said}" in done.out
