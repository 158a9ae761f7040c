"""What a job's kernel steps are told: one JSON file, written by the supervisor and read on every node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .manifest import Manifest, ManifestError


@dataclass(frozen=True)
class Job:
    """folder: the node's own, of all caches. cache_dir: the shared one, of archives. usual: the folder's usual path,
    part of the archive's key; `folder` is another one where that is somebody else's, and then nothing is packed.
    image: part of the key. trusted: ids of users whose archives are taken. manifest: None without DeepGEMM."""

    folder: Path
    cache_dir: Path
    usual: str
    image: str
    model: str
    trusted: tuple[int, ...] = ()
    manifest: Manifest | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "cache_dir": str(self.cache_dir),
            "usual": self.usual,
            "image": self.image,
            "model": self.model,
            "trusted": list(self.trusted),
            "manifest": self.manifest.to_json() if self.manifest else None,
        }

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Raises ManifestError when the file is missing or no such file."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            manifest = value["manifest"] and Manifest.from_json(value["manifest"], str(path))
            return cls(
                Path(value["folder"]), Path(value["cache_dir"]), str(value["usual"]), str(value["image"]),
                str(value["model"]), tuple(int(uid) for uid in value["trusted"]), manifest,
            )  # fmt: skip
        except OSError as error:
            raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestError(f"{path}: is not a job's kernel file ({error})") from error
