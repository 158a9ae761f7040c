"""What nodes say of themselves, and the address that is chosen from it."""

from __future__ import annotations

import pytest

from launcher.base.errors import WorkError
from launcher.job.facts import Facts, FactsReader, choose_address, gpus_of, stream_interface

ETH = ("eth0", "10.0.0.7", "global")
IB = ("ib0", "10.1.0.7", "global")
INNER = (
    ("lo", "127.0.0.1", "other"),
    ("docker0", "172.17.0.1", "global"),
    ("usb0", "192.168.7.1", "global"),
    ("eth1", "169.254.3.4", "other"),
    ("virbr0", "192.168.122.1", "global"),
    ("enx0011", "10.9.9.9", "global"),
)


def test_lines_of_a_node() -> None:
    reader = FactsReader()
    for line in (
        "address n1 eth0 10.0.0.7 global", "address n2 eth0 10.0.0.8 global", "route n1 eth0", "has6 n1 eth0",
        "ports n1 ,0016,1F90,", "facts n1 0,1", "fault n2 the program ip is missing",
    ):  # fmt: skip
        kind, *rest = line.split()
        reader.take(kind, rest)
    assert reader.whole == {"n1": Facts("n1", (ETH,), ("eth0",), frozenset({22, 8080}), "0,1", (), frozenset({"eth0"}))}
    assert reader.faults == {"n2": "the program ip is missing"}


@pytest.mark.parametrize(
    "line",
    ["", "facts", "facts n1", "address n1 eth0", "address n1 a b c d", "route", "route n1", "ports", "other n1 x"],
)
def test_lines_of_another_shape(line: str) -> None:
    reader = FactsReader()
    kind, *rest = line.split() or [""]
    reader.take(kind, rest)
    assert reader.whole == {}
    reader.take("facts", ["n2", "all"])
    assert reader.whole == {"n2": Facts("n2")}


@pytest.mark.parametrize("interface, dynamo, told", [
    ("ib0", "1.4.2", "ib0"), ("eth0", "1.4.2", ""), ("eth0", "1.5.9", ""), ("eth0", "", ""), ("eth0", "1.6.1", "eth0"),
    ("eth0", "1.10.0", "eth0"), ("eth0", "2", "eth0"), ("lo", "1.4.2", "lo"),
])  # fmt: skip
def test_where_answers_come_to(interface: str, dynamo: str, told: str) -> None:
    facts = Facts("n1", (ETH, IB), has6=frozenset({"eth0", "lo"}))
    assert stream_interface(facts, interface, dynamo) == told


def test_ports_that_are_none() -> None:
    reader = FactsReader()
    reader.take("ports", ["n1", "0016,zz,12345,,-1,1F90"])
    reader.take("facts", ["n1", "all"])
    assert reader.whole["n1"].ports == {22, 8080}


@pytest.mark.parametrize(
    ("addresses", "routes", "interface", "chosen"),
    [
        ((*INNER, ETH), ("eth0",), None, ETH),
        ((*INNER, ETH, IB), ("ib0",), None, IB),
        ((*INNER, ETH, IB), (), None, ETH),  # no default route
        ((*INNER, ETH, IB), ("gone0",), None, ETH),
        ((ETH, IB), ("eth0",), "ib0", IB),
        ((ETH, IB), ("eth0",), "10.1.0.7", IB),
        ((ETH, ("ib0", "10.2.0.7", "other"), IB), ("eth0",), "ib0", IB),
        ((("ib0", "10.2.0.7", "other"), ETH), (), None, ETH),  # a global one before others
        ((("enx0011", "10.9.9.9", "global"), ETH), ("enx0011",), None, ("enx0011", "10.9.9.9", "global")),
        ((("enxp3s0", "10.9.9.9", "global"),), (), None, ("enxp3s0", "10.9.9.9", "global")),
        (INNER[:1], (), "lo", INNER[0]),
    ],
)
def test_addresses(
    addresses: tuple[tuple[str, str, str], ...], routes: tuple[str, ...], interface: str | None,
    chosen: tuple[str, str, str],
) -> None:  # fmt: skip
    assert choose_address(Facts("n1", addresses, routes), interface) == (chosen[1], chosen[0])


@pytest.mark.parametrize(
    ("addresses", "interface", "said"),
    [
        (
            (),
            None,
            r"^node n1: no IPv4 address by which other nodes can reach it \(it has none\); set network\.interface$",
        ),
        (INNER, None, r"\(it has lo 127\.0\.0\.1, docker0 172\.17\.0\.1, "),
        (
            (ETH, IB),
            "ib1",
            r"^node n1: interface ib1 has no IPv4 address; set network\.interface to one of: eth0, ib0$",
        ),
        (
            (*INNER, ETH),
            "ib1",
            r"; set network\.interface to one of: eth0$",
        ),
        ((), "ib1", r"no IPv4 address; no interface has one$"),
    ],
)
def test_no_address(addresses: tuple[tuple[str, str, str], ...], interface: str | None, said: str) -> None:
    with pytest.raises(WorkError, match=said):
        choose_address(Facts("n1", addresses), interface)


@pytest.mark.parametrize(
    ("visible", "positions", "given"),
    [("all", (0, 1), "0,1"), ("4,5,6,7", (0, 3), "4,7"), ("GPU-a,GPU-b", (1,), "GPU-b"), ("all", (), "")],
)
def test_gpus_by_position(visible: str, positions: tuple[int, ...], given: str) -> None:
    assert gpus_of("n1", visible, positions) == given


def test_too_few_gpus() -> None:
    with pytest.raises(WorkError, match="n1 has 2 GPUs for this job; a rank wants number 4"):
        gpus_of("n1", "0,1", (2, 3))
