"""The first moments of `sgl-launch job run`, in a process of its own; and the script without its launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.job import entry
from launcher.render import render

from .helpers import BASE, plan_of


def events(run: Path) -> list[tuple[str, str, str]]:
    found = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [(e["stage"], e["state"], e["detail"]) for e in found]


def start(run: Path, before: str = "", config: str = BASE) -> tuple[int, str]:
    """Exit status and output; `before` is what happens in the process before it begins."""
    Path("job.sh").write_text(render(plan_of(config, "local")))
    code = f"import os, signal, sys\n{before}\nfrom launcher.job.entry import main\nmain('job.sh')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RUN": str(run), "JOB_ID": "L1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


# a signal that comes while the first of our modules is imported
EARLY = """
class Early:
    def find_spec(self, name, *rest):
        if name == "launcher.job.journal":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{name})
sys.meta_path.insert(0, Early())
import launcher.job.entry as e
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR2", 1)])
def test_a_signal_before_anything(folder: Path, name: str, status: int) -> None:
    code, said = start(folder / "run", EARLY.replace("{name}", name))
    assert code == status
    assert said.splitlines()[-1].endswith(f"  stopped, exit status {status}: ended by {name} before it began")
    assert events(folder / "run") == [("start", "cancelled", name), ("stop", "done", f"exit status {status}")]


@pytest.mark.parametrize(
    ("before", "config", "why"),
    [
        ("sys.modules['launcher.job.context'] = None", BASE,
         "sgl-launch is installed without a part that it needs (import of launcher.job.context halted"),
        ("import launcher.job.script as s\ns.plan_of_script = lambda _: {}['x']", BASE,
         "a mistake in sgl-launch (KeyError: 'x'); please report it"),
        ("", BASE + "env_from: [NOT_THERE]\n", "NOT_THERE (env_from) is not in the job's environment: export it"),
        ("os.chdir('/')", BASE, "job.sh: No such file or directory"),
    ],
)  # fmt: skip
def test_what_fails_before_the_first_stage(folder: Path, before: str, config: str, why: str) -> None:
    code, said = start(folder / "run", before, config)
    assert code == 1
    first, last = events(folder / "run")
    assert first[:2] == ("start", "failed")
    assert first[2].startswith(why)
    assert last == ("stop", "done", "exit status 1")
    assert f"FAILED: {why}" in said


@pytest.mark.parametrize("how", ["link", "file", "no variable"])
def test_a_run_folder_that_is_refused(folder: Path, how: str) -> None:
    run = folder / "run"
    (folder / "other").mkdir()
    if how == "link":
        run.symlink_to(folder / "other")
    elif how == "file":
        run.touch()
    code, said = start(run, "del os.environ['RUN']" if how == "no variable" else "")
    assert code == 2
    assert said.startswith("sgl-launch: job run: ")
    assert len(said.splitlines()) == 1
    assert list((folder / "other").iterdir()) == []


@pytest.mark.parametrize("whose", ["another's", "everyone's"])
def test_a_run_folder_that_others_can_change(folder: Path, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    monkeypatch.setenv("RUN", str(folder / "run"))
    if whose == "another's":
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    else:
        (folder / "run").mkdir()
        (folder / "run").chmod(0o777)
    with pytest.raises(PermissionError, match="is another user's, or others can write to it: refused"):
        entry._run_folder()


# what checks and sweeps of an earlier attempt said
BEFORE = ("preflight.txt", "warmup.json", "warmup-2.json", "warmup-decode-0.json")


@pytest.mark.parametrize(("count", "names"), [("1", ["0", "0.1", "0.2"]), ("3", ["2", "2.1", "2.2"])])
def test_earlier_attempts_are_set_aside(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: str, names: list[str]
) -> None:
    """Also where an attempt of that number is there already."""
    run = folder / "run"
    monkeypatch.setenv("RUN", str(run))
    monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    for turn in range(3):
        assert entry._run_folder() == run
        assert not (run / "events.jsonl").exists()
        (run / "events.jsonl").write_text(f"{turn}\n")
        (run / "logs" / "a.log").write_text(str(turn))
        for file in BEFORE:
            (run / file).write_text(str(turn))
        (run / "submit.json").write_text("{}")
        (run / "secrets").mkdir()
    entry._run_folder()
    assert sorted(p.name for p in (run / "attempts").iterdir()) == names
    for turn, name in enumerate(names):
        assert (run / "attempts" / name / "events.jsonl").read_text() == f"{turn}\n"
        assert (run / "attempts" / name / "logs" / "a.log").read_text() == str(turn)
        assert [(run / "attempts" / name / file).read_text() for file in BEFORE] == [str(turn)] * len(BEFORE)
    assert [file for file in BEFORE if (run / file).exists()] == []
    assert (run / "submit.json").exists()
    assert not (run / "secrets").exists()


def test_a_job_of_the_same_number_is_set_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN", str(folder))
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    (folder / "events.jsonl").write_text("x\n")
    entry._run_folder()
    (kept,) = (folder / "attempts").iterdir()
    assert kept.name.startswith("before-")
    assert folder.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("launcher", ["/nowhere", "not-a-program-at-all", "/tmp", "broken"])
@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_a_script_without_its_launcher(folder: Path, launcher: str, cluster: str) -> None:
    Path("job.sh").write_text(render(plan_of(BASE, "local" if cluster == "local" else "slurm")))
    if launcher == "broken":  # its virtual environment is not on this node
        launcher = str(folder / "sgl-launch")
        Path(launcher).write_text("#!/nowhere/python\n")
        Path(launcher).chmod(0o755)
    env = {
        **os.environ,
        "SGL_LAUNCH": launcher,
        "SLURM_JOB_ID": "7",
        "SLURM_SUBMIT_DIR": str(folder),
        "SGL_JOB_ID": "7",
    }
    done = subprocess.run(["bash", "job.sh"], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 127
    (failed, stopped) = events(folder / "runs" / "t-7")
    assert failed[:2] == ("stop", "failed")
    assert "put it on PATH, or its full path in SGL_LAUNCH" in failed[2]
    assert done.stderr.splitlines()[-1] == f"FAILED: {failed[2]}"
    assert stopped == ("stop", "done", "exit status 127")
    assert (folder / "runs/t-7/events.jsonl").stat().st_mode & 0o777 == 0o640
