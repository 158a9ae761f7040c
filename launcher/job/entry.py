"""The first moments and the last line of `sgl-launch job run SCRIPT`.

Signals are taken and the record is open before anything that can fail is imported; whatever ends this process by
itself, the record's last line says so.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from launcher.base.errors import reason

if TYPE_CHECKING:
    from launcher.job.journal import Journal

_NAMES = {signal.SIGTERM: "TERM", signal.SIGINT: "INT", signal.SIGUSR2: "USR2"}
_WRITE = 2.0  # seconds for the last lines, on storage that may hang
_early: list[str] = []


def main(script: str, alone: bool = False) -> NoReturn:
    """Supervise the job, if `alone` in a network of its own; ends the process with the job's exit status."""
    refused = ""
    if alone:
        from launcher.front.alone import leave_network

        refused = leave_network(_NAMES)
    for number in _NAMES:
        signal.signal(number, lambda n, _: _early.append(_NAMES[signal.Signals(n)]))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NAMES)
    from launcher.job.journal import Journal  # standard library alone

    try:
        folder = _run_folder()
    except (KeyError, OSError) as e:
        print(f"sgl-launch: job run: {e} (a job's own script starts it: `sbatch job.sh`)", file=sys.stderr)
        os._exit(2)
    journal = Journal(folder)
    code = 1
    try:
        code = _run(Path(script), folder, journal, refused)
    except BaseException as e:  # what nobody has thought of ends the job too
        journal.fail(journal.stage or "start", reason(e))
    journal.event("stop", "done", f"exit status {code}")
    journal.say(f"stopped, exit status {code}{f': {journal.failure}' if journal.failure else ''}")
    journal.close(_WRITE)
    os._exit(code)  # threads that wait for storage or a peer hold up nothing


def _run(script: Path, folder: Path, journal: Journal, refused: str) -> int:
    if _early:
        journal.event("start", "cancelled", f"SIG{_early[0]}")
        journal.failure = f"ended by SIG{_early[0]} before it began"
        return {"USR2": 1, "INT": 130}.get(_early[0], 143)
    import asyncio

    from launcher.base.errors import WorkError
    from launcher.job.context import Job
    from launcher.job.environment import write_secrets
    from launcher.job.script import plan_of_script
    from launcher.job.supervise import Supervisor
    from launcher.plan.show import to_json
    from launcher.run.folder import RunFolder

    job_id = os.environ["JOB_ID"]
    (folder / "job.sh").write_bytes(script.read_bytes())
    plan = plan_of_script(script)
    run = RunFolder(folder)
    run.write_json("plan.json", to_json(plan))
    journal.say(f"{plan.config.name}, job {job_id}, run folder {folder}")
    if refused:
        raise WorkError(refused)
    if problems := write_secrets(folder / "secrets", plan.config.env_from, os.environ):
        raise WorkError("; ".join(problems))

    async def supervise() -> int:
        supervisor = Supervisor(Job(plan, run, job_id, journal))
        for number, name in _NAMES.items():
            asyncio.get_running_loop().add_signal_handler(number, supervisor.signalled, name)
        for name in _early:
            supervisor.signalled(name)
        return await supervisor.supervise()

    return asyncio.new_event_loop().run_until_complete(supervise())


def _run_folder() -> Path:
    """The run's folder, new or made by `submit`, with what an earlier attempt left set aside. Raises OSError for one
    that is another user's, KeyError outside a job."""
    import shutil

    folder = Path(os.environ["RUN"])
    os.umask(0o027)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    about, above = os.lstat(folder), os.stat(folder.parent)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        # processes of this job would run what others have put there
        raise PermissionError(f"{folder} is another user's, or others can write to it: refused")
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise PermissionError(f"{folder.parent} can be changed by everyone: `chmod +t` it")
    shutil.rmtree(folder / "secrets", ignore_errors=True)
    _set_aside(folder)
    for name in ("logs", "steps"):
        (folder / name).mkdir(exist_ok=True)
    return folder


def _set_aside(folder: Path) -> None:
    """Move what an earlier attempt of this job left (it was requeued), or a job of the same number (the cluster's
    numbers began anew), to attempts/."""
    from launcher.run.folder import left_by_an_attempt

    events = folder / "events.jsonl"
    if not (events.exists() and events.stat().st_size):
        return
    restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    name = str(restarts - 1) if restarts else time.strftime("before-%Y%m%dT%H%M%S")
    aside, turn = folder / "attempts" / name, 0
    while aside.exists():
        aside, turn = folder / "attempts" / f"{name}.{turn + 1}", turn + 1
    aside.mkdir(parents=True)
    for file in left_by_an_attempt(folder):
        file.rename(aside / file.name)
