# ruff: noqa: E501 - lines as the programs write them
"""Known causes in lines as the programs write them: each sample is explained by its own cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.report.causes import CAUSES, explain

SAMPLES = [
    ("set-up line", "setup: exit status 127 of: module load cuda/99"),
    ("wrong flag", "launch_server.py: error: unrecognized arguments: --enable-deepep-moe"),
    ("wrong flag", "__main__.py: error: argument --tp-size/--tp: invalid int value: 'sixteen'"),
    ("missing program", "ModuleNotFoundError: No module named 'sglang'"),
    ("missing program", "/usr/bin/python3: No module named dynamo"),
    ("missing program", "ModuleNotFoundError: No module named 'redis'"),
    ("missing program", "slurmstepd: error: execve(): nats-server: No such file or directory"),
    ("missing program", "bash: line 12: etcd: command not found"),
    ("missing model", "OSError: /model does not appear to have a file named config.json. Checkout 'https://huggingface.co//model/tree/None' for available files."),
    ("missing model", "OSError: Incorrect path_or_model_id: '/model'. Please provide either the path to a local folder or the repo_id of a model on the Hub."),
    ("missing model", "FileNotFoundError: [Errno 2] No such file or directory: '/model/model-00001-of-000163.safetensors'"),
    ("missing model", "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/model'."),
    ("missing model", "Exception: Failed to fetch model '/x/tiny-model' from HuggingFace. Is this a valid HuggingFace ID? Error: request error"),
    ("container", "pyxis: failed to import docker image"),
    ("container", "slurmstepd: error: pyxis: couldn't start container"),
    ("container", "FATAL:   could not open image /images/sglang.sif: failed to retrieve path for /images/sglang.sif"),
    ("wrong interface", "n003: interface 'ib7' has no IPv4 address; set network.interface to one of: lo eth0 ib0"),
    ("wrong interface", "RuntimeError: [../third_party/gloo/gloo/transport/tcp/device.cc:84] ifa != nullptr. Unable to find address for: ib0"),
    ("wrong interface", "RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] no error"),
    ("wrong interface", "n001:4711:4711 [0] bootstrap.cc:45 NCCL WARN Bootstrap : no socket interface found"),
    ("port in use", "ERROR:    [Errno 98] error while attempting to bind on address ('10.0.0.1', 30000): address already in use"),
    ("port in use", "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 20016, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use"),
    ("port in use", "12:01:02  FAILED: port 8000 (frontend.port) is taken on n001; choose another one or auto"),
    ("out of GPU memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB is free."),
    ("out of GPU memory", "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."),
    ("out of GPU memory", "ValueError: Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=0.5. Raise --mem-fraction-static above 0.585"),
    ("out of GPU memory", "Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 20.00 MiB."),
    ("out of host memory", "slurmstepd: error: Detected 1 oom_kill event in StepId=4711.5. Some of the step tasks have been OOM Killed."),
    ("no room on disk", "OSError: [Errno 28] No space left on device: '/tmp/deep_gemm/tmp'"),
    ("GPU fault", "[12345.6] NVRM: Xid (PCI:0000:1b:00): 79, pid=4711, GPU has fallen off the bus."),
    ("GPU fault", "RuntimeError: CUDA error: uncorrectable ECC error encountered"),
    ("DeepEP timeout", "RuntimeError: DeepEP error: timeout (dispatch CPU)"),
    ("DeepEP timeout", "RuntimeError: Failed: Assertion error /sgl-workspace/DeepEP/csrc/deep_ep.cpp:1105 'x.size(0) <= num_max_dispatch_tokens_per_rank'"),
    ("kernel compilation", "NVCC compilation failed: nvcc fatal   : Unsupported gpu architecture 'compute_90a'"),
    ("another error", "triton.compiler.errors.CompileTimeError: at 4:5: a shape that nobody knows"),
    ("scheduler crashed", "[2026-11-23 12:00:00 TP3] Scheduler hit an exception: Traceback (most recent call last):"),
    ("scheduler crashed", "[2026-11-23 12:00:00] Received sigquit from a child process. It usually means the child failed."),
    ("scheduler crashed", "Child process unexpectedly failed with exitcode=-9. pid=4711"),
    ("TLS or password", "nats: 'Authorization Violation'"),
    ("TLS or password", 'rejected connection: remote error: tls: bad certificate","remote-addr":"10.0.0.4:51022"'),
    ("etcd lost", "2026-11-23T12:00:00.1Z ERROR dynamo_runtime::transports::etcd: lease expired; shutting down"),
    ("etcd lost", 'grpc request error: status: NotFound, message: "etcdserver: requested lease not found"'),
    ("etcd lost", "Exception: Unable to create lease. Check etcd server status at https://10.0.0.1:20001"),
    ("NATS lost", "nats: no servers available for connection"),
    ("NIXL or UCX", "nixl_cu12._bindings.nixlRemoteDisconnectError: NIXL_ERR_REMOTE_DISCONNECT"),
    ("NIXL or UCX", "[n001:4711:0:4711]  rc_mlx5_devx.c:99 UCX  ERROR mlx5dv_devx_obj_create(DCT) failed"),
    ("NIXL or UCX", "KVTransferError(bootstrap_room=42): Failed to send kv chunk of 42 to 10.0.0.3:41001"),
    ("locked memory", "ibv_reg_mr(address=0x7f, length=1048576) failed: ulimit -l is too small"),
    ("too many open files", "OSError: [Errno 24] Too many open files: '/dev/shm/sem.x'"),
    ("bootstrap", "Could not fetch prefill parallel info from bootstrap_addr: 10.0.0.1:30001"),
    ("bootstrap", "Error fetching prefill info from bootstrap server: HTTPConnectionPool(host='127.0.0.1', port=30001): Connection refused"),
    ("watchdog", "[2026-11-23 12:00:00 TP3] Watchdog timeout (self.watchdog_timeout=300)"),
    ("watchdog", "[rank5]:[E1123 12:00:00 ProcessGroupNCCL.cpp:616] [Rank 5] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE)"),
    ("NCCL", "torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3356, unhandled system error, NCCL version 2.27.3"),
    ("NCCL", "n001:1:1 [0] misc/ibvwrap.cc:94 NCCL WARN Call to ibv_modify_qp failed with error Connection timed out"),
    ("shared memory", "RuntimeError: unable to open shared memory object </torch_42_1> in read-write mode: No space left on device (28)"),
    ("shared memory", "Bus error (core dumped)"),
    ("hub refused", "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url https://huggingface.co/x"),
    ("proxy", "requests.exceptions.ProxyError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded"),
    ("no permission", "mkdir: cannot create directory '/site/scratch/sgl-launch-7-nats': Read-only file system"),
    ("no permission", "PermissionError: [Errno 13] Permission denied: '/models/DeepSeek-R1'"),
    ("node lost", "slurmstepd: error: *** STEP 4711.3 ON n002 CANCELLED AT 2026-11-23T12:00:00 DUE TO NODE FAILURE ***"),
    ("time limit", "slurmstepd: error: *** JOB 4711 ON n001 CANCELLED AT 2026-11-23T12:00:00 DUE TO TIME LIMIT ***"),
    ("preempted", "slurmstepd: error: *** JOB 4711 ON n001 CANCELLED AT 2026-11-23T12:00:00 DUE TO PREEMPTION ***"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "line"), SAMPLES)
def test_sample(name: str, line: str) -> None:
    found = explain([(Path("logs/x.log"), 1, "nothing here"), (Path("logs/x.log"), 2, f"\x1b[31m{line}\x1b[0m")])
    assert [(e.cause.name, e.lines) for e in found] == [(name, ((Path("logs/x.log"), 2, line),))]


def test_every_cause_has_a_sample() -> None:
    assert {c.name for c in CAUSES} == {name for name, _ in SAMPLES}


def test_causes_come_first_that_make_others() -> None:
    logs = [
        (Path("a.log"), ["NCCL error in: x, remote process exited"] * 5),
        (Path("b.log"), ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB"]),
    ]
    found = explain((path, number, line) for path, lines in logs for number, line in enumerate(lines, 1))
    assert [(e.cause.name, e.count, len(e.lines)) for e in found] == [("out of GPU memory", 1, 1), ("NCCL", 5, 1)]


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-23 12:00:00] server_args=ServerArgs(watchdog_timeout=300, nccl_port=None, disaggregation='nixl')",
        "[2026-11-23 12:00:00] INFO memory usage 0.91, watchdog is on",
        "INFO dynamo_runtime::distributed: Initializing KV store discovery backend: Etcd(http://127.0.0.1:20258)",
        "NCCL version 2.27.3+cuda12.9",
        "INFO nixl agent initialised with backend UCX",
    ],
)
def test_healthy_lines_explain_nothing(line: str) -> None:
    assert explain([(Path("x.log"), 1, line)]) == []


def test_what_clients_send_explains_nothing() -> None:
    said = "2026-11-23T12:00:00.1Z  {} http-request: headers: x-note: No space left on device"
    assert explain([(Path("frontend-0.log"), 1, said.format("INFO"))]) == []
    (found,) = explain([(Path("frontend-0.log"), 1, said.format("ERROR"))])
    assert found.cause.name == "no room on disk"
