"""Plan in, job script out. Pure: the same plan and version give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2

from launcher import __version__
from launcher.base.files import data_path
from launcher.base.portnames import Offset
from launcher.base.words import quote
from launcher.containers import container_command
from launcher.engines import Worker
from launcher.engines.services import nats_tls, secured
from launcher.plan.components import Component
from launcher.plan.model import Plan
from launcher.plan.portcheck import fixed_ports
from launcher.plan.show import to_json
from launcher.plan.slurm_options import sbatch_directives
from launcher.run.folder import SET_ASIDE


def render(plan: Plan) -> str:
    """The bash script of a plan, for Slurm or for this machine."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_path("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{%#",  # "{#" is bash: ${#HOST[@]}
        comment_end_string="#%}",
        finalize=_only_quoted,
    )
    env.filters.update(q=_q, words=_words, comment=_comment, verbatim=_verbatim, inline=_inline)
    return env.get_template(f"{plan.cluster}.sh.j2").render(_variables(plan))


class _Quoted(str):
    """A text that is safe in the script: it went through a filter."""


def _only_quoted(value: Any) -> Any:
    """Jinja2 calls this for every value it prints: an unquoted text is a bug, not a script."""
    if isinstance(value, (_Quoted, int)) and not isinstance(value, bool):
        return value
    raise TypeError(f"a template prints {value!r} without a filter")


def _q(value: Any) -> _Quoted:
    return _Quoted(quote(value))


def _words(values: Any) -> _Quoted:
    """A command over several lines, a flag with its values on each."""
    lines: list[list[str]] = [[]]
    for value in values:
        if isinstance(value, str) and value.startswith("--") and lines[-1]:
            lines.append([])
        lines[-1].append(quote(value))
    return _Quoted(" \\\n    ".join(" ".join(line) for line in lines))


def _inline(values: Any) -> _Quoted:
    """A command on one line."""
    return _Quoted(" ".join(quote(value) for value in values))


def _comment(value: Any) -> _Quoted:
    """A text inside a comment: one line, printable."""
    return _Quoted("".join(c if c.isprintable() else "?" for c in str(value)))


def _verbatim(value: Any) -> _Quoted:
    """A text that the launcher made itself (a port's arithmetic, a list of numbers, JSON)."""
    return _Quoted(value)


def _variables(plan: Plan) -> dict[str, Any]:
    config = plan.config
    return {
        "version": __version__,
        "plan": plan,
        "config": config,
        "directives": sbatch_directives(plan) if plan.cluster == "slurm" else [],
        "gpu_offset": _gpu_offset(plan),
        "kinds": _kinds(plan),
        "container": container_command(config.container),
        "plan_json": _plan_json(plan),
        "fixed_ports": fixed_ports(plan),
        "port_base": 0 if config.ports.base == "auto" else config.ports.base,
        "port_value": _port_value,
        "service_restarts": config.on_failure.max_restarts if config.on_failure.services == "restart" else 0,
        "set_aside": " ".join(SET_ASIDE),
        "kernel_nodes": _kernel_nodes(plan),
        # the first worker of each role has compiled what all of them compile
        "merge_nodes": sorted({role.groups[0].ranks[0].node for role in plan.roles}),
        "file_word": _file_word,
        "port_exports": _port_exports,
        "named_workers": _named_workers(plan),
        "has_keys": secured(config) and bool(plan.services or config.services.where == "external"),
        "watches_parts": any(role.command.part for role in plan.roles),
        "nats_tls": nats_tls(config),
        "rank_words": lambda numbers: _Quoted(quote(",".join(str(n) for n in numbers))),
        "node_words": lambda group: _Quoted(quote(" ".join(str(n) for n in group.nodes))),
    }


def _kernel_nodes(plan: Plan) -> list[tuple[_Quoted, int, list[int]]]:
    """Of each component its first node, which builds or unpacks the kernels that fit its kind, and the
    other nodes of workers, which then unpack them. On this machine that is one. With a suffix for the names
    of the steps."""
    if plan.cluster == "local":
        return [(_Quoted(""), 0, [])]
    used = {r.node for g in plan.groups for r in g.ranks}
    return [
        (
            _Quoted(f"-{number}" if plan.heterogeneous else ""),
            c.first,
            sorted(n for n in used if c.first < n < c.first + c.nodes),
        )
        for number, c in enumerate(plan.components)
    ]


def _kinds(plan: Plan) -> _Quoted:
    """Which nodes are whose, in words."""

    def span(c: Component) -> str:
        return f"node {c.first}" if c.nodes == 1 else f"nodes {c.first} to {c.first + c.nodes - 1}"

    return _Quoted(" and ".join(f"{span(c)} of {c.roles[0]}" for c in plan.components))


def _gpu_offset(plan: Plan) -> _Quoted:
    """Where the GPUs of `node` begin on this machine, as bash arithmetic."""
    first, *others = plan.components
    text = f"node * {first.gpus_per_node}"
    for c in others:
        text = f"node < {c.first} ? {text} : {c.gpus_before} + (node - {c.first}) * {c.gpus_per_node}"
    return _Quoted(text)


def _file_word(path: str) -> _Quoted:
    """A path as bash; ~/ is the home of who runs the script."""
    home = path.startswith("~/")
    return _Quoted(("~/" if home else "") + quote(path[2:] if home else path))


def _plan_json(plan: Plan) -> str:
    """plan.json: a line a key and a group, so that the script stays short.

    It stands in a heredoc: no line of JSON can equal the delimiter.
    """

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=True)

    lines = []
    for key, value in to_json(plan).items():
        if key == "groups":
            value_text = "[\n" + ",\n".join("  " + line(g) for g in value) + "\n ]"
        else:
            value_text = line(value)
        lines.append(f" {line(key)}: {value_text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _port_value(port: Any) -> _Quoted:
    """A port as bash: a number, or above PORT_BASE."""
    if port.fixed is not None:
        return _Quoted(str(port.fixed))
    return _Quoted(f"$((PORT_BASE + {port.offset}))")


def _port_exports(ports: Mapping[str, Offset]) -> _Quoted:
    """`NAME_PORT=value` words for an export, the values worked out where the line is read."""
    return _Quoted(" ".join(f"{name.upper()}_PORT={_port_value(port)}" for name, port in ports.items()))


def _named_workers(plan: Plan) -> list[_Quoted]:
    """Words for an export a group whose address the frontend's command names."""
    used = plan.frontend.names
    lines = []
    for group in plan.named_groups:
        prefix = Worker(group.name, group.role).prefix
        words = [f"{prefix}_ADDR=${{ADDR[{group.ranks[0].node}]}}"]
        for name, port in group.ports.items():
            if f"{prefix}_{name.upper()}_PORT" in used:
                words.append(f"{prefix}_{name.upper()}_PORT={_port_value(port)}")
        lines.append(_Quoted(" ".join(words)))
    return lines
