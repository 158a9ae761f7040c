"""A model folder in DeepSeek-V3's shape (R1 has the same), of few layers and without weights.

    python tools/make_dsv3_model.py FOLDER [--layers 2] [--experts 256]

SGLang serves it with --load-format dummy: every kernel has the size that the real model's has. The
first layer is dense, the others have experts. The vocabulary is that of the tokenizer that comes
along, so that every token has a text. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

TINY = Path(__file__).resolve().parents[1] / "configs" / "tiny-model"


def dsv3(layers: int, experts: int, vocabulary: int) -> dict[str, Any]:
    """config.json of deepseek-ai/DeepSeek-V3 with other counts of layers, experts and tokens."""
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.3",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "use_cache": True,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "num_hidden_layers": layers,
        "num_nextn_predict_layers": 0,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        # attention: MLA
        "num_attention_heads": 128,
        "num_key_value_heads": 128,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "max_position_embeddings": 163840,
        "rope_theta": 10000,
        "rope_scaling": {
            "type": "yarn",
            "factor": 40,
            "original_max_position_embeddings": 4096,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        },
        # experts
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "moe_intermediate_size": 2048,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "ep_size": 1,
        # FP8 in blocks: what DeepGEMM is for
        "quantization_config": {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--experts", type=int, default=256, help="a multiple of 8, and of the GPUs that share them")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(TINY / name, args.folder)
    vocabulary = json.loads((TINY / "config.json").read_text())["vocab_size"]
    text = json.dumps(dsv3(args.layers, args.experts, vocabulary), indent=1) + "\n"
    (args.folder / "config.json").write_text(text)


if __name__ == "__main__":
    main()
