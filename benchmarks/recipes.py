#!/usr/bin/env python3
"""Does check judge the flags of recipes as SGLang itself does? Needs an environment that imports SGLang, and wheels.

    benchmarks/recipes.py --python .venv-sglang/bin/python --wheels FOLDER RECIPE|FOLDER ... [--release 0.5.16 ...]

Each recipe (all of its variants) is converted for each release, and each flag of its roles is parsed by the ServerArgs
of that release's own wheel: what check calls an error though it is taken is a wrong error, what is refused though check
says nothing is a missed one. So are the recipe's flags as they were written, without conversion. Exit status 1 for
either. Missing wheels are downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from click.testing import CliRunner  # noqa: E402
from make_catalog import fetch_wheel  # noqa: E402

from launcher.catalog.catalog import load  # noqa: E402
from launcher.catalog.releases import CatalogError, nearest_version, versions  # noqa: E402
from launcher.commands.convert import command  # noqa: E402
from launcher.engines.base import flag_words  # noqa: E402

ROLES = ("prefill", "decode", "aggregated", "agg")
ASK = ROOT / "tools" / "ask_argparse.py"


@dataclass
class Row:
    """One release: how many recipes and flags, and what was judged otherwise than by SGLang."""

    recipes: int = 0
    own: int = 0  # recipes whose image has this release
    flags: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def convert(recipe: Path, release: str | None, folder: Path) -> list[dict[str, Any]]:
    """The configs of all variants; [] for a file that is no SGLang recipe."""
    out = Path(tempfile.mkdtemp(dir=folder))
    for every in (["--all"], []):  # a file of one recipe is written to a file
        where = out if every else out / "one.yaml"
        words = [str(recipe), *every, "-o", str(where), *(["--sglang", release] if release else [])]
        CliRunner().invoke(command, words)
        if any(out.glob("*.yaml")):
            break
    found = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*.yaml"))]
    return [one for one in found if isinstance(one, dict)]


def release_of(config: dict[str, Any]) -> str:
    """The release that a config's flags are for; of a nightly image the one before its day."""
    version = str(config.get("sglang_version") or "")
    return nearest_version(version) if version else ""


def roles(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for role in ROLES:
        args = (config.get(role) or {}).get("args")
        if isinstance(args, dict):
            yield args


def written(content: Any) -> Iterator[dict[str, Any]]:
    """The mappings of flags in a recipe as it was written: those under sglang_config, and roles' args. A list below
    zip_override_... has a value for each variant."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key.startswith("zip_override_"):
                listed = [(k, v) for args in written(value) for k, v in args.items()]
                yield from ({k: one} for k, v in listed for one in (v if isinstance(v, list) else [v]))
            elif key == "sglang_config" and isinstance(value, dict):
                yield from (one for one in value.values() if isinstance(one, dict))
            elif key == "args" and isinstance(value, dict):
                yield value
            else:
                yield from written(value)
    elif isinstance(content, list):
        for one in content:
            yield from written(one)


def ask(python: str, wheel: Path, lines: list[list[str]]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="recipes-") as root:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root)
        words = [python, str(ASK), str(ROOT / "launcher" / "catalog"), root]
        done = subprocess.run(words, input=json.dumps(lines), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{wheel.name}: {done.stderr[-1500:]}")
    answers: list[str] = json.loads(done.stdout)
    return answers


def judge(release: str, flags: list[dict[str, Any]], python: str, wheel: Path, row: Row) -> None:
    """Each flag by itself, by check and by SGLang."""
    catalog = load(release)
    single = {json.dumps(one, sort_keys=True): one for args in flags for k, v in args.items() for one in ({k: v},)}
    single = {key: one for key, one in single.items() if flag_words(normal(one))}
    answers = ask(python, wheel, [list(map(str, flag_words(normal(one)))) for one in single.values()])
    row.flags = len(single)
    for one, answer in zip(single.values(), answers, strict=True):
        errors = [p for p in catalog.check(normal(one)) if p.is_error and p.kind != "ignored"]
        row.refused += bool(answer)
        if errors and not answer:
            row.wrong.append(f"{one}: {errors[0]}")
        elif answer and not errors:
            row.missed.append(f"{one}: {answer}")


def normal(args: dict[str, Any]) -> dict[str, Any]:
    return {str(key).lstrip("-").replace("_", "-"): value for key, value in args.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--python", required=True)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--release", nargs="+", default=[])
    options = parser.parse_args()
    files = [f for given in options.recipes for f in (sorted(given.rglob("*.yaml")) if given.is_dir() else [given])]
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory(prefix="recipes-") as name:
        folder = Path(name)
        own = {file: [release_of(c) for c in convert(file, None, folder)] for file in files}
        wanted = {v for found in own.values() for v in found if v in versions()} | set(options.release)
        print("| SGLang | recipes, of its image | flags | refused by it | wrong errors | missed |")
        print("| --- | --- | --- | --- | --- | --- |")
        for release in sorted(wanted, key=versions().index):
            row = rows.setdefault(release, Row())
            flags: list[dict[str, Any]] = []
            for file in files:
                configs = convert(file, release, folder)
                row.recipes += len(configs)
                row.own += own[file].count(release)
                flags += [args for config in configs for args in roles(config)]
                flags += [a for content in yaml.safe_load_all(file.read_text("utf-8")) for a in written(content)]
            try:
                judge(release, flags, options.python, fetch_wheel(release, options.wheels), row)
            except (RuntimeError, CatalogError) as error:
                print(f"| {release} | {error} |")
                continue
            counts = f"{row.recipes}, {row.own} | {row.flags} | {row.refused} | {len(row.wrong)} | {len(row.missed)}"
            print(f"| {release} | {counts} |", flush=True)
    for release, row in rows.items():
        for what, several in (("wrong", row.wrong), ("missed", row.missed)):
            for one in several:
                print(f"{release} {what}: {one}", file=sys.stderr)
    return 1 if any(row.wrong or row.missed for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
