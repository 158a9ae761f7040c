"""What SGLang's command line accepts, per version, without SGLang.

One JSON file per version in ``data/``, made by ``tools/make_catalog.py`` from that version's own
``ServerArgs.add_cli_args``:

    {"version": "0.5.23",
     "stood_in": [module, …],          what was stood in for while it was read (see extract.py)
     "flags": [{"names": [canonical, alias, …],      long names without the leading dashes
                "type": "int" | "str" | "switch" | "onoff" | …,   default: a value follows
                "nargs": "+" | "*" | "?",            only where more or less than one value follows
                "choices": […], "default": …, "required": true,   only where there are any
                "dest": "…",                         only where it isn't the canonical name
                "deprecated": "--new-name=value" | "",  what the release itself says to use instead
                "inert": true,                       accepted, but without any effect
                "refused": true,                     known, but SGLang stops when it is given
                "short": ["-x"]}, …]}                one-letter names; no version has had any

A *switch* takes no value; an *onoff* has ``--x`` and ``--no-x``. Loading one catalogue takes
about 4 ms; nothing heavier than the standard library is imported.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.catalog.flags import CatalogError, Flag, Problem, bare, check_value
from launcher.catalog.renames import CARRY, RENAMES, Rename

__all__ = [
    "Catalog",
    "CatalogError",
    "Flag",
    "Problem",
    "installed_catalog",
    "load",
    "nearest_version",
    "versions",
]

_DATA = Path(__file__).parent / "data"
_EXTRACT = Path(__file__).parent / "extract.py"

# Seconds: importing SGLang takes 5 to 10 s, and over a minute from a cold network file system.
INSTALLED_TIMEOUT = 300.0


class Catalog:
    """The flags of one SGLang version."""

    def __init__(self, version: str, flags: Sequence[Flag], source: str = "") -> None:
        self.version = version
        self.flags = tuple(flags)
        # How messages name it.
        self.title = f"SGLang {version}" + (f" in {source}" if source else "")
        self._by_name = {name: flag for flag in self.flags for name in flag.names}
        try:
            self._place = _order(version)
        except CatalogError:
            # An SGLang installed from a checkout may have no version; take it for a new one.
            self._place = (10**6, 0, 0, 0, 0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "") -> Catalog:
        """A catalogue from extract.py's object. Raises CatalogError if it isn't one."""
        try:
            flags = [
                Flag(
                    **{
                        **f,
                        "names": tuple(f["names"]),
                        "choices": tuple(f.get("choices", ())),
                        "short": tuple(f.get("short", ())),
                    }
                )
                for f in data["flags"]
            ]
            return cls(str(data["version"]), flags, source)
        except (KeyError, TypeError) as error:
            raise CatalogError(f"not a catalogue of SGLang's flags: {error!r}") from error

    def __contains__(self, name: str) -> bool:
        return dashed(name) in self._by_name

    def flag(self, name: str) -> Flag | None:
        """The flag that `name` is, or that argparse would take it for; None if there is none.

        `name` may be dashed or underscored, an alias, or an unambiguous beginning.
        """
        name = dashed(name)
        if name in self._by_name:
            return self._by_name[name]
        # A name of another version that happens to begin a name of this one is not meant as that.
        if _history(name) or name in _RENAMES:
            return None
        candidates = self._beginning(name)
        return self._by_name[candidates[0]] if len(candidates) == 1 else None

    def canonical(self, name: str) -> str | None:
        """The dashed canonical long name: tp-size for tensor_parallel_size, tp-size and tp.

        None for a name that this version doesn't know, or that is short for several.
        """
        flag = self.flag(name)
        return flag.name if flag else None

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
        flag = self._by_name.get(name)
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
        candidates = self._beginning(name)
        if len(candidates) == 1:
            flag = self._by_name[candidates[0]]
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

    def _beginning(self, name: str) -> list[str]:
        """Names that argparse would take `name` for.

        Counted by name, not by flag: Python up to 3.12 calls two names of one flag ambiguous.
        """
        if not name:
            return []
        return sorted(n for n in self._by_name if n.startswith(name))

    def _unknown(self, key: str, name: str) -> Problem:
        near = self.nearest(name)
        if near:
            advice = "Did you mean " + " or ".join(near) + "?"
        else:
            advice = "Look for its name in `python -m sglang.launch_server --help` of this version"
        return Problem(key, "unknown", f"{self.title} has no such flag", advice)

    def nearest(self, name: str, most: int = 3) -> list[str]:
        """Up to `most` names most like `name`, the nearest first; one per flag."""
        import difflib

        name = dashed(name).lower()
        words = set(name.split("-"))
        scored = []
        for known, flag in self._by_name.items():
            score = difflib.SequenceMatcher(None, name, known).ratio()
            theirs = set(known.split("-"))
            # The same words in another order, or one too many, are as near as a typo.
            overlap = len(words & theirs) / len(words | theirs)
            if len(words & theirs) > 1:
                score = max(score, 0.6 + 0.35 * overlap if overlap >= 0.5 else 0.0)
            if score >= 0.72:
                scored.append((-score, known, flag.name))
        best = min((s for s, _, _ in scored), default=0.0)
        found: list[str] = []
        taken: set[str] = set()
        for score, known, canonical in sorted(scored):
            # Only what is about as near as the nearest.
            if canonical not in taken and score <= best + 0.08:
                taken.add(canonical)
                found.append(known)
        return found[:most]

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
        known = _history(name)
        older = [v for v in known if _order(v) < self._place]
        newer = [v for v in known if _order(v) > self._place]
        if name in _RENAMES and (older or not newer):
            advice = self._instead(name, value)
            message = f"{self.title} no longer has it"
            if advice and _RENAMES[name].becomes:
                return Problem(key, "renamed", message, advice)
            return Problem(key, "gone", message, advice or "Leave it out")
        if older:
            successor = self._said_to_use(name, older[-1])
            message = f"{self.title} no longer has it; {older[-1]} did"
            if successor:
                return Problem(key, "renamed", message, f"Use {successor}")
            near = [n for n in self.nearest(name) if n not in _all_names(older[-1])]
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
            rename = _RENAMES.get(name)
            if rename is None:
                return ""
            if not rename.becomes:
                return rename.note
            pairs = [(n, value if v is CARRY else v) for n, v in rename.becomes]
            if all(n in self._by_name for n, _ in pairs):
                return self._write(pairs, value)
            name, value = pairs[0]
        return ""

    def _write(self, pairs: Sequence[tuple[str, Any]], value: Any) -> str:
        if value is False:
            return "Leave it out: it is off by default"
        lines = []
        for name, new in pairs:
            flag = self._by_name[name]
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
        if name == "attn-dp-size" and "enable-dp-attention" in self._by_name:
            return f"Write dp-size: {bare(value)} and enable-dp-attention: true"
        for rename in RENAMES:
            old = self._by_name.get(rename.old)
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
        said = next((f.deprecated for f in load(version).flags if name in f.names), None) or ""
        found = re.match(r"--([\w-]+)", said)
        if found and found.group(1) in self._by_name:
            return said[2:].replace("=", ": ")
        return ""


_RENAMES: dict[str, Rename] = {r.old: r for r in RENAMES}


def dashed(name: str) -> str:
    """A flag's name without leading dashes, with dashes for underscores."""
    return name.strip().lstrip("-").replace("_", "-")


