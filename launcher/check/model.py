"""What a model is, as far as the checks need it: from its config.json, else from its name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from launcher.config import Config
from launcher.containers import host_path


@dataclass(frozen=True)
class ModelFacts:
    """`mla`: whether it uses multi-head latent attention, None if nobody knows. `experts`: routed
    experts of a layer, None for a dense model or if unknown. `source` says where that comes from."""

    mla: bool | None = None
    experts: int | None = None
    source: str = ""


# (name, MLA, routed experts): of the models' own config.json on their publishers' pages
FAMILIES: tuple[tuple[str, bool, int | None], ...] = (
    (r"deepseek-r1-distill", False, None),
    (r"deepseek-(v3|r1)", True, 256),
    (r"deepseek-v2-lite", True, 64),
    (r"deepseek-v2", True, 160),
    (r"kimi-k2", True, 384),
    (r"qwen3(\.5)?-[0-9.]+b-a", False, 128),
    (r"gpt-oss-120b", False, 128),
    (r"gpt-oss-20b", False, 32),
    (r"(qwen[23]|llama|mistral|gemma)", False, None),
)


def read_model(config: Config) -> ModelFacts:
    """From config.json, if it can be read here; else by the family that the names tell."""
    folder = host_path(config, config.model.path)
    if folder is not None:
        try:
            return from_json(json.loads((folder / "config.json").read_text(encoding="utf-8")), str(folder))
        except (OSError, ValueError, AttributeError):
            pass
    names = (config.served_name, config.model.path, str(folder or ""), config.container.image or "")
    return next((f for n in names[:3] if (f := by_name(n)) is not None), ModelFacts())


def from_json(data: dict[str, object], folder: str) -> ModelFacts:
    text = data.get("text_config")
    if isinstance(text, dict):
        data = text
    experts = next((v for k in ("n_routed_experts", "num_experts", "num_local_experts") if (v := data.get(k))), None)
    number = experts if isinstance(experts, int) else None
    return ModelFacts(data.get("kv_lora_rank") is not None, number, f"{folder}/config.json")


def by_name(name: str) -> ModelFacts | None:
    """The facts of a model's family; None for a name that tells nothing."""
    plain = re.sub(r"[\s_]+", "-", name.lower())
    for pattern, mla, experts in FAMILIES:
        if re.search(pattern, plain):
            return ModelFacts(mla, experts, f"the name {name}")
    return None
