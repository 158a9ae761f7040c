"""Ports: one block a job, a slice of it for every worker of a node, and clashes."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError, WorkError
from launcher.base.portnames import FIRST, GROUP, LAST, SERVICES, Offset
from launcher.job.facts import choose_ports
from launcher.plan.model import Cluster, Plan
from launcher.plan.ports import block_size

from .helpers import BASE, plan_of, roles


def test_auto_ports_are_offsets() -> None:
    plan = plan_of(BASE + "frontend: {port: auto}\n")
    assert {n: p.json() for n, p in plan.service_ports.items()} == {n: f"P+{o}" for n, o in SERVICES.items()}
    prefill, decode = plan.groups
    assert {n: p.json() for n, p in prefill.ports.items()} == {n: f"P+{16 + o}" for n, o in GROUP.items()}
    assert set(prefill.ports) - set(decode.ports) == {"bootstrap"}
    assert plan.port_block == 256


def test_fixed_base_gives_numbers() -> None:
    plan = plan_of(BASE + "frontend: {port: auto}\nports: {base: 25000}\n")
    assert plan.service_ports["nats"].json() == 25000 + SERVICES["nats"]
    assert plan.service_ports["frontend"].json() == 25000 + SERVICES["frontend"]
    assert plan.groups[0].ports["dist_init"].json() == 25016 + GROUP["dist_init"]
    assert plan.groups[0].ports["bootstrap"].json() == 25016 + GROUP["bootstrap"]


def test_fixed_base_leaves_the_rest_to_be_fixed() -> None:
    plan = plan_of(BASE + "frontend: {port: 8080}\nports: {base: 25000, bootstrap: 30001}\n")
    assert plan.service_ports["front"].json() == 8080
    assert plan.groups[0].ports["bootstrap"].json() == 30001


# SGLang with DP attention takes the rendezvous port and those up to 13 above it (PortArgs.init_new)
RENDEZVOUS = 14


def taken(plan: Plan, cluster: Cluster) -> list[tuple[int, int]]:
    """(machine, port above the base) of everything that listens, with those of a rendezvous."""
    found = [(plan.head_node, p.offset) for p in plan.service_ports.values()]
    for group in plan.groups:
        for name, port in group.ports.items():
            for more in range(RENDEZVOUS if name == "dist_init" else 1):
                found.append((group.ranks[0].node, port.offset + more))
    return [(0 if cluster == "local" else node, offset) for node, offset in found]


@pytest.mark.parametrize("cluster", ["slurm", "local"])
@pytest.mark.parametrize(("workers", "size"), [(1, 16), (3, 4), (8, 1), (20, 1), (2, 32)])
def test_nobody_shares_a_port(cluster: Cluster, workers: int, size: int) -> None:
    role = f"{{workers: {workers}, args: {{tp-size: {size}}}}}"
    plan = plan_of(roles(role, role, "frontend: {port: auto}\n"), cluster)
    found = taken(plan, cluster)
    assert len(found) == len(set(found))
    assert max(offset for _, offset in found) < plan.port_block


def test_slots_differ_on_a_node_and_start_again_on_the_next() -> None:
    plan = plan_of(roles("{workers: 3, args: {tp-size: 4}}", "{args: {tp-size: 8}}"))
    assert [g.ports["dist_init"].offset for g in plan.groups] == [16, 40, 16, 16]


def test_a_fixed_bootstrap_port_counts_up_on_a_node() -> None:
    plan = plan_of(roles("{workers: 3, args: {tp-size: 4}}", "{args: {tp-size: 8}}", "ports: {bootstrap: 30001}\n"))
    ports = [g.ports["bootstrap"].fixed for g in plan.groups if g.role == "prefill"]
    assert ports == [30001, 30002, 30001]


def test_a_fixed_bootstrap_port_counts_up_on_this_machine() -> None:
    """Nodes of a local plan are one machine."""
    text = roles("{workers: 3, args: {tp-size: 4}}", "{}", "ports: {bootstrap: 30001}\nslurm: {gpus_per_node: 4}\n")
    plan = plan_of(text, "local")
    assert [g.nodes for g in plan.groups if g.role == "prefill"] == [(0,), (1,), (2,)]
    assert [g.ports["bootstrap"].fixed for g in plan.groups if g.role == "prefill"] == [30001, 30002, 30003]


@pytest.mark.parametrize("slots", [1, 2, 10, 11, 100])
def test_a_block_holds_its_slots(slots: int) -> None:
    size = block_size(slots)
    assert size % 256 == 0
    assert size >= 16 + 24 * slots
    assert max(SERVICES.values()) < 16
    assert max(GROUP.values()) < 24
    assert min(o for n, o in GROUP.items() if n != "dist_init") >= RENDEZVOUS


def test_blocks_lie_below_the_ephemeral_ports() -> None:
    assert LAST < 32768
    assert (LAST + 1 - FIRST) // block_size(1) > 40  # enough blocks for jobs that share nodes


def test_json() -> None:
    assert Offset(5).json() == "P+5"
    assert Offset(5, 8000).json() == 8000
    assert str(Offset(5)) == "P+5"


@pytest.mark.parametrize(
    ("more", "cluster", "messages"),
    [
        (
            "frontend: {port: 30001}\nports: {bootstrap: 30001}\n",
            "slurm",
            [
                "c.yaml:6:9: ports.bootstrap: port 30001 is used twice on node 0, by the frontend and prefill-0's "
                "bootstrap server; choose another one or auto"
            ],
        ),
        (
            "frontend: {port: 30001}\nports: {bootstrap: 30001}\n",
            "local",
            [
                "c.yaml:6:9: ports.bootstrap: port 30001 is used twice, by the frontend and prefill-0's bootstrap "
                "server; choose another one or auto"
            ],
        ),
        (
            "frontend: {port: 25010}\nports: {base: 25000}\n",
            "slurm",
            [
                "c.yaml:5:12: frontend.port: port 25010 (the frontend) lies in the job's own block 25000..25255 "
                "(ports.base); choose another one or auto"
            ],
        ),
        (
            "ports: {base: 25000, bootstrap: 25255}\n",
            "slurm",
            [
                "c.yaml:5:22: ports.bootstrap: port 25255 (prefill-0's bootstrap server) lies in the job's own block "
                "25000..25255 (ports.base); choose another one or auto"
            ],
        ),
        (
            "ports: {base: 65500}\n",
            "slurm",
            ["c.yaml:5:9: ports.base: the job needs 256 ports from here, all below 32768; choose 32512 or less"],
        ),
    ],
)
def test_clashes(more: str, cluster: Cluster, messages: list[str]) -> None:
    with pytest.raises(InputError) as error:
        plan_of(BASE + more, cluster)
    assert [str(p) for p in error.value.problems] == messages


def test_local_nodes_share_their_ports() -> None:
    """What would be two nodes on Slurm is one machine here."""
    text = roles(
        "{workers: 2, args: {tp-size: 4}}",
        "{}",
        "slurm: {gpus_per_node: 4}\nports: {bootstrap: 30001}\nfrontend: {port: 30002}\n",
    )
    assert plan_of(text).groups[1].ports["bootstrap"].fixed == 30001
    with pytest.raises(
        InputError, match="port 30002 is used twice, by the frontend and prefill-1's bootstrap server"
    ):
        plan_of(text, "local")


def test_a_bootstrap_port_that_counts_beyond_the_last() -> None:
    text = roles("{workers: 4, args: {tp-size: 2}}", "{}", "ports: {bootstrap: 65534}\n")
    with pytest.raises(InputError) as error:
        plan_of(text)
    assert [str(p) for p in error.value.problems] == [
        "c.yaml:5:9: ports.bootstrap: port 65536 (prefill-2's bootstrap server) is above 65535; choose a lower one "
        "or auto"
    ]


def test_a_fixed_frontend_elsewhere_may_have_the_bootstrap_port() -> None:
    """The frontend is on the first prefill worker's head; others may use its port."""
    text = roles("{args: {tp-size: 8}}", "{args: {tp-size: 8}}", "frontend: {port: 30001}\nports: {bootstrap: 30002}\n")
    assert plan_of(text).service_ports["front"].fixed == 30001


