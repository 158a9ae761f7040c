"""What an archive's files depend on: made for another key, they are refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

SUFFIX = ".tar.gz"


@dataclass(frozen=True)
class CacheKey:
    """Each field is a text.

    gpu: architecture and SM count, 'sm_90x132'. driver: its version. image: the container image's name, and size and
    time where it is a file. model: the served name. python: version and folder. packages: 'sglang 0.5.16, torch ...'.
    nvcc: release and file. headers: digest of DeepGEMM's headers and where they lie. folder: where the caches are on a
    node, since Triton and ninja note it.
    """

    gpu: str
    driver: str
    image: str
    model: str
    python: str
    packages: str
    nvcc: str
    headers: str
    folder: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """Readable first, exact after: 'kernels-DeepSeek_R1-sm_90x132-<16 hex digits>.tar.gz'."""
        model = self.model.rstrip("/").rpartition("/")[2][:60]
        readable = [re.sub(r"[^A-Za-z0-9_.]+", "_", text) for text in (model, self.gpu)]
        return "-".join(["kernels", *readable, self.digest[:16]]) + SUFFIX

    def to_json(self) -> dict[str, str]:
        return dict(asdict(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CacheKey:
        """Raises KeyError when a field is missing."""
        return cls(**{item.name: str(value[item.name]) for item in fields(cls)})

    def differences(self, other: CacheKey) -> list[str]:
        """Such as 'nvcc 12.9, not 13.0': other's value, then this one's."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{k} {theirs[k]}, not {mine[k]}" for k in mine if mine[k] != theirs[k]]
