"""The schema of a config file. Field descriptions become docs/config.md."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from launcher.config.names import NAME, not_a_secret, not_to_be_set
from launcher.config.suggest import nearest

AT_KEYS = "at_keys"  # the type of an error that names keys inside its mapping


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        rule = "letters, digits, '.', '_' and '-', at most 63 of them, a letter or digit first"
        raise ValueError(f"not {_shown(value)}; use {rule}")
    return value


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")


def _engine(value: str) -> str:
    from launcher.engines import ENGINES, engine_names

    return value if value in ENGINES else _one_of(value, engine_names())


def _runtime(value: str) -> str:
    from launcher.containers import RUNTIMES, runtime_names

    return value if value in RUNTIMES else _one_of(value, runtime_names())


def _one_of(value: str, names: list[str]) -> str:
    """As pydantic's Literal, for names that are known only when they are asked for."""
    if value not in names:
        shown = [repr(n) for n in names]
        expected = " or ".join([", ".join(shown[:-1]), shown[-1]])
        raise PydanticCustomError("literal_error", "not a known name", {"expected": expected})
    return value


def _one_line(value: str) -> str:
    if not value:
        raise ValueError("must not be an empty text")
    if _has_control(value):
        raise ValueError("must be one line of text without control characters")
    return value


def _has_control(value: str) -> bool:
    return any(ord(c) < 32 or ord(c) == 127 for c in value)


def _at_keys(found: list[tuple[str, str]]) -> None:
    if found:
        raise PydanticCustomError(AT_KEYS, "mistakes in the mapping", {"found": found})


