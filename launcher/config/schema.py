"""The schema of a config file. Field descriptions become docs/config.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from launcher.config.allocation import RoleSlurm, Slurm
from launcher.config.fields import (
    AutoPort,
    Count,
    Engine,
    Env,
    EnvFrom,
    Flags,
    FrontPort,
    Name,
    Runtime,
    Seconds,
    Text,
    Workers,
    at_keys,
    no_lines,
)
from launcher.config.running import LogFiles, OnFailure, Part, Security, Service


def _no_slurm(value: Any) -> Any:
    if isinstance(value, dict) and "slurm" in value:
        at_keys([("slurm", "an aggregated deployment has one kind of nodes: set it in the top `slurm`")])
    return value


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

    runtime: Runtime = Field(
        default="none",
        description="How a container is started on the nodes: `none`, `pyxis` (enroot; Slurm only), "
        "`apptainer`, `docker`, or one that an installed package adds.",
    )
    image: Text | None = Field(default=None, description="Image, as the runtime names it.")
    mounts: list[Text] = Field(default_factory=list, description="`SOURCE:TARGET[:OPTIONS]`, a list.")
    options: list[Text] = Field(default_factory=list, description="Further options for the runtime, word by word.")


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
    nodes: Literal["shared", "own"] = Field(
        default="shared", description="`own`: its workers share no node with another role's, though they would fit."
    )
    args: Flags = Field(
        default_factory=dict,
        description="SGLang's flags by their own names, without `--`. `true` sets a switch, "
        "`false` leaves it out, a list gives several values.",
    )
    env: Env = Field(default_factory=dict, description="Environment of these workers.")

    @property
    def own_slurm(self) -> RoleSlurm | None:
        """What the role's nodes have of their own; None if that is nothing."""
        return None


class SplitRole(Role):
    """The workers of one role."""

    slurm: RoleSlurm | None = Field(
        default=None,
        description="Where this role's nodes are of another kind: `partition`, `constraint`, `gpus_per_node`, "
        "`account`, `qos`, `reservation`, `nodelist`, `exclude`, `switches`, `segment`, `mem`, ... over those of "
        "`slurm`, key by key; `false` leaves one out. The job is then a heterogeneous one of Slurm, with "
        "prefill's nodes as its first component and decode's as its second.",
    )

    @property
    def own_slurm(self) -> RoleSlurm | None:
        return self.slurm if self.slurm is not None and self.slurm.says_something else None


