#!/usr/bin/env python3
"""Make or refresh the catalogues of flags in launcher/catalog/data: SGLang's in flags.json, others in dynamo.json.

    tools/make_catalog.py --python /opt/sglang/bin/python 0.5.23 0.5.16    write them
    tools/make_catalog.py --python .venv/bin/python ai-dynamo==1.6.1 sglang-router==0.3.2 smg==1.13.0
    tools/make_catalog.py --python … --check 0.5.23     compare only; status 1 if one differs
    tools/make_catalog.py --diff 0.5.8 0.5.16           flags gained and lost

Each version's wheel is downloaded with ``pip download --no-deps`` (or taken from
``--wheels DIR``), unpacked into a temporary folder and imported from there by the
interpreter named with ``--python``, which must be able to import *some* SGLang:
one environment with the dependencies of a recent SGLang serves all versions, as
only ``sglang.srt.server_args`` is imported. A wheel of 0.5.12 or later is built
for one Python version, so run this with the same minor version as ``--python``.

The flags of Dynamo and of the routers are read by tools/program_flags.py from their wheels.

What that environment lacks, or has in another version, is stood in for while the
old version is imported; SGLang's own modules never are. See
launcher/catalog/extract.py, which does the reading. What was stood in for is
kept in the catalogue under "stood_in"; so far it has been torchvision (its CUDA
build does not load beside a CPU build of torch) and, for 0.4.6, three functions
of triton.runtime.cache. Neither has a part in any flag.

The file has a line for each form that a flag has had, so that a refresh is readable
as a diff. Its form is documented in launcher/catalog/releases.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXTRACT = ROOT / "launcher" / "catalog" / "extract.py"
sys.path.insert(0, str(ROOT))

from launcher.catalog.releases import DATA, DYNAMO, order, rows  # noqa: E402

# package -> the programs in it, and the packages that it needs beside it, of the same version
PROGRAMS = {
    "ai-dynamo": (("worker", "frontend", "mocker", "router"), ("ai-dynamo-runtime",)),
    "sglang-router": (("sglang-router",), ()),
    "smg": (("smg",), ()),
}

# Seconds: an import takes 5 to 10 s, more on a cold disk or a busy machine.
EXTRACT_TIMEOUT = 300


def fetch_wheel(version: str, wheels: Path, package: str = "sglang") -> Path:
    """The wheel of `version` in `wheels`, downloaded there when it is missing.

    Raises RuntimeError when pip finds no such version.
    """
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    for wheel in wheels.glob(pattern):
        return wheel
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*pip, "-d", str(wheels), f"{package}=={version}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for wheel in wheels.glob(pattern):
        return wheel
    raise RuntimeError(f"pip found no wheel of {package} {version}:\n{done.stdout.strip()}")


def read_wheel(python: str, version: str, wheels: Path) -> dict[str, Any]:
    """Unpack the wheel of `version` and let `python` read its flags.

    Raises RuntimeError with the end of the interpreter's own output when that fails.
    """
    wheel = fetch_wheel(version, wheels)
    with tempfile.TemporaryDirectory(prefix="catalog-") as root:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root)
        done = subprocess.run(
            [python, str(EXTRACT), "--root", root],
            capture_output=True,
            text=True,
            timeout=EXTRACT_TIMEOUT,
        )
    if done.returncode:
        raise RuntimeError(f"sglang {version} could not be read:\n{done.stderr[-2000:]}")
    catalogue = json.loads(done.stdout)
    if catalogue["version"] != version:
        raise RuntimeError(f"{wheel.name} says it is sglang {catalogue['version']}")
    return catalogue


def read_programs(python: str, package: str, version: str, wheels: Path) -> dict[str, Any]:
    """Each of a package's programs -> its catalogue.

    Raises RuntimeError with the end of the interpreter's own output when that fails.
    """
    programs, beside = PROGRAMS[package]
    found = {}
    with tempfile.TemporaryDirectory(prefix="catalog-") as root:
        for name in (package, *beside):
            with zipfile.ZipFile(fetch_wheel(version, wheels, name)) as archive:
                archive.extractall(root)
        for program in programs:
            words = [python, str(ROOT / "tools" / "program_flags.py"), root, program]
            done = subprocess.run(words, capture_output=True, text=True, timeout=EXTRACT_TIMEOUT, env={"HOME": root})
            if done.returncode:
                raise RuntimeError(f"{program} of {package} {version} could not be read:\n{done.stderr[-2000:]}")
            found[program] = {"version": version, "stood_in": [], "flags": json.loads(done.stdout)}
    return found


def put(catalogue: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The file's object with one version's flags in it, in place of those that it has."""
    every = {v: list(rows(v, data)) for v in data["versions"]}
    every[catalogue["version"]] = catalogue["flags"]
    stood_in = {**data["versions"], catalogue["version"]: catalogue["stood_in"]}
    known = sorted(every, key=order)
    found: dict[str, list[int]] = {}  # a flag's form -> the versions that have it, by number
    for number, version in enumerate(known):
        for flag in every[version]:
            found.setdefault(json.dumps(flag), []).append(number)
    lines = []
    for form, numbers in found.items():
        starts = [n for n in numbers if n - 1 not in numbers]
        ends = [n for n in numbers if n + 1 not in numbers]
        for first, last in zip(starts, ends, strict=True):
            until = {} if last == len(known) - 1 else {"to": known[last]}
            lines.append((first, {"from": known[first], **until, **json.loads(form)}))
    lines.sort(key=lambda line: (line[1]["names"][0], line[0]))
    return {"versions": {v: stood_in[v] for v in known}, "flags": [flag for _, flag in lines]}


