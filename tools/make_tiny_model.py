"""Makes configs/tiny-model: a tokenizer and a config without weights, for the mocker.

Dynamo's mocker answers with token ids 1000 to 1999 (measured, Dynamo 1.4.2), so those are words
and an answer can be read. Needs `tokenizers`. Deterministic: the same bytes every time.

    python tools/make_tiny_model.py configs/tiny-model
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ONSETS = ["b", "d", "f", "g", "l", "m", "n", "p", "r", "s"]
NUCLEI = ["a", "e", "i", "o", "u"]
CODAS = ["", "n", "r", "s"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def words() -> list[str]:
    """200 syllables, then 800 words of two."""
    syllables = [o + n + c for o in ONSETS for n in NUCLEI for c in CODAS]
    pairs = [a + b for a in syllables[::5] for b in syllables[2::10]]
    return syllables + pairs[:800]


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    names = ["<bos>", "<eos>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"<unused{i}>" for i in range(len(names), 1000)]
    names += ["Ġ" + word for word in words()]
    assert len(names) == len(set(names)) == 2000
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(names[:3])
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    _write(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **special,
            "model_max_length": 131072,
            "chat_template": TEMPLATE,
        },
    )
    _write(
        out / "config.json",
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "bos_token_id": 0,
            "eos_token_id": 1,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 128,
            "max_position_embeddings": 32768,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": 2000,
        },
    )
    _write(out / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1})


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
