"""However a local run ends, all its processes end, and it is said what failed."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from .run import DEMO, SGL_LAUNCH, SMALL, Launcher, Run, wait_until

STOP = "--set=on_failure.workers=stop"


def test_cancel_after_the_script_was_killed(launcher: Launcher) -> None:
    run = launcher.start(*SMALL, wait=None)
    run.wait_event("ready", "started")
    os.kill(run.pid, signal.SIGKILL)
    done = launcher("cancel", run.job)
    assert done.returncode == 0, done
    launcher.wait_gone(timeout=3)
    assert (run.status()["state"], run.status()["reason"]) == ("FAILED", "killed: no exit status")


def test_a_name_that_two_runs_have_is_not_enough_to_cancel(launcher: Launcher) -> None:
    first, second = launcher.start(*SMALL, wait=None), launcher.start(*SMALL, wait=None)
    done = launcher("cancel", "demo")
    assert done.returncode == 2
    assert f"2 runs named 'demo' have not ended: {first.job}, {second.job}; which one?" in done.stderr
    assert launcher("cancel", first.job).returncode == 0
    assert launcher("cancel", "demo").returncode == 0
    launcher.wait_gone(timeout=3)


@pytest.mark.parametrize("stage", ["services", "serve"])
def test_killing_the_script_ends_its_processes(launcher: Launcher, stage: str) -> None:
    run = launcher.start(*SMALL, wait=None)
    run.wait_event(stage, "started")
    wait_until(lambda: len(launcher.processes()) > 2, 10, "processes beside the script")
    os.kill(run.pid, signal.SIGKILL)
    launcher.wait_gone(timeout=5)


def test_a_worker_that_is_killed_ends_the_run(launcher: Launcher) -> None:
    words = ["submit", str(DEMO), "--cluster", "local", *SMALL, STOP, "--wait", "done"]
    submit = subprocess.Popen(
        [str(SGL_LAUNCH), *words],
        cwd=launcher.folder,
        env=launcher.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = Run(launcher, launcher.folder / "runs" / "demo-L1")
    run.wait_event("serve", "started")
    begin = time.time()
    os.kill(run.rank("decode-0").pid, signal.SIGKILL)
    _, stderr = submit.communicate(timeout=20)
    print(f"a worker's death to the run's end: {time.time() - begin:.1f} s")
    assert submit.returncode == 1
    log = run.path / "logs" / "decode-0-0.log"
    line = f"decode-0 (rank 0) ended with exit status 137 on {os.uname().nodename}; its log: {log}"
    assert line in stderr.splitlines()[-1]
    assert run.output.splitlines()[-1].endswith(f"stopped, exit status 137: {line}")
    assert (run.status()["state"], run.status()["reason"]) == ("FAILED", "exit status 137")
    launcher.wait_gone(timeout=0.5)


def test_a_worker_that_dies_at_start(launcher: Launcher) -> None:
    # the mocker wants a number
    wrong = "--set=decode.args.max-running-requests=many"
    done = launcher("submit", str(DEMO), "--cluster", "local", *SMALL, wrong, "--no-check", "--wait", "ready")
    assert done.returncode == 1
    assert "decode-0 (rank 0) ended with exit status 2" in done.stderr
    run = Run(launcher, launcher.folder / "runs" / "demo-L1")
    assert "invalid int value: 'many'" in run.output, "the log's last lines are not shown"
    launcher.wait_gone(timeout=5)


def by_hand(launcher: Launcher, job: str, *options: str) -> tuple[Run, subprocess.Popen[bytes]]:
    """Render the script and run it as somebody would in a terminal."""
    rendered = launcher("render", str(DEMO), "--cluster", "local", *options)
    assert rendered.returncode == 0, rendered.stderr
    launcher.folder.joinpath("job.sh").write_text(rendered.stdout)
    run = Run(launcher, launcher.folder / "runs" / f"demo-{job}")
    run.path.parent.mkdir(exist_ok=True)
    with run.path.with_name(f"{run.path.name}.out").open("w") as output:
        script = subprocess.Popen(
            ["bash", "job.sh"],
            cwd=launcher.folder,
            env={**launcher.env, "SGL_JOB_ID": job},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return run, script


@pytest.mark.parametrize(
    "signum, status, stage",
    # bash may lose an INT that comes while it waits for a command in its foreground: at `ready` it has none
    [(signal.SIGTERM, 143, "services"), (signal.SIGINT, 130, "ready")],
    ids=["TERM", "INT"],
)
def test_a_signal_to_the_script(launcher: Launcher, signum: signal.Signals, status: int, stage: str) -> None:
    run, script = by_hand(launcher, "L1", *SMALL)
    run.wait_event(stage, "started")
    script.send_signal(signum)
    assert script.wait(15) == status, run.output
    assert run.events()[-1] == ("stop", "done", f"exit status {status}")
    assert any(event[1:] == ("cancelled", signum.name) for event in run.events())
    launcher.wait_gone(timeout=0.5)


def test_a_worker_that_does_not_answer_a_term_is_killed(launcher: Launcher) -> None:
    run = launcher.start(*SMALL, "--set=timeouts.stop=1")
    os.kill(run.rank("prefill-0").pid, signal.SIGSTOP)
    begin = time.monotonic()
    done = launcher("cancel", run.job)
    assert done.returncode == 0, done
    assert time.monotonic() - begin < 8
    launcher.wait_gone(timeout=0.5)
