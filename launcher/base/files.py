"""Where the templates and the shipped configs are: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path


def data_path(kind: str) -> Path:
    """The folder `templates` or `configs`. Raises FileNotFoundError if the installation lacks it."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "shipped" / kind, here.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"sgl-launch is installed without its {kind}; install it again")
