"""The flags of one worker, as every reader looks them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from launcher.catalog.releases import usual_names
from launcher.catalog.renames import ValueOf, renames


def dashed(name: str) -> str:
    """A flag's name without leading dashes, with dashes for underscores."""
    return name.strip().lstrip("-").replace("_", "-")


def usual_name(name: str) -> str:
    """The name that a flag has in most versions: tp-size for tensor_parallel_size, --tp-size and tp.

    What no version knows, or is short for several flags, stays itself, with dashes.
    """
    name = dashed(name)
    known = usual_names()
    if name in known or not name:
        return known.get(name, name)
    begun = {usual for full, usual in known.items() if full.startswith(name)}
    if len(begun) > 1:  # pp: SGLang had no other pp-... at first
        begun &= {f"{name}-size"}
    return begun.pop() if begun else name


class Flags(Mapping[str, Any]):
    """`args` of a role by the flags' usual names, whatever names the config has for them.

    A flag that was renamed is there under its old and its new names: cuda-graph-bs: 64 is cuda-graph-bs-decode: 64
    too, enable-deepep-moe: true is moe-a2a-backend: deepep. `doubles` are the flags that are given twice, each with
    the two keys.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        self._found: dict[str, tuple[Any, str]] = {}  # usual name -> value, and the key in `args`
        self.doubles: list[tuple[str, str, str]] = []
        for key, value in args.items():
            name = usual_name(key)
            if name in self._found:
                self.doubles.append((name, self._found[name][1], key))
            self._found.setdefault(name, (value, key))
        waiting = list(self._found)
        for name in waiting:  # grows
            value, key = self._found[name]
            rename = renames().get(name)
            if rename is None or value is None or value is False:
                continue
            for new, its in rename.pairs(value, self):
                # null leaves a flag out, as a config does on top of another
                if its is not None and not isinstance(its, ValueOf) and self.get(new) is None:
                    self._found[new] = (its, key)
                    waiting.append(new)

    def __getitem__(self, name: str) -> Any:
        return self._found[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def written(self, name: str) -> str:
        """The key of `args` that the flag's value comes from; the name itself if it is not given."""
        return self._found[name][1] if name in self._found else name

    def on(self, name: str) -> bool:
        return self.get(name) is True

    def number(self, name: str, default: int = 1) -> int:
        """A whole number above 0; the default for anything else."""
        value = self.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default

    @property
    def attention_groups(self) -> int:
        """Groups of data-parallel attention: attn-dp-size, or dp-size with enable-dp-attention; 1 without."""
        return self.number("attn-dp-size")

    @property
    def gpus(self) -> int:
        """GPUs of one worker: with data-parallel attention the replicas share a tp group."""
        replicas = 1 if self.on("enable-dp-attention") else self.number("dp-size")
        return self.number("tp-size") * self.number("pp-size") * replicas
