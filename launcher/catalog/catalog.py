"""What there is to say about flags that are given to one SGLang version, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.catalog.flags import CatalogError, Flag, Problem, bare, check_value
from launcher.catalog.lookup import BY_OLD_NAME, Lookup, all_names, dashed, flags_from, flags_of, history
from launcher.catalog.releases import order
from launcher.catalog.renames import CARRY, RENAMES


class Catalog(Lookup):
    """The flags of one SGLang version, and its judgement of arguments."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "") -> Catalog:
        """A catalogue from extract.py's object. Raises CatalogError if it isn't one."""
        flags = flags_from(data)
        if "version" not in data:
            raise CatalogError("not a catalogue of SGLang's flags: it names no version")
        return cls(str(data["version"]), flags, source)

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
            found = self._check_one(key, value, args)
            flag = self.flag(key)
            if flag is not None:
                if flag.name in seen:
                    found.append(
                        Problem(
                            key,
                            "twice",
                            f"it is the same flag as {seen[flag.name]}, which is set too",
                            f"Keep one of them; its usual name is {flag.name}",
                        )
                    )
                seen.setdefault(flag.name, key)
            problems += found
        return problems

    def _check_one(self, key: str, value: Any, args: Mapping[str, Any]) -> list[Problem]:
        name = dashed(key)
        flag = self.by_name.get(name)
        if key.startswith("-"):
            message = "flags are written without the leading dashes"
            return [Problem(key, "unknown", message, f"Write {name}")]
        if flag is not None:
            state = self._check_state(key, flag, value, args)
            if state is not None and state.is_error:
                return [state]  # its value no longer matters
            bad = check_value(flag, key, value)
            return [p for p in (state, bad) if p]
        other = self._other_version(key, name, value, args)
        if other is not None:
            return [other]
        candidates = self.beginning(name)
        if len(candidates) == 1:
            flag = self.by_name[candidates[0]]
            short = Problem(
                key,
                "abbreviated",
                f"it is short for {candidates[0]}",
                f"Write {candidates[0]}: a later version may have other flags that begin so",
            )
            bad = check_value(flag, key, value)
            return [short, bad] if bad else [short]
        if candidates:
            shown = ", ".join(candidates[:6])
            if len(candidates) > 6:
                shown += f" and {len(candidates) - 6} more"
            return [Problem(key, "ambiguous", f"it is short for {shown}", "Write the whole name")]
        return [self._unknown(key, name)]

    def _unknown(self, key: str, name: str) -> Problem:
        near = self.nearest(name)
        if near:
            advice = "Did you mean " + " or ".join(near) + "?"
        else:
            advice = "Look for its name in `python -m sglang.launch_server --help` of this version"
        return Problem(key, "unknown", f"{self.title} has no such flag", advice)

    def _check_state(self, key: str, flag: Flag, value: Any, args: Mapping[str, Any]) -> Problem | None:
        if flag.deprecated is None or (flag.is_switch and value is False):
            return None
        if flag.name == "enable-dp-attention":
            advice = self._dp_attention(args)
        else:
            advice = self._instead(flag.name, value)
        if not advice and flag.deprecated:
            advice = "Use " + re.sub(r"--", "", flag.deprecated).replace("=", ": ")
        if flag.refused:
            message = f"{self.title} knows it but refuses to start with it"
            return Problem(key, "gone", message, advice or "Leave it out")
        if flag.inert:
            message = f"{self.title} accepts it and then ignores it"
            return Problem(key, "ignored", message, advice or "Leave it out")
        message = f"{self.title} still accepts it, but a later version will not"
        return Problem(key, "deprecated", message, advice or "Leave it out")

    def _other_version(self, key: str, name: str, value: Any, args: Mapping[str, Any]) -> Problem | None:
        """What other versions tell about a name that this one lacks; None if nothing."""
        known = history(name)
        older = [v for v in known if order(v) < self.place]
        newer = [v for v in known if order(v) > self.place]
        if name in BY_OLD_NAME and (older or not newer):
            advice = self._instead(name, value)
            message = f"{self.title} no longer has it"
            if advice and BY_OLD_NAME[name].becomes:
                return Problem(key, "renamed", message, advice)
            return Problem(key, "gone", message, advice or "Leave it out")
        if older:
            successor = self._said_to_use(name, older[-1])
            message = f"{self.title} no longer has it; {older[-1]} did"
            if successor:
                return Problem(key, "renamed", message, f"Use {successor}")
            near = [n for n in self.nearest(name) if n not in all_names(older[-1])]
            advice = "Leave it out" + (f", or see {' or '.join(near)}" if near else "")
            return Problem(key, "gone", message, advice)
        if newer:
            message = f"{self.title} does not have it yet; {newer[0]} does"
            advice = self._before(name, value) or f"Leave it out, or use SGLang {newer[0]} or later"
            return Problem(key, "later", message, advice)
        return None

    def _instead(self, name: str, value: Any) -> str:
        """What to write in place of a flag of RENAMES, followed until this version knows it."""
        for _ in range(len(RENAMES)):
            rename = BY_OLD_NAME.get(name)
            if rename is None:
                return ""
            if not rename.becomes:
                return rename.note
            pairs = [(n, value if v is CARRY else v) for n, v in rename.becomes]
            if all(n in self.by_name for n, _ in pairs):
                return self._write(pairs, value)
            name, value = pairs[0]
        return ""

    def _write(self, pairs: Sequence[tuple[str, Any]], value: Any) -> str:
        if value is False:
            return "Leave it out: it is off by default"
        lines = []
        for name, new in pairs:
            flag = self.by_name[name]
            if isinstance(new, bool) and not flag.is_switch:
                new = None
            if new is None or check_value(flag, name, new) is not None:
                choices = ", ".join(bare(c) for c in flag.choices)
                lines.append(name + (f" with one of {choices}" if choices else ""))
            else:
                lines.append(f"{name}: {bare(new).lower() if new is True else bare(new)}")
        return "Write " + " and ".join(lines)

    def _before(self, name: str, value: Any) -> str:
        """What this version called a flag that was renamed later."""
        if name == "attn-dp-size" and "enable-dp-attention" in self.by_name:
            return f"Write dp-size: {bare(value)} and enable-dp-attention: true"
        for rename in RENAMES:
            old = self.by_name.get(rename.old)
            if old is None or len(rename.becomes) != 1:
                continue
            new, fixed = rename.becomes[0]
            if new == name and (fixed is CARRY or fixed == value):
                return self._write([(old.name, True if old.is_switch else value)], True)
        return ""

    def _dp_attention(self, args: Mapping[str, Any]) -> str:
        # SGLang moves dp-size to attn-dp-size when it sees the old switch; dp-size then counts
        # replicas, each with GPUs of its own.
        size = next((v for k, v in args.items() if self.canonical(str(k)) == "dp-size"), None)
        if size is None:
            return "Write attn-dp-size with the number of attention groups, and no dp-size"
        return f"Write attn-dp-size: {bare(size)} in place of it and of dp-size"

    def _said_to_use(self, name: str, version: str) -> str:
        """The successor that an earlier version's own help names, if this version has it."""
        said = next((f.deprecated for f in flags_of(version) if name in f.names), None) or ""
        found = re.match(r"--([\w-]+)", said)
        if found and found.group(1) in self.by_name:
            return said[2:].replace("=", ": ")
        return ""
