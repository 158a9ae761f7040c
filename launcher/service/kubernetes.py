"""A config as the resource of Dynamo's Kubernetes operator (DynamoGraphDeployment, nvidia.com/v1alpha1). Pure.

The operator gives workers their ranks and addresses, starts etcd and NATS, and asks for no key: that stays its own
business, and whatever has no place there is said in a comment at the top.
"""

from __future__ import annotations

from typing import Any

import yaml

from launcher.base.errors import InputError
from launcher.base.words import Ref
from launcher.config import Config
from launcher.engines.base import flag_words
from launcher.engines.sglang import server_flags
from launcher.plan.model import Plan, RolePlan

_PER_POD = "host"  # every address of the pod
_GIVEN = ("dist-init-addr", "nnodes", "node-rank")  # by the operator, to each pod of a worker
_ONLY_ONE = ("port", "nccl-port")  # a pod has its own ports, so SGLang's defaults are free
_BOOTSTRAP = 30001


def resource(plan: Plan) -> str:
    """The YAML. Raises InputError for a config that does not map."""
    config = plan.config
    if config.engine != "dynamo":
        raise InputError(f"engine: {config.engine} has no resource of Dynamo's operator; engine: dynamo has")
    if not config.container.image:
        raise InputError("container.image must be set: the operator starts containers")
    services: dict[str, Any] = {"Frontend": _frontend(config)}
    for role in plan.roles:
        services[role.name if role.name != "aggregated" else "worker"] = _worker(config, role)
    spec: dict[str, Any] = {"backendFramework": "sglang"}
    if config.env:
        spec["envs"] = [{"name": name, "value": str(value)} for name, value in config.env.items()]
    made = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": config.name},
        "spec": {**spec, "services": services},
    }
    head = "".join(f"# {line}\n" for line in ["Made by sgl-launch.", *remarks(config)])
    return head + yaml.safe_dump(made, sort_keys=False, width=110)


def remarks(config: Config) -> list[str]:
    """What the resource does not say, and who says it there."""
    found = [
        "The endpoint asks for no key: put an ingress with authentication before the Frontend.",
        "Kernels and requests are not warmed; model weights need a volume of yours at the model's path.",
    ]
    has = {
        "container.mounts: make volumes of them (extraPodSpec.volumes and mainContainer.volumeMounts)":
            config.container.mounts,
        "container.options: see extraPodSpec.mainContainer": config.container.options,
        "setup: build it into the image": config.setup,
        f"env_from ({', '.join(config.env_from)}): make a secret of them, and name it as envFromSecret":
            config.env_from,
        "slurm: partition, account, time and the like have no counterpart; see nodeSelector and tolerations": True,
        "network.interface: set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME": config.network.interface,
        "security: the operator's own": config.security.endpoint == "key",
    }  # fmt: skip
    return [*found, *(f"Not here: {text}." for text, there in has.items() if there)]


def _frontend(config: Config) -> dict[str, Any]:
    flags = {"router-mode": config.frontend.router_mode or None, **config.frontend.args}
    words = ["-m", "dynamo.frontend", *map(str, flag_words({name: v for name, v in flags.items() if v is not None}))]
    return {
        "componentType": "frontend",
        "replicas": config.frontend.replicas,
        "extraPodSpec": {"mainContainer": _container(config, words if len(words) > 2 else [], config.frontend.env)},
    }


def _worker(config: Config, role: RolePlan) -> dict[str, Any]:
    given = config.roles[role.name]
    flags = {name: value for name, value in server_flags(config, role.name, given).items() if name not in _GIVEN}
    flags = {name: value for name, value in flags.items() if name not in _ONLY_ONE}
    flags |= {_PER_POD: "0.0.0.0"}
    if role.name == "prefill":
        flags["disaggregation-bootstrap-port"] = str(_BOOTSTRAP)
    words = flag_words({**flags, **given.args})
    assert not [word for word in words if isinstance(word, Ref)], words
    made: dict[str, Any] = {"componentType": "worker"}
    if role.name != "aggregated":
        made["subComponentType"] = role.name
    made["replicas"] = given.workers
    nodes = len(role.groups[0].ranks)
    if nodes > 1:
        made["multinode"] = {"nodeCount": nodes}
    made["resources"] = {"limits": {"gpu": str(len(role.groups[0].ranks[0].gpus))}}
    container = _container(config, ["-m", "dynamo.sglang", *map(str, words)], given.env)
    made["extraPodSpec"] = {"mainContainer": container}
    return made


def _container(config: Config, words: list[str], env: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"image": image(str(config.container.image))}
    if words:
        made |= {"command": [config.python or "python3", *words[:2]], "args": words[2:]}
    if env:
        made["env"] = [{"name": name, "value": str(value)} for name, value in env.items()]
    return made


def image(name: str) -> str:
    """An image as Kubernetes names it: enroot's REGISTRY#PATH is REGISTRY/PATH. Raises InputError for a file."""
    if name.endswith((".sqsh", ".sif")) or name.startswith(("/", ".")):
        raise InputError(f"container.image: {name} is a file; Kubernetes pulls images from a registry: --set "
                         "container.image=REGISTRY/PATH:TAG")  # fmt: skip
    return name.removeprefix("docker://").replace("#", "/", 1)
