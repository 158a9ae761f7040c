"""A recipe's model, container, Slurm options, frontend and time limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from launcher.base.errors import InputError
from launcher.convert.draft import Draft, entry, env_section, problem, section_of, whole
from launcher.convert.flags import one_line
from launcher.convert.layout import Shape, meant
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Item, Section, plain
from launcher.plan.slurm_options import OWNED_OPTIONS, SBATCH_OPTIONS

_ATTEMPTS, _INTERVAL = 180, 10  # srtctl's defaults
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]")


def model(recipe: Section, kind: str, draft: Draft, ledger: Ledger) -> None:
    """`model.path` and `model.container`; what only srtctl's cluster file knows is to be set."""
    path = recipe.get("model", "path")
    if path is None or isinstance(path.value, (Section, list)) or path.value in (None, ""):
        where = path or recipe.get("model") or recipe.items[0]
        raise InputError(problem("model.path must be a string: an alias, a folder or hf:NAME", where))
    text = str(path.value)
    ledger.use(path)
    served = {item.key for item in draft.model}
    mounts: list[str] = []
    if text.startswith("hf:"):
        shown, default = text[3:], text[3:].rsplit("/", 1)[-1]
    elif text.startswith("/") and kind == "sglang":
        shown, default = "/model", text.rstrip("/").rsplit("/", 1)[-1]
        mounts = [f"{text.rstrip('/') or '/'}:/model"]
    else:
        shown, default = text, ""
        what = "is filled in when srtctl runs" if "$" in text else "is a name from srtslurm.yaml"
        ledger.to_set(f"{text} {what}; write the model's folder as the workers see it, and its mount", path)
    draft.model.insert(0, entry("path", shown, path))
    if default and "served_name" not in served:
        draft.model.append(Item("served_name", default))
    container = recipe.get("model", "container")
    if kind == "mocker":
        if container is not None:
            ledger.drop(container, "the mocker runs without a container")
        return
    image = plain(container.value) if container else None
    if container is None or not isinstance(image, (str, int, float)) or isinstance(image, bool):
        ledger.to_set("container: the recipe names none")
        return
    ledger.use(container)
    draft.container = [Item("runtime", "pyxis"), entry("image", str(image), container)]
    if mounts:
        draft.container.append(Item("mounts", mounts))
    if not re.search(r"[/#]|\.sqsh$", str(image)):
        ledger.to_set(f"{image} is a name from srtslurm.yaml; write the image", container)


