"""Checks of what surrounds the workers: environment, ports, paths, time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.base.words import Ref
from launcher.check.facts import Facts
from launcher.check.findings import Finding
from launcher.check.slurm import minutes
from launcher.config.names import self_references
from launcher.config.paths import shell_text as found_shell_text
from launcher.containers import host_path

# variable -> what to set instead
INSTEAD = {
    "GLOO_SOCKET_IFNAME": "set network.interface instead",
    "NCCL_SOCKET_IFNAME": "set network.interface instead",
    "CUDA_VISIBLE_DEVICES": "the launcher gives each worker its GPUs; leave it out",
    "NATS_SERVER": "the launcher starts NATS and tells its address; leave it out",
    "ETCD_ENDPOINTS": "the launcher starts etcd and tells its address; leave it out",
}
# What a first start takes, in minutes, beside the sweep: reading weights, and DeepGEMM's kernels.
# Users and maintainers speak of 10 to 30 minutes for DeepSeek's; a small model loads in one.
LOADING, KERNELS = 10.0, 30.0
WATCHDOG = 300  # seconds: SGLang's own watchdog-timeout


def environment(x: Facts) -> Iterator[Finding]:
    """Variables that the launcher gives out itself: one from the config would win, and break it."""
    given: dict[str, set[str]] = {}
    if x.plan is not None:
        given = {
            r.name: {k for k, v in r.command.env.items() if isinstance(v, Ref) and k not in x.config.roles[r.name].env}
            for r in x.plan.roles
        }
    for role, its in x.config.roles.items():
        for name in its.env:
            if advice := _advice(name, given.get(role, set())):
                yield Finding("warning", x.source.problem(advice, role, "env", name))
    for name in x.config.env:
        if advice := _advice(name, set().union(*given.values()) if given else set()):
            yield Finding("warning", x.source.problem(advice, "env", name))


_ADDRESSES = frozenset(
    "DYN_TCP_RPC_HOST DYN_TCP_RPC_PORT DYN_SYSTEM_HOST DYN_SYSTEM_PORT SGLANG_HOST_IP HOST_IP".split()
)


def _advice(name: str, given: set[str]) -> str:
    if name in INSTEAD:
        return f"changes what the launcher sets: {INSTEAD[name]}"
    if name in given or name in _ADDRESSES:
        return "changes what the launcher sets for each rank; leave it out"
    return ""


def low_ports(x: Facts) -> Iterator[Finding]:
    for keys, port in ((("frontend", "port"), x.config.frontend.port), (("ports", "base"), x.config.ports.base)):
        if isinstance(port, int) and port < 1024:
            message = f"ports below 1024 need root on most nodes; choose one above, or auto (not {port})"
            yield Finding("warning", x.source.problem(message, *keys))


def model_path(x: Facts) -> Iterator[Finding]:
    """The model as far as this machine can tell: below a mount, and there if all runs here."""
    path, config = x.config.model.path, x.config
    if not path.startswith("/"):
        return  # a name on a hub
    here = host_path(config, path)
    if here is None:
        message = f"{path} is in none of container.mounts; unless the image contains it, add the mount SOURCE:{path}"
        yield Finding("warning", x.source.problem(message, "model", "path"))
    elif x.cluster == "local" and not here.is_dir():
        yield Finding("error", x.source.problem(f"no such folder on this machine: {here}", "model", "path"))


def mounts(x: Facts) -> Iterator[Finding]:
    """Where a mount leads to in the container: an absolute path, or the same one where none is given."""
    for mount in x.config.container.mounts:
        _, colon, rest = mount.partition(":")
        if colon and not rest.startswith("/"):
            message = f"{mount}: write SOURCE:TARGET[:OPTIONS], with TARGET an absolute path in the container"
            yield Finding("error", x.source.problem(message, "container", "mounts"))


def shell_text(x: Facts) -> Iterator[Finding]:
    """What a shell would replace, in values that no shell reads."""
    config = x.config
    envs: list[tuple[tuple[str, ...], Mapping[str, str]]] = [(("env",), config.env)]
    envs.append((("frontend", "env"), config.frontend.env))
    flags: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [(("frontend", "args"), config.frontend.args)]
    flags.append((("mocker",), config.mocker))
    for name, role in config.roles.items():
        envs.append(((name, "env"), role.env))
        flags.append(((name, "args"), role.args))
    for keys, env in envs:
        for name, value in env.items():
            for begin, end in reversed(self_references(name, value)):
                value = value[:begin] + value[end:]
            if text := found_shell_text(value):
                message = (
                    f"{text} is not expanded here; only ${name}, the variable's own earlier value, is. Write the full "
                    f"value, or add a line to `setup`: export {name}=..."
                )
                yield Finding("warning", x.source.problem(message, *keys, name))
    # sbatch takes its options as they stand in the script; a comment may say what it likes
    flags.append((("slurm",), {k: v for k, v in config.slurm.given.items() if k != "comment"}))
    for keys, args in flags:
        for name, item in args.items():
            for value in item if isinstance(item, list) else [item]:
                if isinstance(value, str) and (text := found_shell_text(value)):
                    message = f"{text} is not expanded here, because no shell reads it; write the full value"
                    yield Finding("warning", x.source.problem(message, *keys, name))


# each node has its own of these
NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def run_folders(x: Facts) -> Iterator[Finding]:
    """Run folders on storage that every node sees, as far as the path that was written tells."""
    runs = os.path.normpath(x.config.runs)
    at = next((top for top in NODE_LOCAL if runs == top or runs.startswith(top + "/")), None)
    if at is not None and x.cluster == "slurm":
        message = f"{runs} is below {at}, which is another folder on every node; choose one that all nodes share"
        yield Finding("warning", x.source.problem(message, "runs"))


def time_limit(x: Facts) -> Iterator[Finding]:
    """Whether the time limit leaves room to serve after the start and the warm-up."""
    text = x.config.slurm.given.get("time")
    if text is None or x.cluster == "local":
        return
    try:
        limit = minutes(text)
    except ValueError:
        message = f'{text!r} is not a time limit; write hours:minutes:seconds, as "04:00:00"'
        yield Finding("error", x.source.problem(message, "slurm", "time"))
        return
    warm = x.config.warmup.requests
    need, parts = (LOADING, [f"{LOADING:.0f} min for the weights"]) if x.config.engine != "mocker" else (1.0, [])
    if _compiles(x):
        need += KERNELS
        parts.append(f"{KERNELS:.0f} min for DeepGEMM's kernels on an empty cache")
    if warm.enabled:
        sweep = warm.timeout / 60
        need += sweep
        parts.append(f"up to {sweep:.0f} min for the request sweep")
    if limit and limit <= need:  # 0 is no limit, too
        message = (
            f"{limit:.0f} min may be too short to get warm ({', '.join(parts)}); "
            f"set more than {need:.0f} min, or lower warmup.requests.timeout"
        )
        yield Finding("warning", x.source.problem(message, "slurm", "time"))


def _compiles(x: Facts) -> bool:
    """Whether SGLang will compile DeepGEMM's kernels: for DeepSeek's FP8, unless it is told not to."""
    env = [x.config.env, *(r.env for r in x.config.roles.values())]
    off = any(e.get("SGLANG_JIT_DEEPGEMM_PRECOMPILE") in ("0", "false") for e in env)
    kept = x.config.keeps_caches  # built in parallel, once
    return x.config.engine != "mocker" and x.model.mla is True and not off and not kept


def compilation(x: Facts) -> Iterator[Finding]:
    """Whether those who watch over a start wait for kernels that SGLang compiles during it."""
    if not _compiles(x):
        return
    instead = "or build the kernels first (warmup.kernels.enabled)"
    need = (LOADING + KERNELS) * 60
    if x.config.timeouts.ready < need:
        message = (
            f"{x.config.timeouts.ready:.0f} s may be too short while SGLang compiles DeepGEMM's kernels; "
            f"set {need:.0f} s, {instead}"
        )
        yield Finding("warning", x.source.problem(message, "timeouts", "ready"))
    short = [role for role in x.config.roles if x.number(role, "watchdog-timeout", WATCHDOG) < KERNELS * 60]
    if short:  # said once
        seconds = x.number(short[0], "watchdog-timeout", WATCHDOG)
        message = (
            f"DeepGEMM's kernels may take longer to compile than the {seconds} s after which SGLang ends a worker; "
            f"set watchdog-timeout: {KERNELS * 60:.0f} for {' and '.join(short)}, {instead}"
        )
        yield x.at("warning", message, short[0], "watchdog-timeout")


def signals(x: Facts) -> Iterator[Finding]:
    """`signal: B:USR2@120` drains before the time is over; without B: the job's script never sees it."""
    text = x.config.slurm.given.get("signal")
    if text is None:
        return
    name, _, seconds = str(text).partition("@")
    if not name.startswith("B:") and "B" not in name.partition(":")[0]:
        message = f"without B:, Slurm does not send the signal to the job's script, which drains on it; write B:{text}"
        yield Finding("warning", x.source.problem(message, "slurm", "signal"))
    elif name.endswith("USR2") and seconds.isdecimal() and int(seconds) <= x.config.timeouts.drain:
        message = (
            f"{seconds} s before the end is less than timeouts.drain ({x.config.timeouts.drain:.0f} s); "
            f"write B:USR2@{x.config.timeouts.drain + 60:.0f}"
        )
        yield Finding("warning", x.source.problem(message, "slurm", "signal"))


def shared_services(x: Facts) -> Iterator[Finding]:
    """Dynamo of today keeps deployments apart by a namespace of each; a graph of 2025 has its own, fixed."""
    if x.config.engine == "dynamo-serve" and x.config.services.where == "external":
        message = "the graph's namespace is fixed: one deployment of dynamo serve at a time may use these services"
        yield Finding("warning", x.source.problem(message, "services", "where"))


CHECKS = (
    environment, low_ports, model_path, mounts, run_folders, shell_text, time_limit, compilation, signals,
    shared_services,
)  # fmt: skip
