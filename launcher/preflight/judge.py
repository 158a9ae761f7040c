"""Facts of nodes in, a verdict for each node and check out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.base.counting import counted

Verdict = Literal["ok", "warning", "bad"]
GIB = 1 << 20  # in KiB


@dataclass(frozen=True)
class Node:
    """What a node said of itself: by name of the fact; `index` is its place in the allocation."""

    host: str
    index: int
    facts: Mapping[str, str]
    no_programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """What the plan wants: `gpus` and fixed `ports` by index of the node (what -> port)."""

    nodes: int
    gpus: Mapping[int, int]
    ports: Mapping[int, Mapping[str, int]]
    busy: bool = False  # its own workers run already: their memory and ports are no fault
    kinds: tuple[int, ...] = (0,)  # the first node of each kind
    imex: str = ""  # the variable by which the workers use NVLink between nodes, if one is set


@dataclass(frozen=True)
class Remark:
    """One thing about one node."""

    host: str
    check: str
    verdict: Verdict
    text: str


CHECKS = ("gpus", "memory", "ecc", "driver", "model", "image", "limits", "disk", "clock", "network", "ports")


def parse(output: str) -> list[Node]:
    """Nodes from the lines `SGL_FACT HOST NAME VALUE`, by index."""
    found: dict[str, dict[str, str]] = {}
    programs: dict[str, list[str]] = {}
    for line in output.splitlines():
        words = line.split(" ", 3)
        if len(words) < 3 or words[0] != "SGL_FACT":
            continue
        host, name, value = words[1], words[2], words[3].strip() if len(words) > 3 else ""
        if name == "no_program":
            programs.setdefault(host, []).append(value)
        found.setdefault(host, {})[name] = value
    nodes = [Node(h, int(f.get("index", 0)), f, tuple(programs.get(h, ()))) for h, f in found.items()]
    return sorted(nodes, key=lambda n: (n.index, n.host))


def judge(nodes: list[Node], need: Need) -> list[Remark]:
    """Everything that is not as it should be, node by node."""
    found: list[Remark] = []
    for one in (_gpus, _imex, _memory, _ecc, _driver, _model, _image, _limits, _disk, _clock, _network, _ports):
        found += one(nodes, need)
    if len(nodes) < need.nodes:
        found.append(Remark("-", "nodes", "bad", f"{len(nodes)} of {counted(need.nodes, 'node')} answered"))
    order = {node.host: place for place, node in enumerate(nodes)}
    return sorted(found, key=lambda r: order.get(r.host, len(order)))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _gpus(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        seen, wanted = _number(node.facts.get("gpus")) or 0, need.gpus.get(node.index, 0)
        if seen < wanted:
            text = f"{counted(seen, 'GPU is', 'GPUs are')} seen, {counted(wanted, 'is', 'are')} needed"
            yield Remark(node.host, "gpus", "bad", text)
    yield from _unlike_its_kind(nodes, need, "gpu_name", "gpus", "the GPUs are", "warning")


def _memory(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        used = _number(node.facts.get("gpu_memory_used"))
        if used is not None and used > 1024 and not need.busy:
            yield Remark(node.host, "memory", "bad", f"a GPU has {used} MiB in use: somebody else's process is on it")


def _imex(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        if need.imex and node.facts.get("imex") == "0":
            text = f"no IMEX channel in /dev/nvidia-caps-imex-channels, which {need.imex} needs"
            yield Remark(node.host, "gpus", "warning", text)


def _ecc(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        errors = _number(node.facts.get("gpu_ecc"))
        if errors:
            text = f"{counted(errors, 'uncorrected memory error')}: the GPU wants a reset, or repair"
            yield Remark(node.host, "ecc", "bad", text)


def _driver(nodes: list[Node], need: Need) -> Iterator[Remark]:
    yield from _unlike_its_kind(nodes, need, "gpu_driver", "driver", "the driver is", "warning")


def _model(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        if node.facts.get("model") == "missing":
            yield Remark(node.host, "model", "bad", "the model's folder is not there")
        elif node.facts.get("model", "1").startswith("0 "):
            yield Remark(node.host, "model", "bad", "the model's folder is empty")
    there = [n for n in nodes if n.facts.get("model") != "missing"]

    def shown(value: str) -> str:
        count, size, _ = value.split(" ")
        return f"{counted(int(count), 'file')}, {counted(int(size), 'byte')}"

    yield from _unlike(there, "model", "model", "the model's folder has", "bad", shown)


def _image(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        if node.facts.get("image") == "missing":
            yield Remark(node.host, "image", "bad", "the container's image is not there")
        if node.no_programs:
            yield Remark(node.host, "image", "bad", f"not on PATH: {', '.join(node.no_programs)}")
    there = [n for n in nodes if n.facts.get("image") != "missing"]
    yield from _unlike(there, "image", "image", "the image has", "bad", lambda v: f"{v} bytes")


def _limits(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        rdma = (_number(node.facts.get("rdma")) or 0) > 0
        memlock = node.facts.get("memlock", "unlimited")
        if rdma and memlock != "unlimited":
            text = f"locked memory is limited to {memlock} KiB; RDMA needs `ulimit -l unlimited`"
            yield Remark(node.host, "limits", "bad", text)
        files = _number(node.facts.get("nofile"))
        if files is not None and files < 65536:
            verdict: Verdict = "bad" if files < 4096 else "warning"
            yield Remark(node.host, "limits", verdict, f"at most {files} open files; 65536 or more are better")


def _disk(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for name, where, least in (("tmp_free", "/tmp", 10), ("runs_free", "the file system of `runs`", 1)):
        for node in nodes:
            free = _number(node.facts.get(name))
            if free is not None and free < least * GIB:
                text = f"{free / GIB:.1f} GiB are free in {where}; {least} or more are better"
                yield Remark(node.host, "disk", "bad" if free < GIB // 10 else "warning", text)


def _clock(nodes: list[Node], need: Need) -> Iterator[Remark]:
    """Nodes read their clocks at nearly the same time: some seconds apart is another time."""
    times = sorted(float(n.facts["clock"]) for n in nodes if "clock" in n.facts)
    if len(times) < 2:
        return
    middle = times[len(times) // 2]
    for node in nodes:
        off = float(node.facts.get("clock", middle)) - middle
        if abs(off) > 5:
            text = f"its clock is {abs(off):.0f} s {'before' if off > 0 else 'behind'} the others'"
            yield Remark(node.host, "clock", "bad" if abs(off) > 60 else "warning", text)


def _network(nodes: list[Node], need: Need) -> Iterator[Remark]:
    for node in nodes:
        name, _, address = node.facts.get("interface", "").partition(" ")
        if not address:
            text = f"the interface {name} has no IPv4 address" if name not in ("", "none") else "no interface was found"
            yield Remark(node.host, "network", "bad", f"{text}; set network.interface")
    yield from _unlike_its_kind(nodes, need, "rdma", "network", "active RDMA ports:", "warning")


def _ports(nodes: list[Node], need: Need) -> Iterator[Remark]:
    if need.busy:
        return
    for node in nodes:
        listening = {int(p) for p in node.facts.get("listening", "").split(",") if p.isdecimal()}
        for what, port in need.ports.get(node.index, {}).items():
            if port in listening:
                yield Remark(node.host, "ports", "bad", f"port {port} ({what}) is taken")


def _unlike_its_kind(
    nodes: list[Node], need: Need, fact: str, check: str, text: str, verdict: Verdict
) -> Iterator[Remark]:
    """Nodes on which a fact is not what it is on most nodes of the same component."""
    for first, end in zip(need.kinds, (*need.kinds[1:], None), strict=True):
        kind = [n for n in nodes if n.index >= first and (end is None or n.index < end)]
        yield from _unlike(kind, fact, check, text, verdict)


def _unlike(
    nodes: list[Node], fact: str, check: str, text: str, verdict: Verdict, shown: Callable[[str], str] = str
) -> Iterator[Remark]:
    """Nodes on which a fact is not what it is on most."""
    values = Counter(n.facts[fact] for n in nodes if fact in n.facts)
    if len(values) < 2:
        return
    usual = values.most_common(1)[0][0]
    for node in nodes:
        if node.facts.get(fact, usual) != usual:
            mine = shown(node.facts[fact])
            yield Remark(node.host, check, verdict, f"{text} {mine}, on most nodes {shown(usual)}")
