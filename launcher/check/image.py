"""What a container's image holds: told by running it once (`check --image`), and kept by the image's digest."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from launcher.base.errors import InputError
from launcher.base.programs import run_command
from launcher.config import Config

# Seconds: a first pull of 15 GB, and its import by enroot
_PULL = 3600.0
_PACKAGES = {
    "sglang": ("sglang",),
    "dynamo": ("ai-dynamo", "ai-dynamo-runtime"),
    "nixl": ("nixl", "nixl-cu13", "nixl-cu12"),
    "torch": ("torch",),
}
_WHERE = ("partition", "account", "qos", "reservation", "constraint")
_TITLES = {"sglang": "SGLang", "dynamo": "Dynamo", "nixl": "NIXL", "torch": "torch"}
_ASK = f"""
import json
from importlib import metadata
def found(names):
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return ""
print("held " + json.dumps({{k: found(v) for k, v in {_PACKAGES!r}.items()}}))
"""


class Held(NamedTuple):
    """Versions in an image; empty where it has none. `digest` is what they are kept by, `asked` the day."""

    image: str
    digest: str
    asked: str
    sglang: str = ""
    dynamo: str = ""
    nixl: str = ""
    torch: str = ""

    def __str__(self) -> str:
        parts = [f"{title} {getattr(self, key)}" for key, title in _TITLES.items() if getattr(self, key)]
        return ", ".join(parts) or "none of SGLang, Dynamo, NIXL and torch"


def known(config: Config) -> Held | None:
    """What was learnt of this very image before; None where nothing was, or the image has changed since."""
    kept = _read()
    if not any(entry.get("image") == config.container.image for entry in kept.values()):
        return None
    entry = kept.get(_digest(config))
    return Held(**entry) if entry else None


def ask(config: Config) -> Held:
    """Run the image once, and keep what it says. Raises InputError where it can't be run, or says nothing."""
    image = config.container.image or ""
    code, said = run_command(_command(config), timeout=_PULL)
    told = re.findall(r"^.*?held (\{.*\})\s*$", said, re.MULTILINE)
    if code or not told:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), f"exit status {code}")
        raise InputError(f"--image: {image} can't be asked: {last.strip()}")
    held = Held(image, _digest(config), datetime.date.today().isoformat(), **json.loads(told[-1]))
    _write({**_read(), held.digest: held._asdict()})
    return held


def _command(config: Config) -> list[str]:
    """A short Python program in the image, without GPUs: as the config's runtime starts it."""
    container, slurm = config.container, config.slurm
    image, program = container.image or "", [config.python or "python3", "-c", _ASK]
    if container.runtime == "docker":
        return ["docker", "run", "--rm", "--network", "none", "--entrypoint", "", image, *program]
    if container.runtime == "apptainer":
        return ["apptainer", "exec", image, *program]
    if container.runtime == "pyxis":
        options = [f"--{key}={value}" for key, value in slurm.given.items() if key in _WHERE and value]
        limits = ["--nodes=1", "--ntasks=1", "--time=60", "--job-name=sgl-launch-check", *options]
        return ["srun", *limits, f"--container-image={image}", "--no-container-mount-home", *program]
    if container.runtime == "none":
        raise InputError("--image: there is no image (container.runtime is none); --installed asks a Python")
    raise InputError(f"--image: knows docker, apptainer and pyxis, not {container.runtime}")


def _digest(config: Config) -> str:
    """Docker's id of the image, or the digest in its name; a file's path, size and time; else the name itself, of
    which nobody here can tell when it moves."""
    image = config.container.image or ""
    if config.container.runtime == "docker":
        code, said = run_command(["docker", "image", "inspect", "--format", "{{.Id}}", image])
        if not code and said.strip():
            return said.strip()
    if named := re.search(r"@(sha256:[0-9a-f]{8,64})$", image):
        return named[1]
    try:
        at = os.stat(image)
        told = f"{os.path.realpath(image)} {at.st_size} {at.st_mtime_ns}"
        return f"file:{hashlib.sha256(told.encode()).hexdigest()}"
    except (OSError, ValueError):
        return f"name:{image}"


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "sgl-launch" / "images.json"


def _read() -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
        return {key: entry for key, entry in found.items() if set(entry) == set(Held._fields)}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(kept: Mapping[str, Any]) -> None:
    """Whole or not at all; a home that can't be written costs the next check its knowledge, not this one."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{os.getpid()}")
        new.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
        new.replace(file)
    except OSError:
        pass
