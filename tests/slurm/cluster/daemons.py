"""Slurm's daemons: started, killed, and what their logs say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from . import config
from .config import CONTROLLER
from .jobs import Jobs
from .procfs import read_processes
from .state import RigError
from .waiting import wait_until


class Daemons(Jobs):
    """Starts and kills slurmctld, slurmd and what accounting needs."""

    def slurmd_kill(self, *nodes: str) -> None:
        """Kill the daemon only; running steps go on."""
        for node in nodes:
            self._kill_daemon(node, "slurmd")

    def slurmd_start(self, *nodes: str) -> None:
        for node in nodes:
            self._start_daemon(node, ["slurmd", "-N", node])

    def ctld_kill(self) -> None:
        """Kill the controller; running steps go on.

        It saves its state some seconds after a change, and forgets a job that it did not save: see
        wait_saved.
        """
        self._kill_daemon(CONTROLLER, "slurmctld")

    def wait_saved(self, timeout: float = 20) -> None:
        """Wait until the controller has saved what happened before this call. Raises TimeoutError
        (seconds)."""
        saved = self.state / "ctl/state/job_state"
        begin, nudged = time.time(), 0.0

        def is_saved() -> bool:
            nonlocal nudged
            # A change of its own makes it save: it need not have one left. One that comes while it saves
            # may be lost on it, hence another one now and then.
            if time.time() - nudged > 6:
                self.run(["sbatch", "--hold", "--time=1", "--wrap=true", "--job-name=wait_saved"], check=True)
                self.run(["scancel", "--name=wait_saved"], check=True)
                nudged = time.time()
            # what was written a second later was begun later
            return saved.exists() and saved.stat().st_mtime > begin + 1

        wait_until(is_saved, timeout, "the controller to save")

    def ctld_start(self) -> None:
        self._start_daemon(CONTROLLER, ["slurmctld"])

    def _daemon_pids(self, node: str, name: str) -> list[int]:
        try:
            own = read_processes(self._proc(node))[1]
        except (OSError, RigError):
            return []
        return [pid for pid, daemon in own.items() if daemon == name]

    def _kill_daemon(self, node: str, name: str) -> None:
        pids = self._daemon_pids(node, name)
        if not pids:
            raise RigError(f"no {name} runs on {node}")
        self.run(["kill", "-KILL", *map(str, pids)], node, cwd="/", check=True)
        wait_until(lambda: not self._daemon_pids(node, name), 5, f"{name}'s end on {node}", every=0.01)

    def _start_daemon(self, node: str, argv: Sequence[str]) -> None:
        done = self.run(["setsid", *argv], node, cwd="/", timeout=30)
        if done.returncode != 0:
            raise RigError(f"{argv[0]} did not start on {node}: {done.stderr.strip() or self._last_errors()}")

    def _start_accounting(self) -> None:
        script = f"""
            set -e
            mkdir -p /run/mysqld {config.RIG}/ctl/mysql
            cd {config.RIG}/ctl
            mariadb-install-db --no-defaults --user=root --datadir=$PWD/mysql --skip-test-db \\
                --auth-root-authentication-method=socket > ../log/mysql-install.log 2>&1
            setsid mariadbd --no-defaults --user=root --datadir=$PWD/mysql --skip-networking \\
                --socket=/run/mysqld/mysqld.sock --pid-file=$PWD/mysql.pid \\
                --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \\
                --innodb-flush-log-at-trx-commit=2 --performance-schema=off \\
                < /dev/null > ../log/mysql.log 2>&1 &
            for i in $(seq 300); do
                mariadb --no-defaults -e 'create database if not exists slurm_acct' \\
                    2> /dev/null && break
                sleep 0.1
            done
            setsid slurmdbd
            for i in $(seq 300); do
                (exec 3<> /dev/tcp/{CONTROLLER}/6819) 2> /dev/null && exit 0
                sleep 0.1
            done
            exit 1
            """
        done = self.run(script, node=CONTROLLER, timeout=90)
        if done.returncode != 0:
            raise OSError(f"slurmdbd did not start: {done.stderr.strip()}")

    def _last_errors(self) -> str:
        """What the logs say about a cluster that did not come up."""
        lines: list[str] = []
        for path in sorted(self.state.joinpath("log").glob("*")):
            text = path.read_text(errors="replace").splitlines()
            if path.name.startswith(("slurm", "mysql")):
                text = [line for line in text if "error" in line or "fatal" in line]
            lines += [f"{path.name}: {line}" for line in text[-3:]]
        return "\n".join(lines[-20:])


def wait_daemon(pids: Callable[[], list[int]], *, grace: bool) -> bool:
    """Whether a daemon runs; with grace, one that is only just being started by a booting node gets
    5 s."""
    if not grace:
        return bool(pids())
    try:
        return bool(wait_until(pids, 5, "a daemon"))
    except TimeoutError:
        return False
