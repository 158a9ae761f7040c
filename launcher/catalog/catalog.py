"""What there is to say about flags that are given to one version of a program, and what to write instead."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.catalog.flags import Flag, Problem, flags_of
from launcher.catalog.given import Flags, dashed
from launcher.catalog.releases import SGLANG, CatalogError, Program, order
from launcher.catalog.renames import Rename, ValueOf, renames
from launcher.catalog.values import bare, check_value


@dataclass(frozen=True)
class Instead:
    """What to write in place of a flag: `pairs` of names and values, or else `note` says what to do. The flags
    `gone` go with it."""

    pairs: tuple[tuple[str, Any], ...] = ()
    gone: str = ""
    note: str = ""


class Catalog:
    """The flags of one version, found by whatever name argparse would take for them."""

    def __init__(self, version: str, flags: Sequence[Flag], source: str = "", program: Program = SGLANG) -> None:
        self.version = version
        self.program = program
        self.flags = tuple(flags)
        # How messages name it.
        self.title = f"{program.title} {version}" + (f" in {source}" if source else "")
        self.renames: Mapping[str, Rename] = renames() if program is SGLANG else {}
        self.by_name = {name: flag for flag in self.flags for name in flag.names}
        try:
            self.place = order(version)
        except CatalogError:
            # An SGLang installed from a checkout may have no version; take it for a new one.
            self.place = (10**6, 0, 0, 0, 0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "") -> Catalog:
        """A catalogue from extract.py's object. Raises CatalogError if it isn't one."""
        try:
            return cls(str(data["version"]), [Flag.from_json(row) for row in data["flags"]], source)
        except (KeyError, TypeError, AttributeError) as error:
            raise CatalogError(f"not a catalogue of SGLang's flags: {error!r}") from error

    def __contains__(self, name: str) -> bool:
        return dashed(name) in self.by_name

    def flag(self, name: str) -> Flag | None:
        """The flag that `name` is, or that argparse would take it for; None if there is none.

        `name` may be dashed or underscored, an alias, or an unambiguous beginning.
        """
        name = dashed(name)
        if name in self.by_name:
            return self.by_name[name]
        # A name of another version that happens to begin a name of this one is not meant as that.
        if self.program.history(name) or name in self.renames:
            return None
        candidates = self.beginning(name)
        return self.by_name[candidates[0]] if len(candidates) == 1 else None

    def canonical(self, name: str) -> str | None:
        """The dashed canonical long name: tp-size for tensor_parallel_size, tp-size and tp.

        None for a name that this version doesn't know, or that is short for several.
        """
        flag = self.flag(name)
        return flag.name if flag else None

    def beginning(self, name: str) -> list[str]:
        """Names that argparse would take `name` for.

        Counted by name, not by flag: Python up to 3.12 calls two names of one flag ambiguous.
        """
        return sorted(n for n in self.by_name if name and n.startswith(name))

    def nearest(self, name: str, most: int = 3) -> list[str]:
        """Up to `most` names most like `name`, the nearest first; one per flag."""
        import difflib

        name = dashed(name).lower()
        words = set(name.split("-"))
        scored = []
        for known, flag in self.by_name.items():
            score = difflib.SequenceMatcher(None, name, known).ratio()
            theirs = set(known.split("-"))
            # The same words in another order, or one too many, are as near as a typo.
            overlap = len(words & theirs) / len(words | theirs)
            if len(words & theirs) > 1 and overlap >= 0.5:
                score = max(score, 0.6 + 0.35 * overlap)
            if score >= 0.72:
                scored.append((-score, known, flag.name))
        scored.sort()
        best = scored[0][0] if scored else 0.0
        # Only what is about as near as the nearest.
        found = {flag: known for score, known, flag in reversed(scored) if score <= best + 0.08}
        return sorted(found.values(), key=[known for _, known, _ in scored].index)[:most]

    def instead(self, name: str, value: Any, args: Mapping[str, Any]) -> Instead:
        """What this version has in place of a flag that is among `args`; nothing where nobody knows.

        Renames are followed until this version has all the names, and not as deprecated ones if it can be helped.
        """
        given = Flags(args)
        pairs, gone = [(self.canonical(name) or dashed(name), value)], ""
        for _ in self.renames:
            old = {n: self.renames[n] for n, _ in pairs if not self._is_current(n) and n in self.renames}
            if not old:
                break
            if value is False:
                return Instead(note="Leave it out: it is off by default")
            if note := next((r.note for r in old.values() if not r.becomes), ""):
                return Instead(note=note)
            gone = next((r.moved for r in old.values() if r.moved), gone)
            pairs = [new for n, v in pairs for new in (old[n].pairs(v, given) if n in old else [(n, v)])]
        if all(n in self.by_name for n, _ in pairs) and pairs[0][0] != dashed(name):
            return Instead(tuple(pairs), gone)
        return self._before(dashed(name), value)

    def _is_current(self, name: str) -> bool:
        return name in self.by_name and self.by_name[name].deprecated is None

    def _before(self, name: str, value: Any) -> Instead:
        """What this version called a flag that was renamed later."""
        for old in (r for r in self.renames.values() if name in r.becomes and len(r.becomes) == 1):
            how = old.becomes[name]
            switch = isinstance(how, dict) or (how is not None and how == value)
            if (how is None or switch) and old.old in self.by_name and name not in self.by_name:
                more = ((old.moved, value),) if old.moved else ()
                return Instead((*more, (old.old, True if switch else value)))
        return Instead()

    def check(self, args: Mapping[str, Any]) -> list[Problem]:
        """Everything there is to say about `args`, in their order.

        Keys are flag names without the leading dashes, dashed or underscored. Values are what
        YAML gives: str, int, float, bool, a list where several values follow, a mapping where
        SGLang wants JSON. Missing flags are not reported: the launcher gives out some itself.
        """
        problems: list[Problem] = []
        seen: dict[str, str] = {}
        for key, value in args.items():
            key = str(key)
            problems += self._check_one(key, value, args)
            name = self.canonical(key)
            if name in seen:
                message = f"it is the same flag as {seen[name]}, which is set too"
                advice = f"Keep one of them; its usual name is {name}"
                problems.append(Problem(key, "twice", message, advice))
            elif name is not None:
                seen[name] = key
        return problems

    def _check_one(self, key: str, value: Any, args: Mapping[str, Any]) -> list[Problem]:
        name = dashed(key)
        if key.startswith("-"):
            return [Problem(key, "unknown", "flags are written without the leading dashes", f"Write {name}")]
        said: Problem | None
        if name in self.by_name:
            said = self._check_state(key, self.by_name[name], value, args)
            if said is not None and said.is_error:
                return [said]  # its value no longer matters
            return [p for p in (said, check_value(self.by_name[name], key, value)) if p]
        if said := self._other_version(key, name, value, args):
            return [said]
        candidates = self.beginning(name)
        if len(candidates) == 1:
            advice = f"Write {candidates[0]}: a later version may have other flags that begin so"
            said = Problem(key, "abbreviated", f"it is short for {candidates[0]}", advice)
            bad = check_value(self.by_name[candidates[0]], key, value)
            return [said, bad] if bad else [said]
        if candidates:
            more = f" and {len(candidates) - 6} more" if len(candidates) > 6 else ""
            shown = ", ".join(candidates[:6]) + more
            return [Problem(key, "ambiguous", f"it is short for {shown}", "Write the whole name")]
        advice = f"Look for its name in `{self.program.command} --help` of this version"
        if near := self.nearest(name):
            advice = "Did you mean " + " or ".join(near) + "?"
        return [Problem(key, "unknown", f"{self.title} has no such flag", advice)]

    def _check_state(self, key: str, flag: Flag, value: Any, args: Mapping[str, Any]) -> Problem | None:
        if flag.deprecated is None or (flag.is_switch and value is False):
            return None
        advice = self._advice(self.instead(key, value, args))
        if not advice:
            said = flag.deprecated.replace("--", "").replace("=", ": ")
            advice = f"Use {said}" if said else "Leave it out"
        if flag.refused:
            return Problem(key, "gone", f"{self.title} knows it but refuses to start with it", advice)
        if flag.inert:
            return Problem(key, "ignored", f"{self.title} accepts it and then ignores it", advice)
        return Problem(key, "deprecated", f"{self.title} still accepts it, but a later version will not", advice)

    def _other_version(self, key: str, name: str, value: Any, args: Mapping[str, Any]) -> Problem | None:
        """What other versions tell about a name that this one lacks; None if nothing."""
        known = self.program.history(name)
        older = [v for v in known if order(v) < self.place]
        newer = [v for v in known if order(v) > self.place]
        instead = self.instead(name, value, args)
        if name in self.renames and (older or not newer):
            kind = "renamed" if self.renames[name].becomes and self._advice(instead) else "gone"
            return Problem(key, kind, f"{self.title} no longer has this flag", self._advice(instead) or "Leave it out")  # type: ignore[arg-type]
        if older:
            message = f"{self.title} no longer has this flag ({older[-1]} had it)"
            if successor := self._said_to_use(name, older[-1]):
                return Problem(key, "renamed", message, f"Use {successor}")
            near = [n for n in self.nearest(name) if older[-1] not in self.program.history(n)]
            return Problem(key, "gone", message, "Leave it out" + (f", or see {' or '.join(near)}" if near else ""))
        if newer:
            message = f"{self.title} does not have this flag yet ({newer[0]} does)"
            advice = self._advice(instead) or f"Leave it out, or use {self.program.title} {newer[0]} or later"
            return Problem(key, "later", message, advice)
        return None

    def _advice(self, instead: Instead) -> str:
        lines = []
        for name, value in instead.pairs:
            flag = self.by_name[name]
            if isinstance(value, bool) and not flag.is_switch:
                value = None
            if isinstance(value, ValueOf):
                lines.append(f"{name} with the value of {value}")
            elif value is None or check_value(flag, name, value) is not None:
                choices = ", ".join(bare(c) for c in flag.choices)
                lines.append(name + (f" with one of {choices}" if choices else ""))
            else:
                lines.append(f"{name}: {bare(value).lower() if value is True else bare(value)}")
        beside = f" in place of it and of {instead.gone}" if instead.gone else ""
        return "Write " + " and ".join(lines) + beside if lines else instead.note

    def _said_to_use(self, name: str, version: str) -> str:
        """The successor that an earlier version's own help names, if this version has it."""
        said = next((f.deprecated for f in flags_of(version, self.program) if name in f.names), None) or ""
        found = re.match(r"--([\w-]+)", said)
        return said[2:].replace("=", ": ") if found and found.group(1) in self.by_name else ""


@functools.cache
def load(version: str, program: Program = SGLANG) -> Catalog:
    """The catalogue of exactly `version`.

    Raises CatalogError, naming the versions there are, if it has none; see Program.neighbours.
    """
    return Catalog(version, flags_of(version, program), program=program)