def test_more_workers_than_ports_on_one_machine() -> None:
    text = roles("{workers: 600, args: {tp-size: 1}}", "{}")
    with pytest.raises(InputError, match="601 workers on one machine need 14592 ports, more than there are"):
        plan_of(text, "local")
    assert plan_of(text).port_block == 256


def chosen(job: int, *listening: int, base: int | None = None, fixed: int = 8000) -> int:
    """The base that a job chooses on two nodes of which the second listens on these ports."""
    nodes = {"n0": frozenset[int](), "n1": frozenset(listening)}
    return choose_ports(job, 256, base, nodes, [("n0", fixed, "frontend.port")])


def test_a_free_block() -> None:
    first = chosen(17, 22)
    assert first >= FIRST
    assert first + 255 <= LAST
    assert chosen(18, 22) == first + 256
    assert chosen(17, 22, first + 255) == first + 256
    assert chosen(17, fixed=first + 9) == first + 256


def test_the_last_block_is_followed_by_the_first() -> None:
    blocks = (LAST + 1 - FIRST) // 256
    assert chosen(blocks - 1) == FIRST + (blocks - 1) * 256
    assert chosen(blocks - 1, LAST - 255) == FIRST


def test_a_fixed_base() -> None:
    assert chosen(17, 24999, 25256, base=25000) == 25000
    with pytest.raises(WorkError, match=r"ports 25000\.\.25255 \(ports\.base\) are not free: 25100 is taken"):
        chosen(17, 25100, base=25000)


def test_a_port_that_is_taken_where_it_is_needed() -> None:
    message = "port 8000 (frontend.port) is taken on n0; choose another one or auto"
    with pytest.raises(WorkError) as error:
        choose_ports(1, 256, None, {"n0": frozenset([8000])}, [("n0", 8000, "frontend.port")])
    assert str(error.value) == message


def test_no_free_block() -> None:
    with pytest.raises(WorkError, match="no block of 256 ports between 20000 and 32767 is free on all nodes"):
        chosen(1, *range(FIRST, LAST, 100))
