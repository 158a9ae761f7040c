"""The state folder of a cluster and what this machine lets us do. No cluster is needed for any of it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from . import config

HERE = Path(__file__).resolve().parent
DEFAULT_BASE = HERE.parents[2] / ".slurm-test"

_PROGRAMS = tuple("slurmctld slurmd srun sbatch munged ip nsenter unshare setpriv flock".split())


_NVIDIA = 195
"""Major number of NVIDIA's devices (Linux' Documentation/admin-guide/devices.txt)."""


class RigError(RuntimeError):
    """The test bed itself does not work, as opposed to what is tested on it."""


@functools.lru_cache(maxsize=1)
def why_not() -> str | None:
    """Why no cluster can be brought up here, in one line; None when one can."""
    if os.geteuid() != 0:
        return "a Slurm cluster of virtual nodes takes root"
    missing = [program for program in _PROGRAMS if shutil.which(program, path=search_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (run tests/install.sh)"
    spaces = "--mount --net --ipc --uts --pid --fork --mount-proc".split()
    script = "mount -t tmpfs tmpfs /run && ip link add name x0 type veth peer name x1"
    tried = subprocess.run(["unshare", *spaces, "sh", "-c", script], stdin=DEVNULL, capture_output=True, text=True)
    if tried.returncode != 0:
        why = tried.stderr.strip() or f"status {tried.returncode}"
        return f"this machine does not allow the namespaces: {why}"
    return None


def pid_of(state: Path) -> int | None:
    """Pid of the live cluster's PID 1, as this process counts; None when it is down."""
    try:
        pid = int(state.joinpath("fabric.pid").read_text())
        # The file may be a crash's, and the pid another process's by now.
        inside = Path(f"/proc/{pid}/root{config.RIG}/cluster.id").read_text()
        return pid if inside == state.joinpath("cluster.id").read_text() else None
    except (OSError, ValueError):
        return None


def search_path() -> str:
    """PATH with the folders of system daemons, which a user's own may lack."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    # Slurm's own variables, of a job that we may run in, would make srun take itself for a part of
    # that job.
    own = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
    return {**own, "PATH": search_path(), **(more or {})}


def new_state_folder() -> Path:
    """A fresh folder below the base folder, from which those of crashed runs are removed."""
    base = Path(os.environ.get("SLURM_TEST_DIR") or DEFAULT_BASE).absolute()
    base.mkdir(parents=True, exist_ok=True)
    base.joinpath(".gitignore").write_text("*\n")
    for old in base.glob("c-*"):
        owner = old.name.split("-")[1]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists() and pid_of(old) is None:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"c-{os.getpid()}-", dir=base))


@functools.lru_cache(maxsize=1)
def has_freezer() -> bool:
    """Whether a v1 freezer hierarchy can be mounted here (it can beside cgroup v2 as well)."""
    script = (
        "mount -t tmpfs t /run && mkdir /run/f && mount -t cgroup -o freezer f /run/f && "
        "cd /run/f && mkdir $0 && rmdir $0"
    )
    name = f"slurm-test-probe-{os.getpid()}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, name], stdin=DEVNULL, capture_output=True)
    return done.returncode == 0


def write_pyxis(state: Path) -> bool:
    """Compile the stand-in for pyxis and have Slurm load it. False when there is no compiler or no
    Slurm header."""
    plugstack = state / "etc/plugstack.conf"
    plugstack.write_text("include /etc/slurm/plugstack.conf.d/*.conf\n")
    if shutil.which("gcc") is None or not Path("/usr/include/slurm/spank.h").exists():
        return False
    done = subprocess.run(
        ["gcc", "-O1", "-shared", "-fPIC", "-o", state / "fake_pyxis.so", HERE / "fake_pyxis.c"],
        stdin=DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RigError(f"fake_pyxis.c does not compile: {done.stderr.strip()}")
    state.joinpath("etc/plugstack.conf.d/pyxis.conf").write_text(f"required {config.RIG}/fake_pyxis.so\n")
    return True


def write_files(folder: Path, facts: Mapping[str, Any], conf: Mapping[str, str], proctrack: str) -> None:
    """Fill a state folder with all that supervise.sh and the daemons read.

    facts: what a Cluster knows of itself: hosts, gpus, share, has_accounting, ...; kept as
        cluster.json.
    conf: name to content of slurm.conf and the files beside it.
    """
    etc = folder / "etc"
    etc.joinpath("hosts").write_text(config.hosts_file(facts["hosts"]))
    for name, content in conf.items():
        etc.joinpath(name).write_text(content)
    etc.joinpath("cgroup.conf").write_text(config.CGROUP_CONF)
    if facts["has_accounting"]:
        _write_private(etc / "slurmdbd.conf", config.SLURMDBD_CONF.encode())
    folder.joinpath("munge").chmod(0o700)
    _write_private(folder / "munge/key", os.urandom(128))
    for gpu in range(facts["gpus"]):
        # Slurm wants character devices; given plain files it leaves CUDA_VISIBLE_DEVICES unset.
        os.mknod(folder / f"dev/nvidia{gpu}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for name, minors in facts["real_gpus"].items():
        folder.joinpath("dev", name).mkdir()
        folder.joinpath("dev", name, "minors").write_text("".join(f"{minor}\n" for minor in minors))
        for gpu, minor in enumerate(minors):
            os.mknod(folder / f"dev/{name}/gpu{gpu}", stat.S_IFCHR | 0o666, os.makedev(_NVIDIA, minor))
    roles = [(name, address, name) for name, address in config.RIG_ADDRESSES.items()]
    roles += [(name, address, "slurmd") for name, address in facts["hosts"].items()]
    folder.joinpath("nodes").write_text("".join(" ".join(role) + "\n" for role in roles))
    folder.joinpath("settings").write_text(f"share={facts['share']}\nproctrack={proctrack}\n")
    folder.joinpath("cluster.id").write_text(f"{os.getpid()}-{time.time_ns()}\n")
    folder.joinpath("cluster.json").write_text(json.dumps(facts, indent=1) + "\n")


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
