#!/usr/bin/env python3
"""DeepGEMM warm-up, measured: one process against all cores, and what SGLang then still compiles.

    deepgemm.py compare --work DIR    one process with the real nvcc against the parallel build
    deepgemm.py server  --work DIR    real SGLang, DeepSeek-V3 shapes: first request with an empty
                                      cache, with the built one, and with its own sweep switched off
    deepgemm.py roles   --work DIR    both roles of the 2-prefill, 4-decode DeepSeek-R1 deployment
    deepgemm.py layers  --work DIR    the computed table against the weights of SGLang's own layers

The first three need one Hopper GPU, nvcc and SGLang's DeepGEMM; `layers` needs SGLang alone. Each
prints one JSON object, which is also written to DIR/<name>.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from warmup.kernels import (  # noqa: E402
    Job,
    KernelShape,
    Manifest,
    build_here,
    known_config,
    learn_file,
    pack,
    plan_role,
    plan_roles,
    plan_table,
    serve_env,
    target,
    unpack,
)
from warmup.kernels import folder as cache_folder  # noqa: E402
from warmup.kernels.balance import split  # noqa: E402

CHUNK = 4096  # tokens of --chunked-prefill-size in the server runs
EXPERTS, LAYERS = 16, 3
ONE_GPU = {"tp-size": 1, "chunked-prefill-size": CHUNK}
PREFILL = {
    "tp-size": 16, "dp-size": 16, "enable-dp-attention": True, "moe-a2a-backend": "deepep",
    "deepep-mode": "normal", "moe-dense-tp-size": 1, "ep-num-redundant-experts": 32,
    "chunked-prefill-size": 524288, "enable-two-batch-overlap": True,
}  # fmt: skip
DECODE = {
    "tp-size": 32, "dp-size": 32, "enable-dp-attention": True, "moe-a2a-backend": "deepep",
    "deepep-mode": "low_latency", "moe-dense-tp-size": 1, "ep-num-redundant-experts": 32,
    "enable-two-batch-overlap": True,
}  # fmt: skip


def main() -> int:
    """Run one benchmark; status 1 when what it checks does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=["compare", "server", "roles", "layers"])
    parser.add_argument("--work", type=Path, required=True, help="an empty or reused folder")
    parser.add_argument("--full", action="store_true", help="SGLang's default Ms, not the fast list")
    parser.add_argument("--sglang", default=None, help="SGLang version for the plan")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    run = {"compare": compare, "server": server, "roles": roles, "layers": layers}[arguments.name]
    result = run(arguments.work.resolve(), arguments.full, arguments.sglang)
    result |= {"date": time.strftime("%Y-%m-%d"), "machine": _machine()}
    text = json.dumps(result, indent=1, default=str)
    (arguments.work / f"{arguments.name}.json").write_text(text + "\n")
    print(text)
    return 0 if result.get("ok", True) else 1


def one_gpu_manifest(full: bool, sglang: str | None) -> Manifest:
    """The eight dense shapes of DeepSeek-V3 on one GPU, shared expert apart."""
    config = {**_config(), "n_routed_experts": EXPERTS}
    env = {} if full else {"SGLANG_JIT_DEEPGEMM_FAST_WARMUP": "1"}
    return plan_role(config, "aggregated", ONE_GPU, env=env, sglang=sglang)


def compare(work: Path, full: bool, sglang: str | None) -> dict[str, Any]:
    """The same manifest, first by one process as SGLang sweeps, then in parallel."""
    manifest = one_gpu_manifest(full, sglang)
    subprocess.run([sys.executable, "-c", "import torch, deep_gemm"], check=True)  # page cache
    alone, together = work / "alone", work / "together"
    for folder in (alone, together):
        shutil.rmtree(folder, ignore_errors=True)
    result: dict[str, Any] = {"pairs": sum(len(shape.sweep) for shape in manifest.distinct())}
    built, again = _timed_builds(manifest, together)
    result |= {"parallel": dataclasses.asdict(built), "second_run_s": again}
    if built.timeline:
        print(built.timeline.text(), file=sys.stderr)
        result["bounds"] = built.timeline.bounds
    began = time.monotonic()
    _sweep_alone(manifest, alone)
    result["one_process_s"] = time.monotonic() - began
    result["ratio"] = result["one_process_s"] / built.total_s
    result |= _same_kernels(alone / "found.0", together)
    result["ok"] = result["same_names"] and result["ratio"] >= 8
    return result


def _timed_builds(manifest: Manifest, folder: Path) -> tuple[Any, float]:
    built = build_here(manifest, folder, on_progress=_show)
    began = time.monotonic()
    if not build_here(manifest, folder).nothing_to_do:
        raise SystemExit("the second build had something to do")
    return built, time.monotonic() - began


