"""plan.json, read key by key: a value of another type than it should have is told with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

# a number, or `P+n`: n above the base of the job's block
Port = int | str
_PORT = re.compile(r"P\+\d{1,5}")
_T = TypeVar("_T")


class NotAPlan(ValueError):
    """In one sentence, what is wrong."""


@dataclass(frozen=True)
class JsonObject:
    """A JSON object and where it is in the plan, read key by key. Raises NotAPlan for a value of another type."""

    values: Any
    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise NotAPlan(f"this is not a plan of sgl-launch: {self.path or 'the whole'} is not an object")

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, kind: str) -> NotAPlan:
        state = f"is not {kind}" if key in self.values else "is missing"
        return NotAPlan(f"this is not a plan of sgl-launch: {self._at(key)} {state}")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self.values.get(key) is None else self.text(key)

    def number(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "a whole number")
        return value

    def port(self, key: str, word: str = "") -> Port:
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if not isinstance(value, str) or not (value == word or _PORT.fullmatch(value)):
            raise self.wrong(key, "a port")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def _all(self, key: str, kind: type[_T]) -> tuple[_T, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in value):
            raise self.wrong(key, "a list of " + ("texts" if kind is str else "whole numbers"))
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        return self._all(key, str)

    def numbers(self, key: str) -> tuple[int, ...]:
        return self._all(key, int)

    def mapping(self, key: str) -> dict[str, str]:
        value = self.values.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self.wrong(key, "an object of texts")
        return value

    def object(self, key: str, optional: bool = True) -> JsonObject:
        if not optional and key not in self.values:
            raise self.wrong(key, "an object")
        return JsonObject(self.values.get(key, {}), self._at(key))

    def objects(self, key: str, optional: bool = True) -> list[JsonObject]:
        value = self.values.get(key, [] if optional else None)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return [JsonObject(v, f"{self._at(key)}[{n}]") for n, v in enumerate(value)]

    def children(self) -> list[tuple[str, JsonObject]]:
        return [(key, JsonObject(value, self._at(key))) for key, value in self.values.items()]