def to_text(data: dict[str, Any]) -> str:
    """The file's text: keys in a fixed order, one form of a flag a line."""
    if "versions" not in data:
        return "{" + ",\n".join(f'"{part}":{to_text(of).rstrip()}' for part, of in data.items()) + "}\n"

    def dense(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), sort_keys=False, ensure_ascii=True)

    flags = ",\n".join(map(dense, data["flags"]))
    return f'{{"versions":{dense(data["versions"])},\n"flags":[\n{flags}\n]}}\n'


def names(version: str) -> set[str]:
    """Every name a shipped catalogue knows."""
    data = json.loads(DATA.read_text())
    if version not in data["versions"]:
        raise RuntimeError(f"there is no catalogue of SGLang {version} in {DATA}; make it first")
    return {name for flag in rows(version, data) for name in flag["names"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("versions", nargs="+", help="SGLang versions, as on PyPI: 0.5.23, 0.5.5.post2; or PACKAGE==VERSION")
    add("--python", default=sys.executable, help="an interpreter with SGLang's dependencies")
    add("--wheels", type=Path, help="a folder of wheels, where missing ones are kept too")
    add("--check", action="store_true", help="write nothing; status 1 if one would change")
    add("--diff", action="store_true", help="print what each gained and lost over the one before")
    options = parser.parse_args()
    try:
        if options.diff:
            for old, new in zip(options.versions, options.versions[1:], strict=False):
                print(f"{old} -> {new}")
                lost, gained = names(old) - names(new), names(new) - names(old)
                for sign, found in (("-", lost), ("+", gained)):
                    for name in sorted(found):
                        print(f"  {sign} {name}")
            return 0
        changed = 0
        with tempfile.TemporaryDirectory(prefix="wheels-") as scratch:
            wheels = options.wheels or Path(scratch)
            wheels.mkdir(parents=True, exist_ok=True)
            for version in options.versions:
                package, _, number = version.rpartition("==")
                file = DYNAMO if package else DATA
                before = file.read_text() if file.exists() else "{}"
                data = json.loads(before)
                if package:
                    for part, catalogue in read_programs(options.python, package, number, wheels).items():
                        data[part] = put(catalogue, data.get(part, {"versions": {}, "flags": []}))
                else:
                    data = put(read_wheel(options.python, version, wheels), data)
                text = to_text(data)
                changed += text != before
                if not options.check:
                    file.write_text(text)
                verdict = "unchanged" if text == before else "differs" if options.check else "written"
                print(f"{version}: {verdict}, {len(text)} bytes in all")
        return 1 if changed and options.check else 0
    except RuntimeError as error:
        print(f"make_catalog: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
