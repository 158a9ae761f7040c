"""Unpack wheels (and .deb, .tar.xz) into a folder with all cores: unpack.py FOLDER SITE. Half a minute less than pip.

A wheel's purelib, platlib, data and scripts go where `pip install --target` puts them; console scripts are written.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SCRIPT = """#!{python}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({call}())
"""
DATA = {"purelib": "", "platlib": "", "data": "", "scripts": "bin/"}


def wheel(file: Path, site: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename
            top, _, rest = name.partition("/")
            if top.endswith(".data"):
                kind, _, rest = rest.partition("/")
                name = DATA[kind] + rest if kind in DATA else ""
            if info.is_dir() or not name:
                continue
            body = archive.read(info)
            if name.startswith("bin/") and body.startswith(b"#!python"):
                body = b"#!" + sys.executable.encode() + body[body.index(b"\n") :]
            is_program = name.startswith("bin/") or name.endswith(".so") or (info.external_attr >> 16) & 0o111
            target = site / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
            target.chmod(0o755 if is_program else 0o644)
            if name.endswith(".dist-info/entry_points.txt"):
                console_scripts(body.decode(), site / "bin")


def console_scripts(entry_points: str, folder: Path) -> None:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(entry_points)
    folder.mkdir(exist_ok=True)
    for name, value in parser["console_scripts"].items() if parser.has_section("console_scripts") else ():
        module, _, call = value.split("[")[0].strip().partition(":")
        script = folder / name
        script.write_text(SCRIPT.format(python=sys.executable, module=module, first=call.split(".")[0], call=call))
        script.chmod(0o755)


def joined(folder: Path, kept: Path) -> list[Path]:
    """The files whose last piece (NAME.I-of-N) is in the folder, whole; pieces are kept until then."""
    whole = []
    for piece in sorted(folder.glob("*-of-*")):
        kept.mkdir(exist_ok=True)
        shutil.copy(piece, kept)
        name, _, number = piece.name.rpartition(".")
        count = int(number.rpartition("-")[2])
        pieces = [kept / f"{name}.{i}-of-{count}" for i in range(count)]
        if all(p.exists() for p in pieces):
            with (kept / name).open("wb") as target:
                for p in pieces:
                    target.write(p.read_bytes())
                    p.unlink()
            whole.append(kept / name)
    return whole


def main() -> None:
    folder, site = Path(sys.argv[1]), Path(sys.argv[2])
    site.mkdir(parents=True, exist_ok=True)
    wheels = sorted(folder.glob("*.whl"), key=lambda f: -f.stat().st_size)
    with ProcessPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        list(pool.map(wheel, wheels, [site] * len(wheels)))
    for archive in [*folder.glob("*.tar.xz"), *joined(folder, site.with_name(f"{site.name}-pieces"))]:
        subprocess.run(["tar", "-x", "-I", "xz -T0", "-f", archive, "-C", site], check=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, "/opt/deb"], check=True)
    print(f"{len(wheels)} wheels unpacked into {site}")


if __name__ == "__main__":
    main()
