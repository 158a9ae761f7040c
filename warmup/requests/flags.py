"""SGLang's flags under every name they have had, for the few that the sweep's sizes need.

The table is small on purpose: it must stand where nothing but this package is at hand. Names are
those of SGLang 0.4.6 to 0.5.23 (``ServerArgs.add_cli_args`` of the wheels), with - for _.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES: dict[str, tuple[str, ...]] = {
    "dp-size": ("dp-size", "data-parallel-size", "dp"),
    "attn-dp-size": ("attn-dp-size", "attention-data-parallel-size", "attn-dp"),
    "enable-dp-attention": ("enable-dp-attention",),
    "chunked-prefill-size": ("chunked-prefill-size",),
    "max-running-requests": ("max-running-requests",),
    # Since 0.5.14 the phases have flags of their own; these are decode's.
    "cuda-graph-bs": ("cuda-graph-bs-decode", "cuda-graph-bs"),
    "cuda-graph-max-bs": ("cuda-graph-max-bs-decode", "cuda-graph-max-bs"),
    "cuda-graph-config": ("cuda-graph-config",),
    "context-length": ("context-length", "max-model-len"),
    "max-total-tokens": ("max-total-tokens", "max-total-num-tokens"),
    "page-size": ("page-size",),
    "disable-radix-cache": ("disable-radix-cache",),
}
"""Canonical name to the names in use, the newest first."""


class Flags:
    """One role's flags, read by canonical name. A value that is not of its kind counts as unset:
    SGLang judges flags, not we."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self._args = {str(k).lstrip("-").replace("_", "-"): v for k, v in args.items()}

    def value(self, name: str) -> Any:
        """The value under any of the flag's names; None where it is not set."""
        found = (self._args[n] for n in NAMES[name] if self._args.get(n) is not None)
        return next(found, None)

    def number(self, name: str) -> int | None:
        """A count of 1 or more."""
        return positive(self.value(name))

    def switch(self, name: str) -> bool | None:
        """Whether a switch is on; None where it is not set."""
        value = self.value(name)
        return None if value is None else str(value).lower() not in ("false", "0", "no", "off")

    @property
    def graph_batches(self) -> tuple[int, ...]:
        """Batch sizes of decode's CUDA graphs, as far as the flags list them; for each rank."""
        return positives(self.value("cuda-graph-bs")) or positives(self._graphs_of_decode("bs"))

    @property
    def largest_graph(self) -> int | None:
        """The largest batch of decode's CUDA graphs; for each rank."""
        return self.number("cuda-graph-max-bs") or positive(self._graphs_of_decode("max-bs"))

    @property
    def attention_ranks(self) -> int:
        """Ranks of data-parallel attention; 1 without it. Since 0.5.22 one flag says it, before
        that it was a switch together with dp-size."""
        if self.switch("enable-dp-attention"):
            return self.number("dp-size") or self.number("attn-dp-size") or 1
        return self.number("attn-dp-size") or 1

    def _graphs_of_decode(self, key: str) -> Any:
        config = self.value("cuda-graph-config")
        decode = config.get("decode") if isinstance(config, Mapping) else None
        if not isinstance(decode, Mapping):
            return None
        return {str(k).replace("_", "-"): v for k, v in decode.items()}.get(key)


def positive(value: Any) -> int | None:
    """A whole number of 1 or more, or None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number > 0 else None


def positives(value: Any) -> tuple[int, ...]:
    """The whole numbers of 1 or more in a list, in a text like ``1 2 4``, or of a single number;
    sorted, each once."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if isinstance(value, (int, float)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return ()
    return tuple(sorted({n for n in map(positive, value) if n is not None}))
