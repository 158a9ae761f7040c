"""The environment that a job's processes get: the submitter's, without what belongs to the job or to Slurm's client."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from launcher.config.names import SCRIPT_NAMES

# What srun needs of the batch step's environment to find its job. Everything else of Slurm's that is set there was
# meant for another command (SLURM_TIMELIMIT, SLURM_LABELIO, ...), or would only limit a step (SLURM_MEM_PER_CPU, ...).
_SLURM = re.compile(
    r"SLURM_(CONF|CONF_SERVER|CLUSTER_NAME|WORKING_CLUSTER|JOB_ID|JOBID|JOB_NODELIST|JOB_NUM_NODES|SUBMIT_DIR|HET_SIZE|"
    r"JOB_END_TIME|JOB_START_TIME|JOB_PARTITION|RESTART_COUNT|JOB_(ID|NODELIST|NUM_NODES|PARTITION)_HET_GROUP_\d+)"
)
_FOREIGN = re.compile(r"(SLURM|SBATCH|SALLOC|SRUN|SQUEUE|SACCT|SCANCEL|SINFO|SGL|LAUNCH)_")
_OF_A_WORKER = re.compile(r"(PREFILL|DECODE|AGGREGATED)_[0-9]+_")
_PROXIES = ("no_proxy", "NO_PROXY")
# Dynamo's logs without the lines for each request (3.4 KB of them with 1.4.2); its /metrics counts requests
_DYN_LOG = (
    "info,dynamo_llm::http::service=warn,dynamo_kv_router::scheduling=warn,dynamo_runtime::pipeline::network=warn,"
    "http-request=warn"
)


def base_env(environment: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """Without the script's own names (a RANK of the submitter must not be taken for ours), without secrets, which the
    processes read from files, and with a clean set of Slurm's variables."""
    hidden = set(secrets)
    kept = {
        name: value
        for name, value in environment.items()
        if name not in SCRIPT_NAMES
        and name not in hidden
        and not _OF_A_WORKER.match(name)
        and (not _FOREIGN.match(name) or _SLURM.fullmatch(name))
    }
    # steps get all of it, whatever --export the job was submitted with
    kept["SLURM_EXPORT_ENV"] = "ALL"
    kept.setdefault("DYN_LOG", _DYN_LOG)
    return kept


def without_proxy(environment: Mapping[str, str], addresses: Iterable[str]) -> dict[str, str]:
    """Variables that keep a proxy out of the way between the job's own processes, wherever that proxy is set: in the
    submitter's environment, in a config's `env`, by a set-up line or inside the image."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = ",".join(dict.fromkeys([*filter(None, given.split(",")), "localhost", "127.0.0.1", *addresses]))
    return dict.fromkeys(_PROXIES, hosts)


def write_secrets(folder: Path, names: Mapping[str, str | None], environment: Mapping[str, str]) -> list[str]:
    """The values of `env_from` as files that this user alone can read: one for each name in `folder`/env. `names` gives
    the file that a value is read from; None is the environment. Returns what is wrong, a sentence each."""
    if not names:
        return []
    folder.mkdir(mode=0o700)
    (folder / "env").mkdir(mode=0o700)
    problems = []
    for name, path in names.items():
        if path is None:
            value = environment.get(name, "")
            if not value:
                problems.append(f"{name} (env_from) is not in the job's environment: export it and submit again")
        else:
            try:
                value = Path(path).expanduser().read_text(encoding="utf-8").rstrip("\n")
            except (OSError, UnicodeDecodeError) as e:
                problems.append(f"{name}: can't read {path} (env_from): {getattr(e, 'strerror', None) or 'not text'}")
                continue
        with os.fdopen(os.open(folder / "env" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value)
    return problems
