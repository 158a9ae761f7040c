"""Two jobs whose numbers lead to one block of ports begin on one node at the same moment, ten times."""

from __future__ import annotations

from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.deploy import Launcher, Run, small

from . import table

BLOCKS = 49  # of 256 ports: job numbers that far apart look at the same one first


def test_two_jobs_at_once_on_one_node(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small(gpus_per_node=2))

    def submit() -> Run:
        return launcher.start(config, wait=None, sbatch=["--hold", "--nodelist=n001", "--cpus-per-task=1", "--mem=100"])

    met, same = 0, 0
    for _ in range(10):
        first = submit()
        between = BLOCKS - 1
        made = cluster.run(f"for i in $(seq {between}); do sbatch --parsable --hold --wrap true -o /dev/null; done",
                           cwd=launcher.folder, check=True)  # fmt: skip
        second = submit()
        same += (second.job - first.job) % BLOCKS == 0
        cluster.cancel(*map(int, made.stdout.split()))
        cluster.run(["scontrol", "release", str(first.job), str(second.job)], check=True)
        for run in (first, second):
            wait_until((run.path / "placement.json").exists, 30, f"the ports\n{run.output}")
        bases = [run.json("placement.json")["port_base"] for run in (first, second)]
        met += bases[0] == bases[1]
        cluster.cancel(first.job, second.job)
        for run in (first, second):
            cluster.wait_job(run.job, 20)
    table.add("two jobs that begin at once on one node", None, None, "on", 0, f"{met} of 10 met in one block of ports")
    assert same == 10, "the numbers did not lead to the same block"
    assert met == 0