def _env(value: dict[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    problems = []
    for key, item in value.items():
        if isinstance(item, bool):
            item = "true" if item else "false"
        if why := not_to_be_set(key):
            problems.append((key, why))
        elif item is None or isinstance(item, (dict, list)):
            kind = "empty" if item is None else "a list" if isinstance(item, list) else "a mapping"
            problems.append((key, f"must be a text, a number, true or false, not {kind}"))
        elif _has_control(str(item)):
            problems.append((key, "must be one line of text without control characters"))
        out[key] = str(item)
    _at_keys(problems)
    return out


def _env_from(value: Any) -> Any:
    """[A, {B: file:PATH}] and {A: null, B: file:PATH} are {A: None, B: PATH}."""
    items = value if isinstance(value, list) else [value]
    out: dict[str, str | None] = {}
    for item in items:
        pairs = item.items() if isinstance(item, dict) else [(item, None)]
        for name, origin in pairs:
            why = not_a_secret(name) if isinstance(name, str) else "not a name"
            if why:
                raise ValueError(f"{str(name)[:80]!r}: {why}")
            if origin is not None and not (isinstance(origin, str) and re.fullmatch(r"file:[^\x00-\x1f\x7f]+", origin)):
                raise ValueError(f"{name}: write `{name}` (from your environment) or `{name}: file:PATH`")
            if name in out:
                raise ValueError(f"{name} is given twice")
            out[name] = origin.removeprefix("file:") if origin else None
    return out


def _flags(value: dict[str, Any]) -> dict[str, Any]:
    """Flag names as SGLang spells them: `tp_size` and `--tp-size` are `tp-size`."""
    out: dict[str, Any] = {}
    problems = []
    for key, item in value.items():
        flag = key.removeprefix("--").replace("_", "-")
        items = item if isinstance(item, list) else [item]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", flag):
            problems.append((key, "not the name of a flag"))
        elif flag in out:
            problems.append((key, f"{flag} is given twice, in two spellings; keep one"))
        elif isinstance(item, list) and any(i is None or isinstance(i, (dict, list, bool)) for i in items):
            problems.append((key, "a list of values takes texts and numbers alone"))
        elif any(isinstance(i, str) and _has_control(i) for i in items):
            problems.append((key, "must be one line of text without control characters"))
        out[flag] = item
    _at_keys(problems)
    return out


def _text(value: Any) -> Any:
    """Numbers are fine where a text is meant: `account: 17`."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _auto_port(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= 65535):
        return value
    shown = _shown(value) if isinstance(value, str) else "empty" if value is None else str(value)[:60]
    near = nearest(value, ["auto"]) if isinstance(value, str) else ""
    raise ValueError(f"must be 'auto' or a port from 1 to 65535, not {shown}{near}")


Text = Annotated[str, BeforeValidator(_text), AfterValidator(_one_line)]
Name = Annotated[str, BeforeValidator(_text), AfterValidator(_name)]
Env = Annotated[dict[str, Any], AfterValidator(_env)]
EnvFrom = Annotated[dict[str, str | None], BeforeValidator(_env_from)]
Flags = Annotated[dict[str, Any], AfterValidator(_flags)]
Port = Annotated[int, Field(ge=1, le=65535)]
# the check comes first: a union by itself reports one mistake once a branch
AutoPort = Annotated[Literal["auto"] | Port, BeforeValidator(_auto_port)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Workers = Annotated[int, Field(ge=1, le=1024)]
NodeGpus = Annotated[int, Field(ge=1, le=256)]
# AfterValidator: a plain float, however it was written (see yamlpos.Number)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(float)]


class Part(BaseModel):
    """One mapping of the config: typed, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(Part):
    """The model that is served."""

    path: Text = Field(
        description="Model folder as the workers see it (inside the container, if there is one). "
        "A path that begins with `./` is taken from the folder of the file that it is written in."
    )
    served_name: Text | None = Field(
        default=None, description="Name that clients ask for; the path when it is not given."
    )


class Container(Part):
    """The container that workers, frontend, NATS and etcd run in."""

    runtime: Annotated[str, AfterValidator(_runtime)] = Field(
        default="none",
        description="How a container is started on the nodes: `none`, `pyxis` (enroot; Slurm only), "
        "`apptainer`, `docker`, or one that an installed package adds.",
    )
    image: Text | None = Field(default=None, description="Image, as the runtime names it.")
    mounts: list[Text] = Field(default_factory=list, description="`SOURCE:TARGET[:OPTIONS]`, a list.")
    options: list[Text] = Field(default_factory=list, description="Further options for the runtime, word by word.")


class Slurm(BaseModel):
    """The allocation. Any other sbatch option can stand here by its long name."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    gpus_per_node: NodeGpus = Field(default=8, description="GPUs on each node.")
    gpu_request: Literal["gpus-per-node", "gres", "none"] = Field(
        default="gpus-per-node",
        description="How the script asks for them: `--gpus-per-node`, `--gres=gpu:N`, "
        "or not at all (clusters that hand out whole nodes).",
    )

    @property
    def options(self) -> dict[str, Any]:
        """The sbatch options given, by their dashed long names."""
        extra = self.__pydantic_extra__ or {}
        return {str(k).replace("_", "-"): v for k, v in extra.items()}


class Network(Part):
    """The network that nodes reach each other by."""

    interface: Text | None = Field(
        default=None,
        description="Interface whose address each node is reached at (`ib0`, `eth0`); "
        "the one of the default route when it is not given.",
    )


class Ports(Part):
    """TCP ports. What is `auto` comes from a free block chosen from the job's id."""

    base: AutoPort = Field(
        default="auto",
        description="First port of the job's block. `auto`: from the job id, and moved on until "
        "the whole block is free on every node, so that jobs can share nodes.",
    )
    bootstrap: AutoPort = Field(
        default="auto",
        description="Port of SGLang's disaggregation bootstrap server on a prefill worker's head. "
        "A further worker on the same node takes the next port.",
    )


class Role(Part):
    """The workers of one role."""

    workers: Workers = Field(default=1, description="How many workers (worker groups).")
    args: Flags = Field(
        default_factory=dict,
        description="SGLang's flags by their own names, without `--`. `true` sets a switch, "
        "`false` leaves it out, a list gives several values.",
    )
    env: Env = Field(default_factory=dict, description="Environment of these workers.")


class Frontend(Part):
    """The OpenAI-compatible address that clients talk to."""

    port: AutoPort = Field(default=8000, description="HTTP port, or `auto`.")
    router_mode: Text | None = Field(
        default=None, description="How requests are spread: `round-robin`, `random`, `kv`, ..."
    )
    replicas: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="How many frontends: one on each of the first nodes (on this machine, on "
        "successive ports). endpoint.json lists them all.",
    )
    args: Flags = Field(default_factory=dict, description="Further flags of the frontend.")
    env: Env = Field(default_factory=dict, description="Environment of the frontend.")


class Services(Part):
    """Where NATS and etcd are."""

    where: Literal["head", "own", "external"] = Field(
        default="head",
        description="`head`: on the first worker's head node. `own`: on a further node of their "
        "own, the last of the allocation. `external`: somewhere else, at `nats` and `etcd`.",
    )
    nats: Text | None = Field(default=None, description="Its address, `nats://HOST:PORT` or `tls://HOST:PORT`.")
    etcd: Text | None = Field(default=None, description="Its address, `http://HOST:PORT` or `https://HOST:PORT`.")
    keys: Text | None = Field(
        default=None,
        description="Folder with the keys of external services, named as a job's own: ca.pem, "
        "client.pem and client.key for TLS, nats-password for NATS's user sgl-launch.",
    )


class Timeouts(Part):
    """Limits in seconds."""

    services: Seconds = Field(default=60, description="NATS and etcd must answer within this.")
    ready: Seconds = Field(
        default=3600, description="Every worker must answer a request within this."
    )
    stop: Annotated[Seconds, Field(ge=0.1, le=25)] = Field(
        default=8,
        description="Processes get this long to end by themselves before they are killed. "
        "Slurm's KillWait (30 s unless the site changed it) must be longer.",
    )
    drain: Annotated[Seconds, Field(ge=0.1, le=1_000_000)] = Field(
        default=60,
        description="After SIGUSR2 (`slurm.signal: B:USR2@120`) running requests get this long.",
    )


class OnFailure(Part):
    """What happens when a process ends that should not have."""

    workers: Literal["restart", "stop", "requeue"] = Field(
        default="restart",
        description="A worker group that ends once the deployment has been ready: start it again "
        "while the others go on serving, end the job, or end it and requeue it without the node "
        "that failed. Before it has been ready, the job ends.",
    )
    services: Literal["stop", "restart", "requeue"] = Field(
        default="stop",
        description="NATS, etcd or the frontend ends: end the job, start it again at once in its "
        "place with the data it had, or requeue the job.",
    )
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        default=3,
        description="Restarts of one worker group, or of one service; the next end is the job's.",
    )
    max_requeues: Annotated[int, Field(ge=0)] = Field(
        default=2, description="Requeues of the job."
    )


