"""Names: of deployments, and of the environment variables that a config may set."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Variables that the job script and its supervisor set; tests/unit/test_script_names.py looks for them in its text.
SCRIPT_NAMES = frozenset(
    """ARCHIVES BASE BOOTSTRAP_PORT CACHES CONTAINER DIST_INIT_PORT ETCD_PEER_PORT ETCD_PORT FRONTEND_ADDR
    FRONTEND_PORT FRONT_PORT GROUP HEAD_ADDR HTTP_PORT IFS INSIDE JOB_ID KERNELS_DO KEYS KV_EVENTS_PORT LAUNCH_JOB
    LAUNCH_PYTHON LAUNCH_RANK LAUNCH_RUN METRICS_PORT NATS_PORT NCCL_PORT NNODES NODES NODE_ADDR PORT_BASE RANK
    RPC_PORT RUN RUNS SCRATCH SCRATCH_NAME SERVICES_ADDR SGL_JOB_ID SGL_LAUNCH SLURM_EXPORT_ENV SYSTEM_PORT""".split()
)
_WORKER_NAMES = re.compile(r"(PREFILL|DECODE|AGGREGATED)_[0-9]+_")  # and those of each worker
_BASH_NAMES = frozenset("BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID".split())


def not_to_be_set(name: str) -> str:
    """Why no `env` may set this variable; empty if it may."""
    if not ENV_NAME.fullmatch(name):
        return "not the name of an environment variable (letters, digits and _)"
    if name in SCRIPT_NAMES or _WORKER_NAMES.match(name):
        return "can't be set here: the job script sets it"
    if name in _BASH_NAMES:
        return "can't be set here: bash lets nobody set it"
    return ""


def not_a_secret(name: str) -> str:
    """Why `env_from` may not name this variable; empty if it may. The script itself gets those: without
    its own PATH it would find no program."""
    return not_to_be_set(name) or ("can't be set here: the job script needs its own" if name == "PATH" else "")


def self_references(name: str, value: str) -> list[tuple[int, int]]:
    """Where a variable's value refers to the variable itself, as `$NAME` or `${NAME}`: (begin, end) of each."""
    return [found.span() for found in re.finditer(rf"\$(?:{{{name}}}|{name}(?!\w))", value)]
