"""A job's keys: one for clients, one for the owner's administration, and one that its parts ask each other for."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

ENDPOINT, ADMIN, WORKER = "endpoint-key", "admin-key", "worker-key"
WORKER_FLAGS = "worker.yaml"  # that key as SGLang's --config reads it
_BYTES = 32


@dataclass(frozen=True)
class Keys:
    """`endpoint` lets a client use the inference API; None where nobody asks for a key. `admin` lets its holder use
    every route. SGLang's own servers and their router ask for `worker`; None where the engine has none of them. None is
    ever shown by repr()."""

    endpoint: str | None = field(default=None, repr=False)
    admin: str | None = field(default=None, repr=False)
    worker: str | None = field(default=None, repr=False)


NO_KEYS = Keys()


def make_keys(folder: Path, guarded: bool, shared: Path | None = None, workers: bool = False) -> Keys:
    """Make 256-bit keys in `folder` (0700), each a file that this user alone can read from its first byte; those in the
    folder `shared` are taken as they are. `workers`: one for SGLang's own servers too. Raises FileExistsError when
    they are there already."""
    folder.mkdir(mode=0o700, exist_ok=True)
    old = read_keys(shared) if shared else NO_KEYS
    keys = Keys(
        (old.endpoint or _new("sk-job-")) if guarded else None,
        old.admin or _new("sk-admin-"),
        _new("sk-worker-") if workers else None,
    )
    for name, value in ((ENDPOINT, keys.endpoint), (ADMIN, keys.admin), (WORKER, keys.worker)):
        if value is not None:
            write_private(folder / name, value)
    if keys.worker is not None:
        write_private(folder / WORKER_FLAGS, f"api-key: {keys.worker}\n")
    return keys


def service_folder(runs: Path, name: str) -> Path:
    """The folder with the keys that all jobs of a service have alike."""
    return runs / f"{name}.service"


def read_keys(folder: Path) -> Keys:
    """The keys in a run's folder of secrets; None for those that are not there, or not to be read by this user."""
    return Keys(_read(folder / ENDPOINT), _read(folder / ADMIN), _read(folder / WORKER))


def key_of_environment(address: str) -> str | None:
    """OPENAI_API_KEY, if OPENAI_BASE_URL says that it is this address's key; nobody else is sent it."""
    from warmup.requests import AddressError, parse_address

    try:
        meant = parse_address(os.environ.get("OPENAI_BASE_URL", ""))
    except AddressError:
        return None
    return os.environ.get("OPENAI_API_KEY") if meant == parse_address(address) else None


def write_private(path: Path, text: str) -> None:
    """A new file that this user alone can read from its first byte."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _new(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(_BYTES)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