class Security(Part):
    """Who may connect to NATS and etcd."""

    services: Literal["secured", "open"] = Field(
        default="secured",
        description="`secured`: each job makes its own keys. etcd talks TLS and takes only clients "
        "with the job's certificate, NATS only those with its password. `open`: neither.",
    )
    nats_tls: bool = Field(
        default=False,
        description="TLS with the job's certificates for NATS too. Needs Dynamo 1.5 or newer on "
        "the workers: 1.4 and older can give NATS a password but no certificate.",
    )
    request_plane: Literal["tls", "open"] = Field(
        default="open",
        description="TLS with the job's certificates on Dynamo's TCP request plane too. Needs Dynamo 1.5 or newer.",
    )


class WarmupRequests(Part):
    """The request sweep after the workers are ready."""

    enabled: bool = Field(default=True, description="Run it as part of the job.")
    prompt_tokens: list[Count] | None = Field(
        default=None, description="Prompt lengths, in tokens; from the workers' limits if not given."
    )
    concurrency: list[Count] | None = Field(
        default=None, description="Requests at once; from the workers' limits if not given."
    )
    output_tokens: list[Count] | None = Field(default=None, description="Output lengths, in tokens.")
    timeout: Seconds = Field(default=1800, description="Limit for the whole sweep, in seconds.")
    required: bool = Field(default=False, description="End the job if the sweep's verdict is not `warm`.")


class WarmupKernels(Part):
    """DeepGEMM's kernels, built in parallel once and kept, instead of by every job on every node."""

    cache_dir: Text | None = Field(
        default=None,
        description="Folder of the kernel archives, on storage that every node sees (inside the "
        "container too). Without it the job has no stage `kernels`.",
    )
    local_dir: Text = Field(
        default="/tmp/sgl-launch-kernels",
        description="Where each node unpacks them: `<local_dir>-<uid>/<name>`, a name for each set of shapes and image. Must not be shared by nodes. "
        "With pyxis and docker, cache_dir and the folder above this one must be in container.mounts.",
    )
    manifest: Text | None = Field(
        default=None,
        description="Shapes learnt with `warmup --kernels --from-log`, for models that are not of "
        "the DeepSeek V3/R1 family. Computed from the flags when it is not given.",
    )
    fast: bool = Field(
        default=False,
        description="SGLang's short list of batch sizes (SGLANG_JIT_DEEPGEMM_FAST_WARMUP).",
    )
    required: bool = Field(
        default=False, description="End the job if the kernels can't be prepared."
    )


