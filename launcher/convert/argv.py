"""Command lines of servers, and of Dynamo's slurm_jobs, as the service file that says the same."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from launcher.base.errors import InputError, Problem
from launcher.catalog.catalog import Catalog
from launcher.catalog.flags import Flag
from launcher.convert.draft import Draft
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Item, Section

_MODULES = {"sglang.launch_server": "sglang", "dynamo.sglang": "dynamo"}
_WORKERS = {"prefill": "SGLangPrefillWorker", "decode": "SGLangDecodeWorker"}
_SCRIPT = "submit_job_script.py"  # Dynamo's examples/backends/sglang/slurm_jobs of 2025
# its options -> the config's slurm; those of `container` and the nodes are below
_SLURM = {"account": "account", "partition": "partition", "time-limit": "time", "gpus-per-node": ""}


def is_command(words: Sequence[str]) -> bool:
    """Whether these are a command's words rather than the names of files."""
    return any(w in _MODULES or w.endswith(_SCRIPT) for w in words) or list(words[:2]) == ["sglang", "serve"]


def service_of(words: Sequence[str], catalog: Catalog) -> tuple[Section, str]:
    """The commands as a service file, and the engine. Several commands are set apart by `--`.

    Raises InputError for a command of which nothing is known.
    """
    services: list[Item] = []
    engine = "sglang"
    for command in _commands(words):
        if any(w.endswith(_SCRIPT) for w in command):
            return _slurm_jobs(command), "dynamo"
        module = next((w for w in command if w in _MODULES), None)
        at = command.index(module) + 1 if module else 2
        engine = _MODULES[module] if module else "sglang"
        flags = list(_flags(command[at:], catalog))
        mode = next((i.value for i in flags if i.key == "disaggregation-mode"), None)
        env = [
            Item(n, v, ("env", n))
            for n, _, v in (w.partition("=") for w in command[:at])
            if re.fullmatch(r"[A-Z_]\w*", n) and v
        ]
        if env:
            args = Section((Item("envs", Section(tuple(env)), ("env",)),))
            flags.append(Item("ServiceArgs", args, ("env",)))
        services.append(Item(_WORKERS.get(str(mode), "SGLangWorker"), Section(tuple(flags)), ("command",)))
    return Section(tuple(services)), engine


def _commands(words: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in (*words, "--"):
        if word == "--":
            if command and not is_command(command):
                known = ", ".join([*_MODULES, _SCRIPT])
                raise InputError(Problem(f"not a command of {known}: {' '.join(command)[:80]}", None, "--"))
            if command:
                yield command
            command = []
        else:
            command.append(word)


def _flags(words: Sequence[str], catalog: Catalog) -> Iterator[Item]:
    """Each flag with its value, as a config has it."""
    at = 0
    while at < len(words):
        name, has, value = words[at].partition("=")
        at += 1
        if not name.startswith("--"):
            if at == 1:  # sglang serve MODEL
                yield Item("model-path", name, ("model-path",))
                continue
            raise InputError(Problem(f"not a flag: {name[:60]}", None, "--"))
        key = name[2:]
        flag = catalog.flag(key)
        values = [value] if has else []
        if not has and not (flag and flag.is_switch):
            most = 10**6 if flag is None or flag.many or flag.nargs == "?" else 1
            while at < len(words) and not re.match(r"--[a-zA-Z]", words[at]) and len(values) < most:
                values.append(words[at])
                at += 1
        yield Item(key, _value(flag, values), (key,))


def _value(flag: Flag | None, values: list[str]) -> Any:
    found: list[Any] = []
    for text in values:
        kind = flag.type if flag else ""
        number = re.fullmatch(r"-?\d+" if kind == "int" else r"-?\d+(\.\d+)?([eE]-?\d+)?", text)
        wants = kind in ("int", "float") or (flag is None and number)
        found.append((float(text) if "." in text or "e" in text.lower() else int(text)) if wants and number else text)
    return True if not found else found[0] if len(found) == 1 else found


def _slurm_jobs(command: Sequence[str]) -> Section:
    """A prefill and a decode worker over so many nodes each; the flags themselves stand in the job's template."""
    at = next(n for n, w in enumerate(command) if w.endswith(_SCRIPT)) + 1
    options: dict[str, str] = {}
    words = [part for w in command[at:] for part in (w.split("=", 1) if w.startswith("--") else [w])]
    for name, value in itertools.pairwise(words):
        if name.startswith("--") and not value.startswith("--"):
            options[name[2:]] = value
    gpus = int(options.get("gpus-per-node", "8"))
    services = []
    for role, worker in _WORKERS.items():
        nodes = int(options.get(f"{role}-nodes", "1"))
        flags = {
            "model-path": "/model", "disaggregation-mode": role, "nnodes": nodes, "tp-size": nodes * gpus,
            "disaggregation-transfer-backend": "nixl",
        }  # fmt: skip
        services.append(Item(worker, Section(tuple(Item(k, v, (k,)) for k, v in flags.items())), ("command",)))
    held = Section(tuple(Item(k, v, ("--" + k,)) for k, v in options.items()))
    return Section((*services, Item("slurm_jobs", held, ("slurm_jobs",))))


def slurm_jobs(root: Section, draft: Draft, ledger: Ledger) -> None:
    """What its options say beside the workers."""
    held = root.get("slurm_jobs")
    if held is None:
        return
    given = {i.key: i for i in held.value.items}
    for key, name in _SLURM.items():
        if key in given and name:
            draft.slurm.append(Item(name, given[key].value))
    if "gpus-per-node" in given:
        draft.gpus_per_node = int(given["gpus-per-node"].value)
    if image := given.get("container-image"):
        mounts = [f"{given['model-dir'].value}:/model"] if "model-dir" in given else []
        mounts += [f"{given['config-dir'].value}:/configs"] if "config-dir" in given else []
        draft.container = [Item("runtime", "pyxis"), Item("image", image.value), Item("mounts", mounts)]
    kind = given["gpu-type"].value if "gpu-type" in given else "h100"
    ledger.to_set(
        f"prefill.args, decode.args: the workers' further flags stand in the script {kind}.sh of slurm_jobs; "
        "configs/dsr1.yaml has those of h100.sh in today's names"
    )
    known = (*_SLURM, "container-image", "model-dir", "config-dir", "prefill-nodes", "decode-nodes")
    for key, item in given.items():
        if key not in known and key != "gpu-type":
            ledger.drop(item, "network.interface is for it" if key == "network-interface" else "of slurm_jobs itself")
    ledger.use(held)
