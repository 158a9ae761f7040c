"""Which address of a node the others use: from what templates/node.sh says, and from real interfaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.base.errors import WorkError
from launcher.base.files import data_path
from launcher.job.facts import Facts, FactsReader, check_distinct, choose_address

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"), reason="needs root, unshare and ip"
)


def seen_in(commands: str, work: Path) -> Facts:
    """What an agent says in a network namespace of its own that `commands` set up."""
    (work / "job.sh").write_text("")
    script = f"mount -t sysfs none /sys; ip link set lo up; {commands}\nexec bash -c \"$AGENT\" node M {work} s '' ''"
    env = {**os.environ, "AGENT": (data_path("templates") / "node.sh").read_text(), "SLURMD_NODENAME": "n1"}
    words = ["unshare", "-n", "-m", "bash", "-c", script]
    done = subprocess.run(words, input="end\n", env=env, capture_output=True, text=True, check=False)
    reader = FactsReader()
    for line in done.stdout.splitlines():
        if line.startswith("M "):
            kind, *words = line.split()[1:]
            reader.take(kind, words)
    assert "n1" in reader.whole, done.stderr
    return reader.whole["n1"]


def link(name: str, address: str) -> str:
    # the peer is up: a carrier
    return (
        f"ip link add {name} type veth peer name p-{name[:8]}; ip link set p-{name[:8]} up; ip link set {name} up; "
        f"ip addr add {address} dev {name}; "
    )


@needs_root
@pytest.mark.parametrize(
    ("commands", "chosen"),
    [
        (link("docker0", "172.17.0.1/16") + link("eth0", "10.1.0.5/24"), ("10.1.0.5", "eth0")),
        (link("usb0", "192.168.1.2/24") + link("virbr0", "192.168.122.1/24") + link("ib0", "10.2.0.1/24"),
         ("10.2.0.1", "ib0")),
        (link("eth0", "169.254.3.4/16") + link("eth1", "10.1.0.5/24"), ("10.1.0.5", "eth1")),
        (link("eth0", "10.1.0.5/24") + link("eth1", "10.2.0.5/24") + "ip route add default dev eth1",
         ("10.2.0.5", "eth1")),
        # no carrier: it comes last
        ("ip link add eth0 type veth peer name x; ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0; "
         + link("eth1", "10.1.0.5/24"), ("10.1.0.5", "eth1")),
        # unnumbered links: the node's address is on lo
        ("ip link add lan0 type veth peer name x; ip link set x up; ip link set lan0 up; "
         "ip addr add 10.9.9.9/32 dev lo; ip route add default dev lan0 src 10.9.9.9", ("10.9.9.9", "lo")),
    ],
)  # fmt: skip
def test_of_real_interfaces(commands: str, chosen: tuple[str, str], folder: Path) -> None:
    assert choose_address(seen_in(commands, folder), None) == chosen


@needs_root
def test_ipv6_alone_is_named(folder: Path) -> None:
    facts = seen_in(link("eth0", "fd00::5/64 nodad") + "ip -6 route add default via fd00::1", folder)
    with pytest.raises(WorkError, match=r"node n1 has IPv6 addresses only \(eth0 fd00::5\), which is not supported"):
        choose_address(facts, None)


def test_lo_by_name_is_the_address_that_others_reach() -> None:
    facts = Facts("n1", (("lo", "127.0.0.1", "other"), ("lo", "10.9.9.9", "global")))
    assert choose_address(facts, "lo") == ("10.9.9.9", "lo")


def test_nodes_with_one_address_name_the_interfaces_that_differ() -> None:
    facts = {
        host: Facts(host, (("docker0", "172.17.0.1", "global"), ("eth0", own, "global")), ("docker0",))
        for host, own in (("n1", "10.1.0.1"), ("n2", "10.1.0.2"))
    }
    chosen = {host: choose_address(node, None)[0] for host, node in facts.items()}
    with pytest.raises(WorkError, match=r"n1 and n2 have the same address 172\.17\.0\.1 \(docker0\).*one of: eth0$"):
        check_distinct(chosen, facts)
