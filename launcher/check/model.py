"""What a model is, as far as the checks need it: from its config.json, else from its name (families.json)."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.config import Config
from launcher.containers import host_path

FAMILIES = Path(__file__).with_name("families.json")


@dataclass(frozen=True)
class ModelFacts:
    """What is None is not known. `source` says where the facts come from; those of a name are a guess."""

    mla: bool | None = None  # multi-head latent attention
    experts: int | None = None  # routed experts of a layer; None for a dense model, too
    source: str = ""
    mtp: int | None = None  # layers that predict further tokens
    kv_heads: int | None = None
    page_size: int | None = None  # that SGLang gives it, whatever the flag says
    guessed: bool = False
    architecture: str | None = None  # by its config.json alone

    @property
    def one_kv(self) -> bool | None:
        """Whether every rank of a tensor-parallel group has the same KV cache, whatever its size."""
        return True if self.kv_heads == 1 else self.mla


def read_model(config: Config) -> ModelFacts:
    """From config.json, if it can be read here; else by the family that the names tell."""
    folder = host_path(config, config.model.path)
    if folder is not None:
        try:
            return from_json(json.loads((folder / "config.json").read_text(encoding="utf-8")), str(folder))
        except (OSError, ValueError, AttributeError):
            pass
    names = (config.served_name, config.model.path, str(folder or ""))
    return next((f for n in names if (f := by_name(n)) is not None), ModelFacts())


def from_json(data: dict[str, Any], folder: str) -> ModelFacts:
    text, named = data.get("text_config"), data.get("architectures")
    if isinstance(text, dict):
        data = text

    def number(*keys: str) -> int | None:
        value = next((v for k in keys if (v := data.get(k)) is not None), None)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    return ModelFacts(
        data.get("kv_lora_rank") is not None,
        number("n_routed_experts", "num_experts", "num_local_experts"),
        f"{folder}/config.json",
        number("num_nextn_predict_layers", "mtp_num_hidden_layers"),
        number("num_key_value_heads"),
        architecture=str(named[0]) if isinstance(named, list) and named else None,
    )


@functools.cache
def _families() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FAMILIES.read_text(encoding="utf-8"))
    return found


def by_name(name: str) -> ModelFacts | None:
    """The facts of a model's family; None for a name that tells nothing."""
    plain = re.sub(r"[\s_]+", "-", name.lower())
    for family in _families():
        if re.search(family["name"], plain):
            facts = {k: v for k, v in family.items() if k not in ("name", "source")}
            return ModelFacts(**facts, source=f"the name {name}", guessed=True)
    return None