def mounts(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """`container_mounts` and `extra_mount` as `container.mounts`."""
    found: list[str] = []
    for item, text in _mounts(recipe):
        plain_text, reason = one_line(text)
        if not isinstance(plain_text, str) or plain_text.count(":") < 1:
            reason = "not SOURCE:TARGET"
        elif _VARIABLE.search(plain_text):
            reason = reason or "sgl-launch fills in no variables; write the folder"
        elif not draft.container:
            reason = "there is no container"
        if reason:
            ledger.drop(item, reason)
        else:
            found.append(plain_text)
            ledger.use(item)
    extra = recipe.get("extra_mount")
    if extra is not None and isinstance(extra.value, list):
        ledger.use(extra)  # item by item above
    if found:
        old = [i for i in draft.container if i.key == "mounts"]
        rest = [i for i in draft.container if i.key != "mounts"]
        both = [*(m for i in old for m in i.value), *found]
        draft.container = [*rest, Item("mounts", both)]


def _mounts(recipe: Section) -> Iterator[tuple[Item, Any]]:
    for item in section_of(recipe.get("container_mounts")).items:
        target = item.value
        yield item, f"{item.key}:{target}" if isinstance(target, str) else None
    extra = recipe.get("extra_mount")
    if extra is not None and isinstance(extra.value, list):
        for number, value in enumerate(extra.value):
            yield Item(f"[{number}]", value, (*extra.path, number), extra.place), value


def slurm(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """`slurm` and `sbatch_directives` as sbatch options."""
    options: dict[str, Item] = {}
    for parent in ("slurm", "sbatch_directives"):
        for item in section_of(recipe.get(parent)).items:
            name = item.key.replace("_", "-").removeprefix("--")
            if parent == "slurm" and name == "time-limit":
                name = "time"
            value, reason = one_line(plain(item.value))
            if name in ("gres", "gpus-per-node") and _gpus(value) == draft.gpus_per_node:
                if name == "gres":
                    options["gpu_request"] = entry("gpu_request", "gres", item)
                ledger.use(item)
                continue
            if name in OWNED_OPTIONS:
                reason = OWNED_OPTIONS[name]
            elif name not in SBATCH_OPTIONS:
                continue
            elif value is None or isinstance(value, (dict, list)):
                reason = "must be one value"
            if reason:
                ledger.drop(item, reason)
                continue
            if name in options:
                ledger.drop(item, f"{name} is given already")
                continue
            options[name] = entry(name, True if value == "" else value, item)
            ledger.use(item)
    draft.slurm = list(options.values())
    missing = [n for n in ("partition", "account", "time") if n not in options]
    if missing:
        ledger.to_set(f"slurm: {', '.join(missing)}, unless a site file sets them")


def _gpus(value: Any) -> int | None:
    match = re.fullmatch(r"(?:gpu:)?(\d{1,4})", str(value))
    return int(match[1]) if match else None


_ROUTERS = ("sglang", "sglang-router", "smg")
_GIVEN_OUT = ("host", "prefill", "decode", "worker-urls", "pd-disaggregation", "http-host")


def frontend(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """Dynamo's frontend, or SGLang's router: the engine follows from it."""
    section = section_of(recipe.get("frontend"))
    kind = section.get("type")
    name = "dynamo" if kind is None or kind.value is None else str(kind.value)
    old = section.get("use_sglang_router") or recipe.get("backend", "use_sglang_router")
    if old is not None and old.value is True:
        kind, name = old, _ROUTERS[0]
    ledger.use(section.get("type"), old)
    if name != "dynamo" and draft.engine != "mocker":
        draft.engine = "sglang"
    if name not in ("dynamo", *_ROUTERS) or (name != "dynamo" and draft.engine == "mocker"):
        here = "Dynamo's frontend" if draft.engine == "mocker" else "SGLang's own router"
        ledger.warn(f"the source serves through {name}; here {here} does", kind)
        return
    if name == "smg":
        draft.frontend.append(entry("router", "smg", kind))
    older = "dynamo_frontend_args" if name == "dynamo" else "sglang_router_args"
    args = section.get("args") or section.get(older)
    mode = "router-mode" if name == "dynamo" else "policy"
    rest = _router_flags(args, mode, draft, ledger)
    if rest:
        above = args.above if args is not None else ()
        draft.frontend.append(Item("args", Section(tuple(rest)), above=above))
    environment = section.get("env")
    env = env_section(section_of(environment), ledger)
    if env.items:
        draft.frontend.append(Item("env", env, above=environment.above if environment else ()))


_MORE = 9  # srtctl's default of num_additional_frontends


def frontends(recipe: Section, draft: Draft, shapes: Sequence[Shape], ledger: Ledger) -> None:
    """srtctl's nginx before several frontends is `one_address` here; there is at most one frontend a node."""
    several, more = (recipe.get("frontend", k) for k in ("enable_multiple_frontends", "num_additional_frontends"))
    nodes = 1 + max((n for at in meant(shapes, draft.gpus_per_node).values() for n in at), default=0)
    wanted = 1 if several is not None and several.value is False else 1 + (_MORE if more is None else whole(more) or 0)
    count = min(wanted, nodes, 64)
    if count == 1:
        for item in filter(None, (several, more)):
            ledger.drop(item, "one frontend is written; there is at most one a node (frontend.replicas)")
        return
    ledger.use(several, more)
    draft.frontend.append(entry("replicas", count, several, more))
    draft.frontend.append(Item("one_address", True))
    if wanted > count:
        where = "frontend.replicas" if several or more else "frontend.replicas: by its default"
        ledger.warn(f"{where} srtctl starts {wanted} behind nginx; here there is at most one a node", more or several)


def _router_flags(args: Item | None, mode: str, draft: Draft, ledger: Ledger) -> list[Item]:
    """The router's further flags; its port and its mode have keys of their own."""
    rest: dict[str, Item] = {}
    for item in section_of(args).items:
        flag = item.key.removeprefix("--").replace("_", "-")
        value, reason = one_line(plain(item.value))
        if value is None or reason:
            ledger.drop(item, reason or "it has no value")
        elif flag in _GIVEN_OUT:
            ledger.drop(item, "given out by the launcher")
        elif flag in ("http-port", "port"):
            draft.frontend.append(entry("port", whole(item, 1, 65535), item))
            ledger.use(item)
        elif flag == mode and isinstance(value, str):
            draft.frontend.append(entry("router_mode", value, item))
            ledger.use(item)
        elif re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", flag) and flag not in rest:
            rest[flag] = replace(item, key=flag, value=value)
            ledger.use(item)
        else:
            ledger.drop(item, "not the name of a flag, or given twice")
    return list(rest.values())


def services(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """`infra.etcd_nats_dedicated_node`: NATS and etcd on a node of their own."""
    own = recipe.get("infra", "etcd_nats_dedicated_node")
    if own is None or not isinstance(own.value, bool):
        return
    if draft.engine == "sglang":
        ledger.drop(own, "SGLang's router needs neither NATS nor etcd")
        return
    if own.value:
        draft.services.append(entry("where", "own", own))
    ledger.use(own)


def timeouts(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """`health_check`: so many attempts, so many seconds apart."""
    check = recipe.get("health_check")
    section = section_of(check)
    attempts, interval = section.get("max_attempts"), section.get("interval_seconds")
    if attempts is None and interval is None:
        return
    tries = whole(attempts, 0, 10**6)
    wait = interval.value if interval is not None else None
    if wait is not None and (isinstance(wait, bool) or not isinstance(wait, (int, float))):
        assert interval is not None
        raise InputError(problem("must be a number of seconds", interval))
    seconds = (_ATTEMPTS if tries is None else tries) * (_INTERVAL if wait is None else wait)
    if not 0 < seconds < 10**9:
        for item in (attempts, interval):
            if item is not None:
                ledger.drop(item, "no time at all; the default is used")
        return
    ledger.use(attempts, interval)
    ready = int(seconds) if float(seconds).is_integer() else seconds
    draft.timeouts.append(entry("ready", ready, attempts, interval))
