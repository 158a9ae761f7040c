"""What `check` says of wrong configs, word for word: every text was judged by reading it.

wrong_configs.txt holds each config and what is said of it. `UPDATE_GOLDEN=1 pytest tests/check`
writes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.base.errors import InputError
from launcher.check import check_config

FILE = Path(__file__).with_name("wrong_configs.txt")
MARK = ">>> says\n"


def _cases() -> dict[str, tuple[str, str]]:
    """name -> (config, what is said)"""
    found = {}
    for part in FILE.read_text().split("### ")[1:]:
        name, _, rest = part.partition("\n")
        config, _, said = rest.partition(MARK)
        found[name] = (config, said.strip())
    return found


CASES = _cases()


def say(config: str) -> str:
    Path("c.yaml").write_text(config)
    try:
        checked = check_config("c.yaml", ask_slurm=False)
    except InputError as e:
        return str(e)
    return "\n".join([str(f) for f in checked.findings])


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SGL_LAUNCH_SITE", "site.yaml")
    Path("site.yaml").write_text("# nothing\n")
    config, expected = CASES[name]
    said = say(config)
    if os.environ.get("UPDATE_GOLDEN"):
        CASES[name] = (config, said)
        texts = [f"### {n}\n{c}{MARK}{s}\n" for n, (c, s) in CASES.items()]
        FILE.write_text("\n".join(texts))
        return
    assert said == expected


def test_there_are_fifty_six() -> None:
    assert len(CASES) >= 56
    assert all(said for _, said in CASES.values())
