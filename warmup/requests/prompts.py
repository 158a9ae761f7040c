"""Prompts of a wanted length that no cache has seen.

Token ids give an exact length without a tokenizer. Some servers take text only (the SGLang
router's /v1/completions); text comes out near the wanted length, corrected by what the server's
usage counts said before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# Printable characters and bytes in every tokenizer of use here, special tokens in none, and there
# even in a test model's vocabulary of a few hundred tokens.
TOKEN_IDS = (100, 250)

_WORDS = ("the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "with")
_SHARED_SEED = 20_250_601


@dataclass
class Prompts:
    """A source of prompts. ``cacheable`` gives all prompts of a length the same content."""

    cacheable: bool = False
    token_ids: tuple[int, int] = TOKEN_IDS
    text: bool = False
    tokens_per_word: float = 1.3
    """Estimate for text prompts; starts high, so that the first ones come out too short, not
    beyond the context."""
    _random: random.Random = field(default_factory=random.SystemRandom, repr=False)

    def make(self, tokens: int) -> list[int] | str:
        """A prompt of ``tokens`` tokens: ids, or text when only text is taken.

        Random from its first token on, so no prefix is shared beyond chance.
        """
        source = random.Random(_SHARED_SEED if self.cacheable else self._random.getrandbits(64))
        if not self.text:
            low, high = self.token_ids
            return [source.randrange(low, high) for _ in range(tokens)]
        words = max(1, round(tokens / self.tokens_per_word))
        # Digits take a token each at worst; they make the beginning unique.
        head = f"{source.randrange(10_000):04d}" if words > 8 else ""
        return " ".join([head, *source.choices(_WORDS, k=words)]).strip()

    def learn(self, prompt: list[int] | str, tokens: int | None) -> None:
        """Correct the estimate by the prompt tokens the server counted."""
        if isinstance(prompt, str) and tokens and (words := len(prompt.split())) >= 16:
            self.tokens_per_word = max(0.2, tokens / words)
