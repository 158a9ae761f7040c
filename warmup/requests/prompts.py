"""Prompts of a wanted length in plain words, as users send them, that no cache has seen.

A tokenizer is not at hand, so the length is steered by what the server counts: all words have
three letters and are among the commonest of English, so that each takes the same number of tokens
whatever the vocabulary: one in those of DeepSeek-V3, Qwen and Mistral (checked, all words), four in
one of single bytes. From the second request on, prompts are as long as asked. Text is whole
characters in every vocabulary; token ids at random are not, and a server may fail at them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

WORDS = tuple(
    "the and for are but not you all any can had her was one our out day get has him his how man new "
    "now old see two way who did its let put say she too use own may end far few got yet off set top "
    "run six ten big low car air art bad bed box boy buy cut dog eye fit fly food".split()[:-1]
)
HEAD = 8
"""Words at the beginning drawn for each prompt: 66 ** 8 beginnings, so no prefix is shared but for
a word or two by chance. What follows is cut out of a text made once, since a prompt of 32,768 words
takes 15 ms to draw."""
STOCK = 65_536
_SHARED_SEED = 20_250_601


@dataclass(frozen=True)
class Prompt:
    """A text of ``words`` words and, where words are no whole number of tokens short of the
    length, ``letters`` more letters."""

    text: str
    words: int
    letters: int = 0


@dataclass
class Prompts:
    """A source of prompts. ``cacheable`` gives all prompts of a length the same content."""

    cacheable: bool = False
    tokens_per_word: float = 1.0
    tokens_before: float = 0.0
    """Tokens that a prompt has besides its words, such as one for its beginning."""
    _random: random.Random = field(default_factory=random.SystemRandom, repr=False)
    _counted: dict[int, int] = field(default_factory=dict, repr=False)
    _stock: str = field(default="", repr=False)
    _shared: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.cacheable:
            self._random = random.Random(_SHARED_SEED)

    def make(self, tokens: int, cached: int = 0) -> Prompt:
        """A prompt of ``tokens`` tokens, of which the first ``cached`` are the same each time."""
        words, letters = self._words(tokens)
        if self.cacheable:
            return self._prompt(self._shared_text(words), words, letters)
        if not cached:
            return self._prompt(self._text(words), words, letters)
        same = min(math.ceil((cached - self.tokens_before) / self.tokens_per_word), words - 1)
        if same < 1:
            return self._prompt(self._text(words), words, letters)
        return self._prompt(f"{self._shared_text(same)} {self._text(words - same)}", words, letters)

    def learn(self, prompt: Prompt, tokens: int | None) -> None:
        """Correct the estimate by the prompt tokens that the server counted."""
        if not tokens or tokens <= prompt.letters:
            return
        self._counted[prompt.words] = tokens - prompt.letters
        few, many = min(self._counted), max(self._counted)
        if few < many:
            rise = (self._counted[many] - self._counted[few]) / (many - few)
        else:
            # One length alone: a few tokens more than words are the beginning's.
            rise = 1.0 if 0 <= tokens - prompt.letters - few <= 2 else self._counted[few] / few
        if rise > 0:
            self.tokens_per_word = rise
            self.tokens_before = self._counted[few] - rise * few

    @property
    def learned(self) -> bool:
        """Whether the server has counted a prompt yet."""
        return bool(self._counted)

    def _words(self, tokens: int) -> tuple[int, int]:
        exact = (tokens - self.tokens_before) / self.tokens_per_word
        words = max(1, math.floor(exact + 1e-6))
        left = tokens - self.tokens_before - words * self.tokens_per_word
        # Only a vocabulary of single bytes gets here, in which a letter is a token.
        return words, max(0, round(left)) if self.tokens_per_word >= 2 else 0

    @staticmethod
    def _prompt(text: str, words: int, letters: int) -> Prompt:
        return Prompt(text + "s" * letters, words, letters)

    def _text(self, words: int) -> str:
        head = " ".join(self._random.choices(WORDS, k=min(words, HEAD)))
        return head if words <= HEAD else f"{head} {self._cut(words - HEAD)}"

    def _shared_text(self, words: int) -> str:
        """The same words in every call, and in every call for fewer."""
        if len(self._shared) < 4 * words:
            self._shared += f"{self._text(max(words, STOCK // 8))} "
        return self._shared[: 4 * words - 1]

    def _cut(self, words: int) -> str:
        if len(self._stock) < 4 * 2 * words:
            quick = random.Random(self._random.getrandbits(64))
            self._stock = " ".join(quick.choices(WORDS, k=max(STOCK, 2 * words)))
        # Every word and its space are four characters.
        start = 4 * self._random.randrange(len(self._stock) // 4 - words)
        return self._stock[start : start + 4 * words - 1]
