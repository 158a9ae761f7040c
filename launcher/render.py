"""Plan in, job script out. Pure: the same plan and version give the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from launcher import __version__
from launcher.base.counting import counted
from launcher.base.files import data_path
from launcher.base.words import Ref, Word, quote
from launcher.config.names import self_references
from launcher.containers import job_container
from launcher.front.planes import key_paths, secured
from launcher.plan.model import Plan, RolePlan
from launcher.plan.show import embedded
from launcher.plan.slurm_options import sbatch_directives, sbatch_quoted

WIDTH = 120
NO_PROXY = ("no_proxy", "NO_PROXY")
_CONTINUED = " \\\n    "


def render(plan: Plan, launcher: str = "sgl-launch") -> str:
    """The bash script of a plan, for Slurm or for this machine.

    `launcher` is the command that the script calls unless SGL_LAUNCH names another one.
    """
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
    env.filters.update(
        q=_q, words=_words, inline=_inline, exports=_exports,
        alternatives=_alternatives, ident=_ident, comment=_comment, verbatim=_Quoted, line=_line,
        sbatch=lambda word: _Quoted(sbatch_quoted(word)),
    )  # fmt: skip
    return env.get_template("job.sh.j2").render(_variables(plan, launcher))


class _Quoted(str):
    """A text that is safe in the script: it went through a filter, or the launcher made it itself."""


def _only_quoted(value: Any) -> Any:
    """Jinja2 calls this for every value it prints: an unquoted text is a bug, not a script."""
    if isinstance(value, (_Quoted, int)) and not isinstance(value, bool):
        return value
    raise TypeError(f"a template prints {value!r} without a filter")


def _q(value: Any) -> _Quoted:
    return _Quoted(quote(value))


def _ident(value: str) -> _Quoted:
    """A name of bash: of a variable or a function. Raises ValueError for anything else."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"not a name in bash: {value!r}")
    return _Quoted(value)


def _words(values: Any, width: int = 96) -> _Quoted:
    """A command over several lines, a flag and its values as one: as many to a line as fit."""
    first, *others = (" ".join(quote(word) for word in flag) for flag in _by_flag(values))
    return _Quoted(_CONTINUED.join([first, *_lines(others, " ", width)]))


def _by_flag(values: Any) -> list[list[Any]]:
    """The words before the first flag, then each flag with its values."""
    flags: list[list[Any]] = [[]]
    for value in values:
        if isinstance(value, str) and value.startswith("--") and flags[-1]:
            flags.append([])
        flags[-1].append(value)
    return flags


def _lines(items: Sequence[str], between: str, width: int) -> list[str]:
    """The items over lines, as many to a line as fit."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(between) + len(item) <= width:
            lines[-1] += between + item
        else:
            lines.append(item)
    return lines


def _inline(values: Any) -> _Quoted:
    """A command on one line."""
    return _Quoted(" ".join(quote(value) for value in values))


def _exports(env: Mapping[str, Word]) -> _Quoted:
    """NAME=value words for an export, as many to a line as fit."""
    words = [f"{_ident(name)}={_value(name, value)}" for name, value in env.items()]
    return _Quoted(_CONTINUED.join(_lines(words, " ", WIDTH - 12)))


def _value(name: str, value: Word) -> str:
    """A variable's value, in which `$NAME` and `${NAME}` of the variable itself stand for what it was before. A
    config's own list of hosts without a proxy comes before the job's."""
    if name in NO_PROXY:
        return f'{quote(value)},"${{{name}:-}}"'
    if not isinstance(value, str) or not (found := self_references(name, value)):
        return quote(value)
    words, at = [], 0
    for begin, end in found:
        # no empty part where the variable was empty: the current folder, to PATH and LD_LIBRARY_PATH
        left = begin > at and value[begin - 1] == ":"
        right = not left and value[end : end + 1] == ":"
        if begin - left > at:
            words.append(quote(value[at : begin - left]))
        was = f"{':' if left else ''}${name}{':' if right else ''}"
        words.append(f'"${{{name}:+{was}}}"')
        at = end + right
    return "".join([*words, quote(value[at:]) if at < len(value) else ""])


def _alternatives(names: Sequence[str]) -> _Quoted:
    """A pattern of `case`."""
    return _Quoted(" | ".join(_ident(name) for name in names))


def _line(value: str) -> _Quoted:
    """A set-up line: the one text of a config that is bash, and stands in the script as it is. Its check has refused
    line breaks."""
    return _Quoted(value)


def _comment(value: Any) -> _Quoted:
    """A text inside a comment: one line, printable."""
    return _Quoted("".join(c if c.isprintable() else "?" for c in str(value)))


def _variables(plan: Plan, launcher: str) -> dict[str, Any]:
    config = plan.config
    slurm = plan.cluster == "slurm"
    common_env, worker_env, roles = _shared_env(plan)
    return {
        "version": __version__,
        "launcher": launcher,
        "plan": plan,
        "config": config,
        "slurm": slurm,
        "where": counted(plan.nodes, "node") if slurm else "this machine",
        "directives": sbatch_directives(plan) if slurm else [],
        "container": job_container(config),
        "has_keys": secured(config) and bool(plan.services or config.services.where == "external"),
        "keys": config.services.keys if config.services.where == "external" else Ref("${RUN}/secrets"),
        "key_env": key_paths(config),
        "common_env": common_env,
        "worker_env": worker_env,
        "frontend_env": {k: v for k, v in plan.frontend.env.items() if k not in common_env},
        "roles": roles,
        "processes": processes(plan),
        "plan_json": _plan_json(plan),
    }


def processes(plan: Plan) -> list[str]:
    """What the script can become: its functions, by name."""
    names = [*plan.services, *(role.name for role in plan.roles)]
    names += ["frontend"] if plan.frontend.argv else []
    names += ["front"] if plan.fronts else []
    names += ["named_keys"] if plan.fronts and plan.config.security.endpoint_keys else []
    names += ["kernels"] if plan.config.keeps_caches else []
    return names


def _shared_env(
    plan: Plan,
) -> tuple[dict[str, Word], dict[str, Word], list[tuple[RolePlan, dict[str, Word]]]]:
    """The environment that workers and frontends have alike, what all workers have alike beyond it, and what each role
    has beyond that."""
    first, *others = [role.command.env for role in plan.roles]
    shared = {k: v for k, v in first.items() if all(k in env and env[k] == v for env in others)}
    own = [{k: v for k, v in role.command.env.items() if k not in shared} for role in plan.roles]
    common = {k: v for k, v in shared.items() if plan.frontend.env.get(k) == v}
    worker = {k: v for k, v in shared.items() if k not in common}
    return common, worker, list(zip(plan.roles, own, strict=True))


def _plan_json(plan: Plan) -> str:
    """The plan as it stands at the script's end: what is short on common lines, a line a group.

    It stands in a heredoc: no line of JSON can equal the delimiter.
    """
    whole = embedded(plan)
    config, groups = whole.pop("config"), whole.pop("groups")
    items = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in whole.items()]
    keys = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in config.items()]
    return "\n".join(
        [
            "{" + ",\n ".join(_lines(items, ", ", WIDTH - 2)) + ",",
            ' "groups": [',
            ",\n".join(f"  {json.dumps(group)}" for group in groups),
            " ],",
            ' "config": {',
            ",\n".join(f"  {line}" for line in _lines(keys, ", ", WIDTH - 3)),
            " }}",
        ]
    )
