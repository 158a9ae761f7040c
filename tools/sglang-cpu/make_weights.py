"""A copy of a Qwen2 model folder with random weights: make_weights.py FROM TO [SEED].

Random, and the same for the same seed: two servers that give the same text at temperature 0 have
computed the same thing.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def weights(config: dict[str, int], seed: int) -> dict[str, torch.Tensor]:
    """Every tensor of a Qwen2ForCausalLM of that config, by the name that SGLang looks for."""
    generator = torch.Generator().manual_seed(seed)
    hidden, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    key_value = hidden // config["num_attention_heads"] * config["num_key_value_heads"]

    def matrix(rows: int, columns: int) -> torch.Tensor:
        # twice the usual scale: the largest logit then stands out, and rounding does not change it
        return (torch.randn(rows, columns, generator=generator) * 2 / columns**0.5).to(torch.bfloat16)

    def ones() -> torch.Tensor:
        return torch.ones(hidden, dtype=torch.bfloat16)

    made = {
        "model.embed_tokens.weight": torch.randn(words, hidden, generator=generator).to(torch.bfloat16),
        "lm_head.weight": matrix(words, hidden),
        "model.norm.weight": ones(),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name, rows in (("q", hidden), ("k", key_value), ("v", key_value)):
            made[f"{at}.self_attn.{name}_proj.weight"] = matrix(rows, hidden)
            made[f"{at}.self_attn.{name}_proj.bias"] = torch.zeros(rows, dtype=torch.bfloat16)
        made[f"{at}.self_attn.o_proj.weight"] = matrix(hidden, hidden)
        for name in ("gate", "up"):
            made[f"{at}.mlp.{name}_proj.weight"] = matrix(inner, hidden)
        made[f"{at}.mlp.down_proj.weight"] = matrix(hidden, inner)
        for name in ("input_layernorm", "post_attention_layernorm"):
            made[f"{at}.{name}.weight"] = ones()
    return made


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    shutil.copytree(source, target, dirs_exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    save_file(weights(config, seed), target / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
