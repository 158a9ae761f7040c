"""A chosen interface is followed by everything: nothing of a deployment listens on another one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.deploy import Launcher, small

from . import table


@pytest.fixture
def fast_network(cluster: Cluster) -> Iterator[str]:
    """A second interface of n001, with an IPv4 address alone."""
    made = (
        "ip link add fast0 type veth peer name fast1 && echo 1 >/proc/sys/net/ipv6/conf/fast0/disable_ipv6 && "
        "ip addr add 10.99.0.1/24 dev fast0 && ip link set fast1 up && ip link set fast0 up"
    )
    cluster.run(f"mount -o remount,rw /proc/sys 2>/dev/null; {made}", "n001", cwd="/", check=True)
    yield "10.99.0.1"
    cluster.run("ip link del fast0", "n001", cwd="/")


def test_the_chosen_interface(launcher: Launcher, cluster: Cluster, fast_network: str) -> None:
    run = launcher.start(launcher.write(small()), sets=["network.interface=fast0"], sbatch=["--nodelist=n001"])
    run.chat("n001")
    listening = cluster.run("ss -ltnpH", "n001", cwd="/", check=True).stdout
    frontend = [line.split()[3] for line in listening.splitlines() if re.search(r'"(python|etcd|nats-server)"', line)]
    elsewhere = [a for a in frontend if a.startswith(cluster.address("n001"))]
    base = run.json("placement.json")["port_base"]
    assert elsewhere == [], listening
    assert f"{fast_network}:{base + 4}" in frontend, listening  # where answers come to, in the job's block
    assert launcher("cancel", str(run.job)).returncode == 0
    table.add("the chosen interface alone", None, None, "on", 0, "no socket on the default route's address")
