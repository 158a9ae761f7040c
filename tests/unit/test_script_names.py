"""No `env` or `env_from` may name a variable that the job script uses itself: those are looked for in
the scripts of many configs."""

from __future__ import annotations

import re

import pytest

from launcher.config.names import not_a_secret, not_to_be_set
from launcher.plan.make import kernels_plan
from launcher.plan.model import Cluster
from launcher.render import render

from .helpers import BASE, CONFIGS, REPO, plan_of, shipped

# of other programs, which a config may set
THEIRS = re.compile(
    r"CUDA_|CUTE_DSL_|DEEPEP_|DYN_|EP_JIT_|ETCD_AUTH_|ETCD_ENDPOINTS$|FLASH[_A-Z]+|GLOO_|HF_|HOME$|HOST_IP$|MC_|"
    r"NATS_AUTH_|NATS_SERVER$|NATS_TLS_|XDG_DATA_HOME$|NCCL_|NVSHMEM_|PYTHONPATH$|TMPDIR$|SGLANG_|TILELANG_|TORCH[_A-Z]+|TRITON_|TVM_FFI_|UCX_"
)
# with what no shipped config has
EVERYTHING = """\
spare_nodes: 1
preflight: true
on_failure: {workers: requeue, services: restart}
frontend: {replicas: 2}
services: {where: own}
security: {nats_tls: true, request_plane: tls}
env_from: [HF_TOKEN, {HF_OTHER: "file:~/x"}]
warmup: {kernels: {cache_dir: /cache}}
container: {runtime: docker, image: i, mounts: ["/cache:/cache", "/tmp:/tmp"]}
"""

ASSIGNED = re.compile(r"""(?:^|(?<=[\s;({&|"'`]))([A-Z_][A-Z0-9_]*)(?:\[[^\]\n]*\])?\+?=(?!=)""", re.M)
READ = re.compile(r"\b(?:read|mapfile|printf -v|for)(?: -[a-z]+)*((?: [A-Za-z_]\w*)+)")


def assigned(script: str) -> set[str]:
    """The variables in upper case that the script gives a value, in functions and steps too."""
    code = re.sub(r"<<'END_OF_PLAN'.*?^END_OF_PLAN$", "", script, flags=re.M | re.S)
    code = re.sub(r'^  launcher=.*?^  exit 127$', "", code, flags=re.M | re.S)  # says why, in lower case
    code = "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("#"))
    words = {word for words in READ.findall(code) for word in words.split()}
    return {name for name in {*ASSIGNED.findall(code), *words} if name.isupper()}


def scripts() -> dict[str, str]:
    made = {config.stem: render(shipped(config)) for config in CONFIGS}
    clusters: tuple[Cluster, ...] = ("slurm", "local")
    for cluster in clusters:
        more = EVERYTHING.replace("requeue", "restart") if cluster == "local" else EVERYTHING
        plan = plan_of(BASE + more, cluster)
        made[f"everything-{cluster}"] = render(plan)
        made[f"kernels-{cluster}"] = render(kernels_plan(plan))
    return made


def exported() -> set[str]:
    """What the supervisor gives to every process: the names in its modules."""
    job = REPO / "launcher" / "job"
    files = [job / f"{name}.py" for name in ("context", "addresses", "steps")]
    texts = [file.read_text() for file in (*files, job.parent / "kernels" / "stage.py")]
    found = {name for text in texts for name in re.findall(r'"([A-Z][A-Z_]+)": ', text)}
    assert {"SCRATCH_NAME", "PORT_BASE", "NNODES", "KERNELS_DO", "CACHES", "LAUNCH_RUN"} <= found
    return found


def test_every_variable_of_the_scripts_is_refused() -> None:
    names = set().union(*map(assigned, scripts().values()))
    # so that the search is seen to work: assigned, in an array, read, exported, given to a step
    assert {"RANK", "NODE_ADDR", "SCRATCH", "CONTAINER", "KEYS", "RUNS", "INSIDE"} <= names
    own = {name for name in names | exported() if not THEIRS.match(name)}
    assert {name for name in own - {"PATH"} if not not_to_be_set(name)} == set()
    assert {name for name in own if not not_a_secret(name)} == set()


@pytest.mark.parametrize("name", ["HF_TOKEN", "NCCL_SOCKET_IFNAME", "PATHS", "NATS_AUTH_TOKEN", "host"])
def test_others_may_be_set(name: str) -> None:
    assert not_to_be_set(name) == not_a_secret(name) == ""
