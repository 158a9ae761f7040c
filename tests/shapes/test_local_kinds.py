"""A config whose roles have nodes of different kinds, on this machine: it simply runs."""

from __future__ import annotations

from pathlib import Path

from tests.local.run import Launcher

from .configs import config, role


def visible_gpus(launcher: Launcher, job: str, group: str) -> dict[str, str]:
    """RANK to the GPUs that the rank's process sees."""
    found = {}
    for process in launcher.processes(job):
        if "launcher.job.mocker_rank" in process.argv:  # others may end meanwhile
            text = Path(f"/proc/{process.pid}/environ").read_text()
            env = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
            if env["GROUP"] == group:
                found[env["RANK"]] = env["CUDA_VISIBLE_DEVICES"]
    return found


def test_two_kinds_of_nodes(local: Launcher) -> None:
    text = config(
        prefill={**role(gpus=4), "slurm": {"partition": "big", "gpus_per_node": 4}},
        decode={**role(gpus=4), "slurm": {"partition": "small", "gpus_per_node": 2}},
    )
    path = local.folder / "kinds.yaml"
    path.write_text(text)
    run = local.start(config=path)
    assert visible_gpus(local, run.job, "prefill-0") == {"0": "0,1,2,3"}
    assert visible_gpus(local, run.job, "decode-0") == {"0": "4,5", "1": "6,7"}
    done = local("chat", run.job)
    assert done.returncode == 0, done.stderr
    assert local("cancel", str(run.path)).returncode == 0
    local.wait_gone(5)
