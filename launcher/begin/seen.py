"""What this cluster and this machine have, as far as it can be seen from here: partitions, images, models, networks.

Every question has a limit of a few seconds, and what does not answer is not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.base.programs import run_command
from launcher.run.slurm import environment

LIMIT = 5.0  # seconds for a program
LOOK = 2.0  # seconds for all folders that are looked through
_PLACES = "models images shared scratch data work mnt lustre gpfs nfs fsx projects".split()
# file systems that more than one machine sees, by their type in /proc/mounts
_SHARED = re.compile(r"nfs|lustre|gpfs|beegfs|ceph|glusterfs|wekafs|fuse\.|9p|afs|panfs|virtiofs")


@dataclass(frozen=True)
class Partition:
    """A partition of Slurm; `gpus` of each of its nodes, of type `gpu_type` (empty: none is named), as GRES."""

    name: str
    nodes: int
    gpus: int
    gpu_type: str
    default: bool

    def __str__(self) -> str:
        kind = f" {self.gpu_type}" if self.gpu_type else ""
        gpus = f"{self.gpus}{kind} GPUs each" if self.gpus else "no GPUs that Slurm knows of"
        return f"{self.name} ({self.nodes} {'node' if self.nodes == 1 else 'nodes'}, {gpus})"


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine that is up."""

    name: str
    address: str
    default: bool


def partitions() -> list[Partition]:
    """Those that may be used, the default first, then those with the most GPUs; empty without Slurm."""
    code, output = run_command(["sinfo", "-h", "-o", "%P|%D|%G"], LIMIT, environment())
    return parse_partitions(output) if code == 0 else []


def parse_partitions(output: str) -> list[Partition]:
    """From lines of NAME|NODES|GRES, one for each kind of nodes of a partition; others' lines are left out."""
    found: dict[str, Partition] = {}
    for line in output.splitlines():
        name, _, rest = line.strip().partition("|")
        nodes, _, gres = rest.partition("|")
        if not re.fullmatch(r"[\w.-]+\*?", name) or not nodes.isdecimal():
            continue
        gpu = re.search(r"\bgpu(?::([A-Za-z][\w.+-]*))?:(\d+)", gres)
        plain = name.rstrip("*")
        old = found.get(plain)
        gpus, kind = (int(gpu[2]), gpu[1] or "") if gpu else (0, "")
        if old and old.gpus >= gpus:
            gpus, kind = old.gpus, old.gpu_type
        found[plain] = Partition(plain, int(nodes) + (old.nodes if old else 0), gpus, kind, name.endswith("*"))
    return sorted(found.values(), key=lambda p: (not p.default, -p.gpus * p.nodes, p.name))


def accounts() -> list[str]:
    """The accounts that the user may charge, as far as Slurm's accounting tells."""
    command = ["sacctmgr", "-n", "-P", "show", "associations", f"user={os.environ.get('USER', '')}", "format=account"]
    code, output = run_command(command, LIMIT, environment())
    return list(dict.fromkeys(line for line in output.split() if line)) if code == 0 else []


def interfaces() -> list[Interface]:
    """Of this machine, the one of the default route first; without loopback and bridges of containers."""
    code, output = run_command(["ip", "-j", "-4", "addr", "show", "up"], LIMIT)
    try:
        rows = json.loads(output) if code == 0 else []
        route = run_command(["ip", "-o", "-4", "route", "show", "default"], LIMIT)[1]
        default = (re.search(r"\bdev (\S+)", route) or ["", ""])[1]
        found = [
            Interface(row["ifname"], a["local"], row["ifname"] == default)
            for row in rows if not re.match(r"lo$|docker|virbr|veth|br-|cni|flannel", row.get("ifname", "lo"))
            for a in row.get("addr_info", [])[:1]
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return []
    return sorted(found, key=lambda i: not i.default)


def runtime() -> str:
    """The container runtime of the site: pyxis if srun has its options, else one that is on PATH."""
    code, output = run_command(["srun", "--help"], LIMIT, environment())
    if code == 0 and "--container-image" in output:
        return "pyxis"
    return next((name for name in ("apptainer", "docker") if shutil.which(name)), "none")


def shared(path: Path) -> bool:
    """Whether a folder is on a file system that other machines may see too, by its type."""
    kind, where = "", ""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    whole = str(path.resolve())
    for point, its in mounts:
        if (whole == point or whole.startswith(point.rstrip("/") + "/")) and len(point) >= len(where):
            kind, where = its, point
    return bool(_SHARED.search(kind))


def images() -> list[Path]:
    """Container images in the usual folders, the likeliest first: those that name SGLang or Dynamo, the newest."""
    found = [Path(e.path) for e in _files() if e.name.endswith((".sqsh", ".sif"))]
    return sorted(dict.fromkeys(found), key=lambda p: (not re.search("sglang|dynamo|sgl", p.name), -_time(p)))


def models(name: str) -> list[Path]:
    """Model folders (with a config.json) in the usual folders whose path has the model's name (of
    deepseek-ai/DeepSeek-R1 the last part), the likeliest first."""
    plain = _letters(name.rpartition("/")[2])
    found = dict.fromkeys(Path(e.path).parent for e in _files() if e.name == "config.json")
    like = [path for path in found if plain and plain in _letters(str(path))]
    return sorted(like, key=lambda path: (not _letters(str(path)).endswith(plain), str(path)))


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _files() -> Iterator[os.DirEntry[str]]:
    """What is in the usual folders, three levels deep, for LOOK seconds."""
    end = time.monotonic() + LOOK
    tops = [Path(), *(Path("/") / n for n in _PLACES), Path.home() / "models", Path.home() / "images"]
    todo = [(str(top.resolve()), 0) for top in tops if top.is_dir()]
    seen: set[str] = set()
    while todo and time.monotonic() < end:
        folder, depth = todo.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)[:2000]
        except OSError:
            continue
        yield from entries
        todo += [(e.path, depth + 1) for e in entries if depth < 3 and not e.name.startswith(".") and _is_folder(e)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