class Frontend(Part):
    """The OpenAI-compatible address that clients talk to."""

    port: FrontPort = Field(
        default=8000,
        description="Port of the endpoint, or `auto`. Frontends themselves take ports of the job's block. `unix`, on "
        "this machine alone: a unix socket that only you can open, and no port that any other user could reach.",
    )
    router_mode: Text | None = Field(
        default=None, description="How requests are spread: `round-robin`, `random`, `kv`, ..."
    )
    replicas: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="How many frontends: one on each of the first nodes of the plan, so at most as many as it has "
        "(on this machine its nodes are counted too). They answer at one address, which hands each request to the "
        "frontend that has the fewest.",
    )
    one_address: bool = Field(
        default=False, description="Without effect: frontends always answer at one address, on the first node."
    )
    router: Literal["sglang-router", "smg"] = Field(
        default="sglang-router", description="Under engine sglang: the router's pip package. smg is its successor."
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
        default=3600,
        description="Every worker must answer a request within this. Where it is not set, and DeepGEMM's kernels could "
        "not be built ahead, the time that SGLang takes to compile them is added.",
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
    """What compilers make for a deployment (DeepGEMM, Triton, FlashInfer, TVM-FFI, Inductor, ...). DeepGEMM's kernels
    are built in parallel before the workers start; all is kept in one archive, with which the next job begins."""

    enabled: bool = Field(
        default=True,
        description="Have the stage `kernels`. The mocker and SGLang on the CPU have none, unless `cache_dir` is set.",
    )
    cache_dir: Text | None = Field(
        default=None,
        description="Folder of the archives, on storage that every node sees. Without it: `kernels_<uid>` beside the "
        "run folders. Jobs mount it into containers.",
    )
    local_dir: Text = Field(
        default="/tmp/sgl-launch-kernels",
        description="Where each node keeps what compilers make: `<local_dir>-<uid>/<name>`, a name for each image and "
        "model, the same in containers. Must not be shared by nodes, nor mounted noexec.",
    )
    manifest: Text | None = Field(
        default=None,
        description="Shapes learnt with `warmup --kernels --from-log`, for models whose shapes are not computed from "
        "config.json and the flags.",
    )
    fast: bool = Field(
        default=False,
        description="SGLang's short list of batch sizes (SGLANG_JIT_DEEPGEMM_FAST_WARMUP).",
    )
    required: bool = Field(default=False, description="End the job if the kernels can't be prepared.")
    trusted_owners: list[Text] = Field(
        default_factory=list,
        description="Accounts whose archives in cache_dir are used too. Kernels are code that runs as you: "
        "else only your own archives and root's are used, and what is anybody else's is built again beside it.",
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
    engine: Engine = Field(
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
        description="SGLang's version on the workers, by which `check` judges `args`. When it is not given: what the "
        "image's name says or goes with `dynamo_version`, else the newest that it knows.",
    )
    dynamo_version: Text | None = Field(default=None, description="Dynamo's version, likewise.")
    container: Container = Field(default_factory=Container)
    slurm: Slurm = Field(default_factory=Slurm)
    network: Network = Field(default_factory=Network)
    ports: Ports = Field(default_factory=Ports)
    prefill: SplitRole | None = None
    decode: SplitRole | None = None
    aggregated: Annotated[Role, BeforeValidator(_no_slurm)] | None = None
    mocker: Flags = Field(default_factory=dict, description="Flags of Dynamo's mocker (`speedup-ratio: 10`).")
    dynamo_serve: DynamoServe | None = None
    setup: Annotated[list[Text], BeforeValidator(no_lines)] = Field(
        default_factory=list,
        description="Lines of bash before each process on its node (inside the container, if there is one): "
        "`module load cuda`, `source /opt/x/env.sh`, `ulimit -n 65536`. They stand in the script as they are; a line "
        "that fails ends the process. A site file's lines come before a config's; `null` in a config leaves those "
        "out. `env` is set after them.",
    )
    env: Env = Field(
        default_factory=dict,
        description="Environment of all workers and of the frontend, under their own `env`. "
        "NATS and etcd do not get it. Values stand as they are, but for `$NAME` of the variable itself: "
        "`PATH: /opt/x/bin:$PATH`.",
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
    service: Service = Field(default_factory=Service)
    on_failure: OnFailure = Field(default_factory=OnFailure)
    spare_nodes: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0,
        description="Nodes to allocate beyond those needed (Slurm). A node that does not answer when the job "
        "starts is left out; a worker group that is started again leaves a node that has died for a spare "
        "one. Sets --no-kill: Slurm does not end the job when it loses a node. Not with engine: sglang, whose "
        "router is told its workers' addresses when it starts.",
    )
    timeouts: Timeouts = Field(default_factory=Timeouts)
    logs: LogFiles = Field(default_factory=LogFiles)
    preflight: bool = Field(
        default=False,
        description="Look at the nodes first (GPUs, model, image, limits, disk, network, ports) and end "
        "the job if one is bad, with its name. `sgl-launch preflight` does the same before.",
    )
    warmup: Warmup = Field(default_factory=Warmup)
    runs: Text = Field(
        default="runs",
        description="Folder for run folders, on storage that every node sees; relative to where the job is submitted. "
        "In every path `~`, `$HOME` and `$USER` are expanded, and nothing else is.",
    )

    @property
    def roles(self) -> dict[str, Role]:
        """The roles that have workers, in the order in which they take nodes."""
        pairs = (("prefill", self.prefill), ("decode", self.decode), ("aggregated", self.aggregated))
        return {name: role for name, role in pairs if role is not None}

    @property
    def heterogeneous(self) -> bool:
        """Whether a role has nodes of its own kind."""
        return any(role.own_slurm for role in self.roles.values())

    def slurm_of(self, role: str) -> Slurm:
        """What holds for the nodes of a role: the top `slurm`, and over it the role's own."""
        own = self.roles[role].own_slurm
        return self.slurm.under(own) if own else self.slurm

    @property
    def keeps_caches(self) -> bool:
        """Whether the job has the stage `kernels`: wherever its engine compiles something."""
        kernels, on_cpu = self.warmup.kernels, any(r.args.get("device") == "cpu" for r in self.roles.values())
        compiles = self.engine != "mocker" and not on_cpu
        return kernels.enabled and (compiles or kernels.cache_dir is not None)

    @property
    def sbatch_options(self) -> list[str]:
        """The names of sbatch's options that the config sets, for whichever role."""
        return [name for role in self.roles for name in self.slurm_of(role).given]

    @property
    def served_name(self) -> str:
        return self.model.served_name or self.model.path
