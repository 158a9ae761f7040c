"""Why deployments fail, as a table: how a cause looks in a log, what it means, what to do.

The order is the order of telling: a cause that makes others stands above them (a GPU that is out of
memory makes NCCL fail on the other ranks, and not the other way round).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.run.logtext import plain


@dataclass(frozen=True)
class Cause:
    """One known cause. `pattern` is searched for in each line, without regard to case if it begins
    with (?i)."""

    name: str
    pattern: re.Pattern[str]
    means: str
    do: str


def _cause(name: str, pattern: str, means: str, do: str) -> Cause:
    return Cause(name, re.compile(pattern), means, do)


CAUSES: tuple[Cause, ...] = (
    _cause(
        "set-up line",
        r"^setup: exit status \d+ of: ",
        "a line of `setup` failed before the process began",
        "the line above it says why; try the line on that node, and change `setup` in the site file or the config",
    ),
    _cause(
        "wrong flag",
        r"error: (unrecognized arguments|argument --\S+: (invalid|expected))|error: ambiguous option",
        "SGLang or Dynamo does not know a flag or its value",
        "run `sgl-launch check CONFIG --sglang VERSION` (or --installed PYTHON) and change prefill.args or decode.args",
    ),
    _cause(
        "missing program",
        r"(Error|python\d*): No module named '?\w|(sglang|nats-server|etcd|python3?): "
        r"(command )?not found|execve\(\): \S+: No such file|nvcc.*not found|CUDA_HOME environment variable is not set",
        "a program or Python module is not there where the worker runs",
        "check container.image, or `python` in the config; the image must hold SGLang, Dynamo, NIXL and nvcc",
    ),
    _cause(
        "hub refused",
        r"GatedRepoError|(401|403) Client Error|429 Client Error|429 Too Many Requests|Cannot access gated repo",
        "the model hub refused a download: no token, no access to this model, or too many requests",
        "export HF_TOKEN and add it to env_from; or download the weights once and set model.path to their folder",
    ),
    _cause(
        "proxy",
        r"ProxyError|Tunnel connection failed|407 Proxy|Unable to connect to proxy",
        "a process went through a proxy that refused it or does not answer",
        "correct or unset http_proxy and https_proxy where you submit, or set them in env; the job's own addresses are "
        "in no_proxy already",
    ),
    _cause(
        "missing model",
        r"does not appear to have a file named|Repository Not Found|Incorrect path_or_model_id|HFValidationError|"
        r"LocalEntryNotFoundError|is not a local folder and is not a valid model|"
        r"(FileNotFoundError|No such file or directory).*(config\.json|safetensors|tokenizer)|"
        r"couldn't connect to 'https://huggingface\.co'|Failed to fetch model '",
        "the model's folder, or a file of it, is not there on this node",
        "model.path is the path inside the container: check container.mounts, and `sgl-launch preflight` on all nodes",
    ),
    _cause(
        "container",
        r"pyxis: .*(fail|error|couldn't|unable)|enroot-\S+: \[ERROR\]|slurmstepd: error: pyxis|"
        r"FATAL:\s+(could not open image|container creation failed|Unable to)",
        "the container could not be started",
        "check that every node can read container.image, and that the sources of its mounts exist",
    ),
    _cause(
        "wrong interface",
        r"interface '[^']*' has no IPv4 address|Unable to find (address for|interface)|no socket interface found|"
        r"(?i:ifname|GLOO_SOCKET_IFNAME).*(not found|no such device|invalid)|"
        r"(?i:gloo).*(makeDeviceForInterface|connectFullMesh failed|No such device)|Bootstrap : no socket interface",
        "the network interface for collectives is missing on this node, or cannot reach the others",
        "set network.interface to the one that all nodes share (`ip -o -4 addr` on a node lists them)",
    ),
    _cause(
        "port in use",
        r"Address already in use|EADDRINUSE|\[Errno 98\]|errno: 98|port \d+ \([^)]*\) is taken|"
        r"no free block of \d+ ports",
        "another process listens on a port that this one needs",
        "leave ports.base and ports.bootstrap at auto, or choose another frontend.port; `ss -tlnp` on that node names "
        "the owner",
    ),
    _cause(
        "out of GPU memory",
        r"torch\.(cuda\.)?OutOfMemoryError|CUDA out of memory|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|"
        r"Not enough memory[.,;] ?Please try to increase --mem-fraction-static|leave no GPU memory for the KV cache|"
        r"Capture cuda graph failed: .*out of memory",
        "the model, its KV cache or CUDA graphs do not fit into the GPU",
        "if activations or CUDA graphs ran out, lower mem-fraction-static, cuda-graph-max-bs or chunked-prefill-size; "
        "if the KV cache has no room, raise mem-fraction-static; or use more GPUs. Check that the GPU was empty",
    ),
    _cause(
        "out of host memory",
        r"oom[-_]kill|Out Of Memory|Cannot allocate memory|DefaultCPUAllocator: can't allocate|"
        r"Exceeded job memory limit",
        "the node's memory, or the job's share of it, is used up",
        "set slurm.mem: 0 (all of the node), and check what else runs there",
    ),
    _cause(
        "shared memory",
        r"/dev/shm\S*.*(No space left|too small)|unable to (open|allocate) shared memory|Bus error",
        "/dev/shm is full or too small on this node or in the container",
        "remove what ended jobs left in /dev/shm (`df -h /dev/shm` on the node); give Docker --ipc=host or --shm-size",
    ),
    _cause(
        "no room on disk",
        r"(?i)No space left on device|Disk quota exceeded",
        "a file system is full",
        "free space in `runs`, /tmp or the kernel cache, or move `runs` to a larger file system",
    ),
    _cause(
        "GPU fault",
        r"NVRM: Xid|uncorrectable ECC|GPU has fallen off the bus|no CUDA-capable device|driver version is insufficient|"
        r"CUDA error: (an illegal memory access|unspecified launch failure|device-side assert)",
        "a GPU or its driver is broken, or a kernel crashed on it",
        "look at `nvidia-smi -q -d ECC` and dmesg on that node; leave it out with slurm.exclude",
    ),
    _cause(
        "DeepEP timeout",
        r"DeepEP (error: )?(timeout|Error: .*timeout)|DeepEP timeout check failed|deep_ep.*timeout|"
        r"dispatch CPU timeout|num_max_dispatch_tokens_per_rank",
        "a rank waited too long for another one's experts, because that one is still compiling kernels or has ended, "
        "or because a batch is too large for DeepEP's buffers",
        "build DeepGEMM's kernels before (warmup.kernels), look for a rank that died first, and raise "
        "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK for larger batches",
    ),
    _cause(
        "kernel compilation",
        r"NVCC compilation failed|DeepGEMM.*(assert|failed)|nvcc fatal|Assertion.*deep_gemm|jit.*compil.*failed",
        "a kernel could not be compiled on the node",
        "check that the image has nvcc, and that the cache folder is on a local disk and not shared by nodes",
    ),
    _cause(
        "scheduler crashed",
        r"Scheduler hit an exception|Received sig(quit|term|child) from a child process|"
        r"Child process unexpectedly failed with|(Scheduler|Detokenizer|TokenizerManager) .*(died|crashed)|"
        r"[Ss]ubprocess \S+ \(pid=\d+\) (crashed|exited|died)|Rank \d+ scheduler (is dead|died)",
        "a scheduler (the process that drives one GPU) ended; the errors of other ranks and workers follow from that",
        "read that rank's log from the first line above on: its traceback gives the reason; without a traceback it was "
        "killed (look for out of memory in `dmesg` on the node)",
    ),
    _cause(
        "TLS or password",
        r"InvalidCertificate|certificate verify failed|bad certificate|tlsv1 alert|Authorization Violation|"
        r"authorization violation|authentication handshake failed",
        "a process and NATS or etcd do not trust each other",
        "leave security.nats_tls off with Dynamo older than 1.5, and set no NATS_... or ETCD_AUTH_... variable in env",
    ),
    _cause(
        "etcd lost",
        r"etcdserver: requested lease not found|[Ll]ease (expired|not found|is revoked)|"
        r"(?i:keep.?alive).*(fail|error|lost)|"
        r"Unable to (create|connect to|reach) .*etcd|etcd.*(connection refused|unavailable|transport error)|"
        r"no answer within \d+ s from .*etcd",
        "a worker could not reach etcd before its lease ran out, and stopped",
        "read logs/etcd-0.log, and check the head node's load and network; Dynamo's workers then end with status 0",
    ),
    _cause(
        "NATS lost",
        r"nats: (no servers|connection (closed|refused)|timed out)|(?i:failed to connect to nats)|"
        r"NATS.*(refused|timed out)|"
        r"no answer within \d+ s from nats",
        "a process could not reach NATS",
        "read logs/nats-0.log, and check that no firewall keeps the nodes from the head node",
    ),
    _cause(
        "NIXL or UCX",
        r"NIXL_ERR_\w+|nixl\w*(Error|Exception)|UCX +(ERROR|FATAL)|ucp_\w+.*fail|"
        r"nixl.*(plugin|backend).*(not found|fail)|"
        r"KVTransferError|(Prefill|Decode) transfer failed",
        "KV caches could not be moved between a prefill and a decode worker",
        "check that UCX_TLS and UCX_NET_DEVICES, if set, name what both nodes have (`ucx_info -d`, `ibv_devinfo`), and "
        "that the other side's worker did not die first",
    ),
    _cause(
        "locked memory",
        r"ibv_reg_mr|ibv_create_qp.*fail|(?i:memlock)|ulimit -l",
        "RDMA is not allowed to pin enough memory",
        "raise the memlock limit: ulimit -l unlimited in Slurm's PropagateResourceLimits, or in the image",
    ),
    _cause(
        "too many open files",
        r"Too many open files|\[Errno 24\]",
        "a process reached its limit of open files",
        "raise nofile (ulimit -n) on the nodes, to 65536 or more",
    ),
    _cause(
        "bootstrap",
        r"(?i:bootstrap server).*(refused|fail|not|error)|Could not fetch prefill (parallel )?info|"
        r"Failed to (get|fetch|register) .*bootstrap|page[_ ]size.*(mismatch|not equal)",
        "a decode worker could not get a prefill worker's details, or the two are incompatible",
        "set the same page-size and kv-cache-dtype for both (`sgl-launch check`); check that nodes reach each other",
    ),
    _cause(
        "watchdog",
        r"Watchdog timeout \(|[Ww]atchdog caught collective operation timeout|Scheduler.*watchdog|watchdog_timeout",
        "a step took longer than the watchdog allows, because kernels were being compiled or a rank was gone",
        "raise watchdog-timeout in args for the first start, build kernels before, and look for a rank that died first",
    ),
    _cause(
        "NCCL",
        r"NCCL (error|WARN)|ncclSystemError|ncclUnhandledCudaError|ncclRemoteError|ncclInternalError|ncclInvalidUsage|"
        r"DistBackendError",
        "GPUs could not talk to each other, often because a rank of the group had ended before",
        "look at the rank that ended first; set env NCCL_DEBUG: INFO; check network.interface and the InfiniBand ports",
    ),
    _cause(
        "no permission",
        r"Read-only file system|\[Errno (13|30)\]|mkdir: cannot create directory|PermissionError|: Permission denied",
        "a process may not read or write a file or folder that it needs",
        "the line names it: check its owner and mode on that node (`ls -ld`); HOME and TMPDIR can be set in env",
    ),
    _cause(
        "node lost",
        r"NODE FAILURE|Node failure on|error: .*Job credential|slurmstepd.*(lost|unreachable)|"
        r"Communication connection failure",
        "Slurm lost a node",
        "with on_failure.workers: requeue the job goes on without it; tell the administrators which node it was",
    ),
    _cause(
        "time limit",
        r"DUE TO TIME LIMIT",
        "the job reached its time limit",
        "raise slurm.time; with slurm.signal: B:USR2@120 the job finishes its running requests before the limit",
    ),
    _cause("preempted", r"DUE TO PREEMPTION", "another job took the nodes", "use another partition or qos, or requeue"),
    _cause(
        "another error",
        r"^[A-Za-z_][\w.]*(Error|Exception): \S",
        "a process ended with an error that is in none of these rows",
        "the line says what went wrong, the lines above it in that log say where",
    ),
)
_SILENT_BESIDE = {"another error": {"scheduler crashed"}}
"""A row that is not told where others are found; but for those, which say nothing of the reason."""


@dataclass(frozen=True)
class Explained:
    """A cause and the first lines that speak of it: (file, number of the line or 0 where it is not known, text)."""

    cause: Cause
    lines: tuple[tuple[Path, int, str], ...]
    count: int


# tokens of a server's own arguments, which name everything
_ECHO = re.compile(r"server_args=|ServerArgs\(|Namespace\(|^\s*--[\w-]+|MockEngineArgs")
# a frontend repeats what clients send (their headers, say) in lines of this level
_OF_CLIENTS = re.compile(r"\b(INFO|DEBUG|TRACE)\b")
MOST_LINES = 3


def explain(lines: Iterable[tuple[Path, int, str]]) -> list[Explained]:
    """The causes that lines of logs (file, number, text) speak of, in the order of CAUSES."""
    found: dict[str, list[tuple[Path, int, str]]] = {}
    counts: dict[str, int] = {}
    for path, number, raw in lines:
        line = plain(raw)
        if _ECHO.search(line) or (path.name.startswith("frontend") and _OF_CLIENTS.search(line[:80])):
            continue
        cause = next((c for c in CAUSES if c.pattern.search(line)), None)
        if cause is None:
            continue
        counts[cause.name] = counts.get(cause.name, 0) + 1
        here = found.setdefault(cause.name, [])
        if len(here) < MOST_LINES and all(line != text for *_, text in here):
            here.append((path, number, line))
    told = {name for name in found if found.keys() - {name} <= _SILENT_BESIDE.get(name, set(found))}
    return [Explained(c, tuple(found[c.name]), counts[c.name]) for c in CAUSES if c.name in told]