def _sweep_alone(manifest: Manifest, folder: Path) -> None:
    """Every (shape, M) in order, in one process, with the real compiler and real operands."""
    folder.mkdir(parents=True)
    pieces = [vars(piece) for piece in split(manifest.distinct(), 1)[0]]
    for piece in pieces:
        piece["ms"] = sorted(piece["ms"])
    job = {"folder": str(folder), "hollow": False, "hands": [pieces]}
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "warmup.kernels.sweep", str(folder / "job.json"), "0"]
    subprocess.run(command, check=True, cwd=ROOT, env=_environment())


def _same_kernels(one: Path, other: Path) -> dict[str, Any]:
    first, second = set(cache_folder.kernels(one)), set(cache_folder.kernels(other))

    def cubin(folder: Path, name: str) -> Path:
        return folder / cache_folder.CACHE / name / "kernel.cubin"

    both = [(cubin(one, name).read_bytes(), cubin(other, name).read_bytes()) for name in first & second]
    return {
        "kernels": [len(first), len(second)],
        "same_names": first == second,
        "missing": sorted(first - second),
        "extra": sorted(second - first),
        "same_bytes": sum(a == b for a, b in both),
        "same_code": sum(code_of(a) == code_of(b) for a, b in both),
    }


def code_of(cubin: bytes) -> list[bytes]:
    """The sections of a cubin (ELF64) but for its symbols and their names: those of internal linkage hold the number of
    the compiler's process (_INTERNAL_809f4921_9_kernel_cu_dad24260_7290)."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    (count,) = struct.unpack_from("<H", cubin, 60)
    found = []
    for number in range(count):
        _, kind, _, _, offset, size = struct.unpack_from("<IIQQQQ", cubin, table + 64 * number)
        if kind not in (2, 3, 8):  # SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS
            found.append(cubin[offset : offset + size])
    return found


def server(work: Path, full: bool, sglang: str | None) -> dict[str, Any]:
    """First requests of a real SGLang, and its cubins before and after."""
    manifest = one_gpu_manifest(full, sglang)
    model = make_model(work / "model", LAYERS, EXPERTS)
    built = work / "built"
    cold = work / "cold"
    for folder in (built, cold):
        shutil.rmtree(folder, ignore_errors=True)
    result: dict[str, Any] = {}
    result["build"] = dataclasses.asdict(build_here(manifest, built, on_progress=_show))
    sweep = {} if full else {"SGLANG_JIT_DEEPGEMM_FAST_WARMUP": "1"}
    result["empty"] = _serve(work, "empty", model, {"SGLANG_DG_CACHE_DIR": str(cold), **sweep})
    met = learn_file(work / "empty.log", chunked_prefill=CHUNK, fast=not full, sglang=sglang)
    result["shapes_logged"] = sorted(shape.key for shape in met.shapes)
    result["shapes_planned"] = sorted(shape.key for shape in manifest.distinct())
    result["cold_against_built"] = _same_kernels(cold, built)
    result["built_swept"] = _serve(work, "built_swept", model, {**serve_env(built, complete=False), **sweep})
    result["built"] = _serve(work, "built", model, serve_env(built))
    result["ok"] = (
        result["shapes_logged"] == result["shapes_planned"]
        and result["built"]["compiled"] == 0
        and result["built_swept"]["compiled"] == 0
    )
    return result


def _serve(work: Path, name: str, model: Path, env: dict[str, str]) -> dict[str, Any]:
    """Start SGLang, send three requests, stop it."""
    folder = Path(env["SGLANG_DG_CACHE_DIR"])
    before = len(cache_folder.kernels(folder))
    port = 31700
    command = [
        sys.executable, "-m", "sglang.launch_server", "--model-path", str(model),
        "--load-format", "dummy", "--attention-backend", "triton", "--sampling-backend", "pytorch",
        "--grammar-backend", "none", "--disable-cuda-graph", "--page-size", "16",
        "--mem-fraction-static", "0.5", "--chunked-prefill-size", str(CHUNK),
        "--skip-server-warmup", "--port", str(port), "--watchdog-timeout", "3600",
    ]  # fmt: skip
    log = work / f"{name}.log"
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env={**_environment(), **env},
            start_new_session=True,
        )  # fmt: skip
    try:
        _await(process, f"http://127.0.0.1:{port}/v1/models", 240, log)
        up = time.monotonic() - began
        seconds = [_ask(port, text) for text in ("one two three", "four five", "six seven eight")]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    after = len(cache_folder.kernels(folder))
    return {
        "up_s": up, "requests_s": seconds, "cubins_before": before, "cubins_after": after,
        "compiled": after - before,
    }  # fmt: skip


def _ask(port: int, text: str) -> float:
    """Seconds of one request: about 100 prompt tokens, 16 new ones."""
    body = {
        "text": f"{text} " * 20,
        "sampling_params": {"max_new_tokens": 16, "temperature": 0, "ignore_eos": True},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/generate",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=900) as answer:
        json.load(answer)
    return time.monotonic() - began


def _await(process: subprocess.Popen[bytes], url: str, limit_s: float, log: Path) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"SGLang ended with {process.returncode}:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.25)
    raise SystemExit(f"SGLang was not up after {limit_s:.0f} s:\n{_tail(log)}")


def roles(work: Path, full: bool, sglang: str | None) -> dict[str, Any]:
    """Both roles of the wide deployment: build, pack, unpack, and build again."""
    both: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("prefill", PREFILL, {}),
        ("decode", DECODE, {}),
    ]
    manifest = plan_roles(_config(), both, sglang=sglang)
    print(plan_table(manifest), file=sys.stderr)
    folder, unpacked, store = work / "roles", work / "unpacked", work / "store"
    for item in (folder, unpacked, store):
        shutil.rmtree(item, ignore_errors=True)
    folder.mkdir(mode=0o700)
    built, again = _timed_builds(manifest, folder / "deepgemm")
    key = target(Job(folder, store, str(folder), "", "roles", manifest=manifest)).key
    began = time.monotonic()
    archive, _ = pack(folder, store, key, quiet_s=0)
    packed = time.monotonic() - began
    began = time.monotonic()
    unpack(archive, unpacked, key)
    return {
        "build": dataclasses.asdict(built),
        "second_run_s": again,
        "pairs": sum(len(s.sweep) * len(s.reserved_sms) for s in manifest.distinct()),
        "pack_s": packed,
        "unpack_s": time.monotonic() - began,
        "archive": archive.name,
        "archive_bytes": archive.stat().st_size,
        **_same_kernels(folder / "deepgemm", unpacked / "deepgemm"),
    }


def layers(work: Path, full: bool, sglang: str | None) -> dict[str, Any]:
    """For several tp/dp/ep settings: the planned (N, K, experts) against SGLang's own weights."""
    sys.path.insert(0, str(ROOT / "tests" / "kernels"))
    from sglang_layers import CASES, version, weights

    outcome: dict[str, Any] = {"sglang": version(), "cases": []}
    for name, flags, changes in CASES:
        config = {**_config(), "num_hidden_layers": 4, **changes}
        model = make_model(work / "layers" / name, 4, config["n_routed_experts"], changes)
        planned = plan_role(config, "aggregated", flags, sglang=version())
        computed = sorted({_weight(shape) for shape in planned.shapes})
        found = sorted(weights(model, flags, with_experts=any(s.groups > 1 for s in planned.shapes)))
        outcome["cases"].append({"name": name, "same": computed == found, "computed": computed, "sglang": found})
    outcome["ok"] = all(case["same"] for case in outcome["cases"])
    return outcome