class Warmup(Part):
    """What is warmed before the job counts as warm."""

    kernels: WarmupKernels = Field(default_factory=WarmupKernels)
    requests: WarmupRequests = Field(default_factory=WarmupRequests)


class DynamoServe(Part):
    """What `dynamo serve` is told beyond its service file (engine: dynamo-serve)."""

    graph: Text = Field(
        default="graphs.agg:Frontend",
        description="Graph of frontend and SGLangWorker, which the first worker's first node serves as a whole.",
    )
    decode_graph: Text = Field(
        default="graphs.disagg:Frontend", description="Graph that has the service SGLangDecodeWorker."
    )
    folder: Text | None = Field(
        default=None,
        description="Folder of the graphs as the workers see it; the one that the job runs in when it is not given.",
    )


class Config(Part):
    """One deployment."""

    name: Name = Field(description="Name of the deployment, of the job and of its run folder.")
    engine: Annotated[str, AfterValidator(_engine)] = Field(
        default="dynamo",
        description="What a worker is: `dynamo` (SGLang under Dynamo), `sglang` (SGLang behind its "
        "own router, without Dynamo, NATS and etcd), `dynamo-serve` (Dynamo of 2025), "
        "`mocker` (Dynamo's mocker, no GPU: `--set engine=mocker` rehearses any config), "
        "or one that an installed package adds.",
    )
    model: Model
    python: Text | None = Field(
        default=None,
        description="Python that has SGLang and Dynamo, as the workers see it. Default `python3`; "
        "for the mocker the Python that runs sgl-launch. `./` is as in `model.path`.",
    )
    sglang_version: Text | None = Field(
        default=None,
        description="SGLang's version on the workers, by which `check` judges `args`; the newest "
        "that it knows when it is not given.",
    )
    container: Container = Field(default_factory=Container)
    slurm: Slurm = Field(default_factory=Slurm)
    network: Network = Field(default_factory=Network)
    ports: Ports = Field(default_factory=Ports)
    prefill: Role | None = None
    decode: Role | None = None
    aggregated: Role | None = None
    mocker: Flags = Field(default_factory=dict, description="Flags of Dynamo's mocker (`speedup-ratio: 10`).")
    dynamo_serve: DynamoServe | None = None
    env: Env = Field(
        default_factory=dict,
        description="Environment of all workers and of the frontend, under their own `env`. "
        "NATS and etcd do not get it.",
    )
    env_from: EnvFrom = Field(
        default_factory=dict,
        description="Secrets, by name: `[HF_TOKEN, {OTHER: file:PATH}]`. Read from the environment of "
        "who submits, or from a file on the job's first node; processes get them in their environment, and "
        "nothing else ever holds the values.",
    )
    frontend: Frontend = Field(default_factory=Frontend)
    services: Services = Field(default_factory=Services)
    security: Security = Field(default_factory=Security)
    on_failure: OnFailure = Field(default_factory=OnFailure)
    spare_nodes: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0,
        description="Nodes to allocate beyond those needed (Slurm). A node that does not answer when the job "
        "starts is left out; a worker group that is started again leaves a node that has died for a spare "
        "one. Sets --no-kill: Slurm does not end the job when it loses a node.",
    )
    timeouts: Timeouts = Field(default_factory=Timeouts)
    preflight: bool = Field(
        default=False,
        description="Look at the nodes first (GPUs, model, image, limits, disk, network, ports) and end "
        "the job if one is bad, with its name. `sgl-launch preflight` does the same before.",
    )
    warmup: Warmup = Field(default_factory=Warmup)
    runs: Text = Field(
        default="runs",
        description="Folder for run folders, on storage that every node sees; relative to where the job is submitted.",
    )

    @property
    def roles(self) -> dict[str, Role]:
        """The roles that have workers, in the order in which they take nodes."""
        pairs = (("prefill", self.prefill), ("decode", self.decode), ("aggregated", self.aggregated))
        return {name: role for name, role in pairs if role is not None}

    @property
    def served_name(self) -> str:
        return self.model.served_name or self.model.path
