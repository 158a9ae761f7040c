"""Where the templates, the shipped configs and the program itself are: in the wheel, or in a checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_path(kind: str) -> Path:
    """The folder `templates` or `configs`. Raises FileNotFoundError if the installation lacks it."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "shipped" / kind, here.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"sgl-launch is installed without its {kind}; install it again")


def own_command() -> str:
    """The command by which a job calls this installation, whatever PATH and environment it gets: SGL_LAUNCH, else the
    program beside this Python."""
    own = Path(sys.executable).with_name("sgl-launch")
    return os.environ.get("SGL_LAUNCH") or (str(own) if own.exists() else "sgl-launch")