def _weight(shape: KernelShape) -> tuple[int, int, int]:
    return (shape.groups if shape.kernel_type.startswith("GROUPED") else 0, shape.n, shape.k)


def make_model(out: Path, layers: int, experts: int, changes: Mapping[str, Any] | None = None) -> Path:
    """A folder that SGLang starts from with --load-format dummy: config.json and a tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<bos>", "<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(["one two three four five six seven eight"] * 10, trainer)
    tokenizer.save(str(out / "tokenizer.json"))
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    _write(
        out / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 131072, **special},
    )
    _write(out / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1})
    config = _config() | {
        "num_hidden_layers": layers, "n_routed_experts": experts, "first_k_dense_replace": 1,
        "num_key_value_heads": 128, "num_nextn_predict_layers": 0, "hidden_act": "silu",
        "attention_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 163840,
        "rope_scaling": {
            "type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096,
        },
        "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc", "scoring_func": "sigmoid",
        "norm_topk_prob": True, "routed_scaling_factor": 2.5, "moe_layer_freq": 1, "ep_size": 1,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
        "vocab_size": 129280, "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    _write(out / "config.json", config | dict(changes or {}))
    return out


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=1) + "\n")


def _config() -> dict[str, Any]:
    config = known_config("deepseek-ai/DeepSeek-V3")
    assert config is not None
    return config


def _environment() -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _show(progress: Any) -> None:
    if int(progress.seconds * 5) % 10 == 0:
        print(
            f"{progress.phase} {progress.done}/{progress.total} "
            f"pairs {progress.pairs_done}/{progress.pairs} {progress.seconds:.1f} s",
            file=sys.stderr,
        )


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")
        return f"{cores} cores, {len([n for n in names if n])} x {names[0]}"
    except (OSError, subprocess.SubprocessError):
        return f"{cores} cores, no GPU, {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
