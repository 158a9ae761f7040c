"""Whether the nodes reach each other as workers will: all-reduce in each group, NIXL between heads."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from launcher.base.files import data_path
from launcher.base.portnames import FIRST, LAST
from launcher.base.words import quote
from launcher.containers import container_command
from launcher.executors.sbatch import environment
from launcher.plan.model import Group, Plan
from launcher.preflight.judge import Node
from launcher.preflight.run import end, srun_words

Kind = Literal["allreduce", "transfer"]
State = Literal["ok", "warning", "bad", "not checked"]
SECONDS = 60  # for one part, besides the start of its Python
LIMIT = 300  # for all of it
LEAST = 0.3  # of what a link should give: NCCL reaches 0.5 to 0.9 of it (two H100s over NVLink: 0.56)


@dataclass(frozen=True)
class Link:
    """A worker group, or a pair of heads, and what was found; `rate` in GiB a second."""

    kind: Kind
    name: str
    hosts: tuple[str, ...]
    verdict: State
    text: str
    rate: float = 0.0


@dataclass(frozen=True)
class Part:
    """What one node does for a group or for pairs (their names, by commas): its place there, the worker
    group whose environment it has, and the program's words."""

    host: str
    kind: Kind
    name: str
    rank: int
    group: Group
    words: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What is to be tried: links that can be, by name, with their hosts; and what cannot be, and why."""

    parts: tuple[Part, ...]
    expected: Mapping[str, tuple[Kind, tuple[str, ...], int]]  # how many ranks are to answer
    skipped: tuple[Link, ...]


def pair_name(prefill: str, decode: str) -> str:
    return f"{prefill}>{decode}"


def lay_out(plan: Plan, nodes: Sequence[Node]) -> Trial:
    """Who takes part in what. `nodes` are those that answered, with their interface as a fact."""
    local = plan.cluster == "local"
    at = {n.index: n for n in nodes}
    address = {n.index: n.facts.get("interface", "").partition(" ")[2] for n in nodes}

    def place(index: int) -> int:
        return 0 if local else index

    def where(index: int) -> str:
        if local and not plan.config.network.interface:
            return "127.0.0.1"
        return address.get(place(index), "")

    parts: list[Part] = []
    expected: dict[str, tuple[Kind, tuple[str, ...], int]] = {}
    skipped: list[Link] = []
    ports = free_ports(nodes, 2 * len(plan.groups))
    reached = [g for g in plan.groups if all(where(n) for n in g.nodes)]
    for group, port in zip(plan.groups, ports, strict=False):
        hosts = tuple(at[place(n)].host if place(n) in at else "-" for n in group.nodes)
        if group not in reached:
            skipped.append(Link("allreduce", group.name, hosts, "not checked", "a node of it has no address"))
        elif len(group.nodes) == 1:
            skipped.append(Link("allreduce", group.name, hosts, "not checked", "it has one node"))
        else:
            expected[group.name] = ("allreduce", hosts, len(hosts))
            for rank, host in enumerate(hosts):
                words = (group.name, str(rank), str(len(hosts)), where(group.nodes[0]), str(port), str(SECONDS))
                parts.append(Part(host, "allreduce", group.name, rank, group, words))
    decodes = [(g, p) for g, p in zip(plan.groups, ports[len(plan.groups) :], strict=False) if g.role == "decode"]
    prefills = [g for g in plan.groups if g.role == "prefill"]
    backend = _backend(plan)
    takes: dict[str, list[str]] = {}
    for turn, prefill in enumerate(prefills):
        shift = turn % len(decodes) if decodes else 0
        targets = []  # each prefill head begins with another decode head
        for decode, port in [*decodes[shift:], *decodes[:shift]]:
            name = pair_name(prefill.name, decode.name)
            ends = (prefill.nodes[0], decode.nodes[0])
            both = tuple(at[place(n)].host if place(n) in at else "-" for n in ends)
            if backend != "nixl":
                skipped.append(Link("transfer", name, both, "not checked", f"the transfers go over {backend}"))
            elif not all(where(n) for n in ends):
                skipped.append(Link("transfer", name, both, "not checked", "a node of it has no address"))
            else:
                expected[name] = ("transfer", both, 1)
                targets.append(f"{name},{where(ends[1])},{port}")
                takes.setdefault(decode.name, []).append(name)
        if targets:
            host, names = at[place(prefill.nodes[0])].host, [t.partition(",")[0] for t in targets]
            give = ("give", *targets, str(SECONDS))
            parts.append(Part(host, "transfer", ",".join(names), 0, prefill, give))
    for decode, port in decodes:
        if decode.name in takes:
            host, names = at[place(decode.nodes[0])].host, takes[decode.name]
            take = ("take", str(port), str(SECONDS), *names)
            parts.append(Part(host, "transfer", ",".join(names), 1, decode, take))
    return Trial(tuple(parts), expected, tuple(skipped))


def _backend(plan: Plan) -> str:
    role = plan.config.roles.get("prefill")
    return str(role.args.get("disaggregation-transfer-backend", "nixl")) if role else "nixl"


def free_ports(nodes: Sequence[Node], count: int) -> list[int]:
    """Ports that no node listens on, from the end of those that jobs take their blocks from."""
    taken = {p for n in nodes for p in n.facts.get("listening", "").split(",")}
    start = LAST - os.getpid() % 2048  # another preflight on the same nodes takes others
    return [p for p in range(start, FIRST, -1) if str(p) not in taken][:count]


def body(plan: Plan, trial: Trial, nodes: Sequence[Node]) -> str:
    """The trial as bash for every node: each finds its parts by its name."""
    config = plan.config
    container = container_command(config.container)
    functions = (data_path("templates") / "preflight-network.sh").read_text(encoding="utf-8")
    programs = {
        kind: (Path(__file__).parent / "programs" / f"{kind}.py").read_text(encoding="utf-8")
        for kind in ("allreduce", "transfer")
    }
    interfaces = {n.host: n.facts.get("interface", "").partition(" ")[0] for n in nodes}
    python = config.python or "python3"
    outside = container.prefix  # the node's shell starts the container
    lines = [functions, f"ALLREDUCE={quote(programs['allreduce'])}", f"TRANSFER={quote(programs['transfer'])}"]
    lines.append("export ALLREDUCE TRANSFER")
    host_of = "local" if plan.cluster == "local" else "${SLURMD_NODENAME:-$(hostname)}"
    for kind in ("allreduce", "transfer"):
        lines.append(f'case "{host_of}" in')
        for host in dict.fromkeys(p.host for p in trial.parts if p.kind == kind):
            lines.append(f"{'local' if plan.cluster == 'local' else quote(host)})")
            for number, part in enumerate(p for p in trial.parts if p.kind == kind and p.host == host):
                interface = interfaces.get(host, "")
                if plan.cluster == "local":
                    interface = config.network.interface or "lo"
                label = json.dumps({"what": kind, "name": part.name, "rank": part.rank, "state": "%s", "text": "%s"})
                role = config.roles[part.group.role]
                env = {
                    "GLOO_SOCKET_IFNAME": interface,
                    "NCCL_SOCKET_IFNAME": interface,
                    **config.env,
                    **role.env,
                }
                exports = "; ".join(f"export {k}={quote(v)}" for k, v in env.items())
                run = f'{quote(python)} -c "${kind.upper()}" {" ".join(quote(w) for w in part.words)}'
                position = part.group.gpus[0] if part.group.gpus else 0
                if plan.cluster == "local" and part.group.ranks[0].gpus:
                    position = part.group.ranks[part.rank if kind == "allreduce" else 0].gpus[0]
                inner = f"{exports}; part {quote(label)} {quote(python)} {quote(run)}"
                if outside:
                    names = ("ALLREDUCE", "TRANSFER", "CUDA_VISIBLE_DEVICES") if container.env_flag else ()
                    flags = " ".join(f"{quote(container.env_flag)} {name}" for name in names)
                    prefix = " ".join(quote(w) for w in container.prefix)
                    image = " ".join(quote(w) for w in container.image)
                    call = f'{prefix} {flags} {image} bash -c "$(declare -f part)"{quote("; " + inner)}'
                    inner = f"CONTAINER=sgl-launch-$JOB_ID-preflight-{kind}-{number}; {call}"
                lines.append(f"  (gpu {position}; {inner}) &")
            lines.append("  ;;")
        lines += ["esac", "wait"]
    return "\n".join(lines) + "\n"


def judge_links(trial: Trial, output: str) -> list[Link]:
    """A verdict on every group and pair, from what their parts said."""
    said: dict[str, list[dict[str, Any]]] = {}
    for line in output.splitlines():
        if line.startswith("SGL_NET "):
            try:
                found = json.loads(line.removeprefix("SGL_NET "))
                for name in found["name"].split(","):
                    said.setdefault(name, []).append(found)
            except (ValueError, KeyError, TypeError):
                continue
    links = [_link(name, *trial.expected[name], said.get(name, [])) for name in trial.expected]
    rates: dict[str, list[float]] = {"allreduce": [], "transfer": []}
    for link in links:
        if link.verdict == "ok":
            rates[link.kind].append(link.rate)
    return [*trial.skipped, *(_compared(link, rates[link.kind]) for link in links)]


def _link(name: str, kind: Kind, hosts: tuple[str, ...], ranks: int, said: list[dict[str, Any]]) -> Link:
    states: dict[int, dict[str, Any]] = {}
    for one in said:
        states.setdefault(int(one["rank"]), one)
    for state, verdict in (("none", "not checked"), ("bad", "bad")):
        for rank, one in sorted(states.items()):
            if one["state"] == state:
                host = hosts[rank] if rank < len(hosts) else "-"
                text = one["text"] if state == "none" else f"{host}: {one['text']}"
                return Link(kind, name, hosts, verdict, text)  # type: ignore[arg-type]
    silent = [hosts[rank] for rank in range(ranks) if rank not in states]
    if silent:
        return Link(kind, name, hosts, "bad", f"no answer from {', '.join(dict.fromkeys(silent))}")
    rate = min(float(s.get("rate", 0)) for s in states.values())
    should = max(float(s.get("link", 0)) for s in states.values())
    text = f"{states[0]['text']}, {rate:.2f} GiB/s"
    doubts = dict.fromkeys(s["doubt"] for s in states.values() if s.get("doubt"))
    if rate < should * LEAST:
        doubts[f"this link should give {should:.0f}"] = None
    return Link(kind, name, hosts, "warning" if doubts else "ok", "; ".join([text, *doubts]), rate)


def _compared(link: Link, rates: list[float]) -> Link:
    """Slower than half of what is usual here is worth a look."""
    if link.verdict != "ok" or len(rates) < 3 or link.rate >= median(rates) / 2:
        return link
    text = f"{link.text}; usual here are {median(rates):.2f}"
    return Link(link.kind, link.name, link.hosts, "warning", text, link.rate)


def rows(links: Sequence[Link]) -> str:
    """A row a group and pair."""
    if not links:
        return ""
    wide = max(len("group or pair"), *(len(x.name) for x in links)) + 2
    words = {"ok": "ok", "warning": "warn", "bad": "BAD", "not checked": "-"}
    lines = [f"{'group or pair':<{wide}}{'what':<11}verdict"]
    for x in links:
        text = f"not checked: {x.text}" if x.verdict == "not checked" else f"{words[x.verdict]}: {x.text}"
        lines.append(f"{x.name:<{wide}}{x.kind:<11}{text}")
    return "\n".join(lines)


def try_links(
    plan: Plan, nodes: Sequence[Node], say: Callable[[str], None], job_id: str | None = None, run: Path | None = None
) -> list[Link]:
    """Try it on nodes of a job, or on this machine."""
    trial = lay_out(plan, nodes)
    if not trial.parts:
        return list(trial.skipped)
    text = body(plan, trial, nodes)
    env = {**environment(os.environ, ()), "JOB_ID": job_id or f"L{os.getpid()}", "RUN": str(run or "/tmp")}
    output, errors = _run_together(_commands(plan, trial, nodes, text, job_id), env, say)
    for line in errors.splitlines():
        if line.startswith("srun: error"):
            say(line)
    return judge_links(trial, output)


def _commands(plan: Plan, trial: Trial, nodes: Sequence[Node], text: str, job_id: str | None) -> list[list[str]]:
    """What starts the trial: on Slurm a step in each component that takes part."""
    if plan.cluster == "local":
        return [["bash", "-c", text]]
    assert job_id is not None
    options = [quote(w) for w in container_command(plan.config.container).srun_options]
    # the container's options name the run folder, which bash puts in
    srun = f"exec srun {' '.join(options)} " + '"$@"'
    index = {n.host: n.index for n in nodes}
    hosts: dict[int, list[str]] = {}
    for host in dict.fromkeys(p.host for p in trial.parts):
        hosts.setdefault(plan.component_of(index[host]), []).append(host)
    return [
        ["bash", "-c", srun, "srun", *srun_words(plan, job_id, number, len(names), names), "bash", "-c", text]
        for number, names in hosts.items()
    ]


def _run_together(
    commands: Sequence[Sequence[str]], env: Mapping[str, str], say: Callable[[str], None]
) -> tuple[str, str]:
    """Run commands at the same time, for at most LIMIT seconds; what they said on stdout and on stderr."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # files, not pipes: a pipe that nobody reads while another one is read would stop its command
        running = [
            subprocess.Popen(c, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, text=True, env=env)
            for c in commands
        ]
        deadline = time.monotonic() + LIMIT
        try:
            for process in running:
                process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"the nodes did not end their trial within {LIMIT} s")
        finally:
            for process in running:
                end(process)
        output.seek(0)
        errors.seek(0)
        return output.read(), errors.read()