def versions() -> list[str]:
    """The SGLang versions there are catalogues of, oldest first."""
    return list(_versions())


@functools.cache
def _versions() -> tuple[str, ...]:
    return tuple(sorted((p.stem for p in _DATA.glob("*.json")), key=_order))


def _order(version: str) -> tuple[int, int, int, int, int]:
    """A version's place: release, then pre-release, release and post-release."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(.*)", version.strip())
    if not found:
        raise CatalogError(f"{version!r} is not a version of SGLang, such as 0.5.23")
    major, minor, patch = (int(n or 0) for n in found.groups()[:3])
    rest = found.group(4).split("+")[0]
    post = re.search(r"post(\d+)", rest)
    pre = re.search(r"(?:rc|a|b|dev)(\d*)", rest)
    return (major, minor, patch, -1 if pre and not post else 0, int(post.group(1)) if post else 0)


def nearest_version(version: str) -> str:
    """The version with a catalogue that is nearest to `version`; itself if it has one.

    Of two equally near it is the older one, whose flags a newer release mostly still has. Raises
    CatalogError for a text that is no version.
    """
    known = versions()
    if version in known:
        return version
    wanted = _order(version)
    series = [v for v in known if _order(v)[:2] == wanted[:2]]
    if not series:
        older = [v for v in known if _order(v) < wanted]
        return older[-1] if older else known[0]

    def distance(other: str) -> float:
        theirs = _order(other)
        return abs((wanted[2] + wanted[4] / 100) - (theirs[2] + theirs[4] / 100))

    return min(series, key=distance)  # the first, which is the older, of two equally near


@functools.cache
def load(version: str) -> Catalog:
    """The catalogue of exactly `version`.

    Raises CatalogError, naming the versions there are, if it has none; see nearest_version().
    """
    path = _DATA / f"{version}.json"
    if version not in versions():
        raise CatalogError(f"there is no catalogue of SGLang {version}'s flags, only of {', '.join(versions())}")
    return Catalog.from_json(json.loads(path.read_text(encoding="utf-8")))


@functools.cache
def _all_names(version: str) -> frozenset[str]:
    return frozenset(name for flag in load(version).flags for name in flag.names)


def _history(name: str) -> list[str]:
    """The versions that have a flag of exactly this name, oldest first."""
    return [v for v in versions() if name in _all_names(v)]


def installed_catalog(python: str, timeout: float = INSTALLED_TIMEOUT) -> Catalog:
    """The flags of the SGLang that the interpreter `python` imports.

    `python` is a path or a name on PATH; `timeout` is in seconds. Raises CatalogError, with the
    end of what that interpreter said, if it has no SGLang or can't be run.
    """
    import subprocess  # half as slow to import as all the rest of this module

    try:
        done = subprocess.run(
            [python, str(_EXTRACT)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise CatalogError(f"{python} can't be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CatalogError(f"{python} took more than {timeout:g} s to import SGLang") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise CatalogError(f"{python} can't tell SGLang's flags: {last}")
    try:
        data = json.loads(done.stdout)
    except ValueError as error:
        raise CatalogError(f"{python} printed something else than SGLang's flags") from error
    return Catalog.from_json(data, source=python)
