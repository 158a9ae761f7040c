"""The command line and the steps of a job, without a GPU; what needs one is skipped by name."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernels_fakes import ROOT, fake_finder, fake_nvcc, manifest, toolchain

from warmup.kernels import Gpu, ProbeError, api, serve_env
from warmup.kernels import folder as cache_folder
from warmup.kernels.__main__ import main
from warmup.kernels.probe import find_gpu, find_nvcc, find_toolchain, nvcc_release
from warmup.kernels.standin import FoundKernel, StandinError, arguments

ROLE = '{"tp-size": 8}'


def test_importing_the_package_stays_light():
    code = (
        "import sys, warmup.kernels, warmup.kernels.__main__, warmup.kernels.sweep\n"
        "heavy = {'torch', 'deep_gemm', 'sglang', 'numpy', 'pydantic', 'click'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_plan_prints_a_table_and_writes_a_manifest(capsys, tmp_path):
    out = tmp_path / "plan.json"
    arguments = ["plan", "--model", "DeepSeek-R1", "--role", "decode", ROLE, "--out", str(out)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "decode  attn.o_proj" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == json.loads(out.read_text())["digest"]


@pytest.mark.parametrize(
    "arguments, match",
    [
        (["plan", "--model", "DeepSeek-R1"], "at least one --role"),
        (["plan", "--model", "DeepSeek-R1", "--role", "decode", "[]"], "must be a JSON object"),
        (["plan", "--model", "/gone", "--role", "decode", ROLE], "no config.json under /gone"),
        (["plan", "--from-log", "/gone.log"], "/gone.log: cannot be read"),
        (["build", "--manifest", "/gone", "--folder", "/tmp/x"], "/gone: cannot be read"),
    ],
)
def test_wrong_input_is_one_message_and_status_2(capsys, arguments, match):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert match in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_no_gpu_is_one_message_and_status_1(capsys, tmp_path, monkeypatch):
    def no_gpu():
        raise ProbeError("no NVIDIA driver here")

    monkeypatch.setattr(api, "find_gpu", no_gpu)
    manifest().write(tmp_path / "m.json")
    for name in ("build", "ensure", "unpack", "merge-back"):
        more = [] if name == "build" else ["--cache-dir", str(tmp_path)]
        arguments = [name, "--manifest", str(tmp_path / "m.json"), "--folder", str(tmp_path), *more]
        assert main(arguments) == 1
        assert "error: no NVIDIA driver here" in capsys.readouterr().err


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """This machine with an invented GPU, compiler and finder."""
    nvcc = fake_nvcc(tmp_path / "bin")
    finder = fake_finder(tmp_path / "finder", count=4)
    real = api.build_folder
    monkeypatch.setattr(api, "find_gpu", lambda: Gpu("sm_90", 132, 1))
    monkeypatch.setattr(api, "find_toolchain", lambda: toolchain(nvcc))
    monkeypatch.setattr(api, "build_folder", lambda *args, **options: real(*args, finder=finder, **options))
    manifest().write(tmp_path / "m.json")
    return tmp_path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    return json.loads(shown.out), shown.err


def test_a_job_builds_once_and_every_node_unpacks(capsys, machine):
    common = ["--manifest", machine / "m.json", "--image", "i.sqsh", "--cache-dir", machine / "s"]
    built, _ = run(capsys, "ensure", *common, "--folder", machine / "builder")
    assert (built["how"], built["compiled"]) == ("built", 4)
    for node in range(3):
        got, _ = run(capsys, "unpack", *common, "--folder", machine / f"node{node}")
        assert (got["how"], got["kernels"]) == ("unpacked", 4)
    again, _ = run(capsys, "ensure", *common, "--folder", machine / "node0")
    assert again["how"] == "present"
    fresh, _ = run(capsys, "ensure", *common, "--folder", machine / "node9")
    assert fresh["how"] == "unpacked"
    merged, _ = run(capsys, "merge-back", *common, "--folder", machine / "node0")
    assert merged == {"new": []}
    build, said = run(capsys, "build", *common[:4], "--folder", machine / "node0")
    assert build["compiled"] == 0
    assert "nothing to do: all 4 kernels are there" in said


def test_a_refused_archive_is_named_and_rebuilt(capsys, machine):
    common = ["--manifest", machine / "m.json", "--cache-dir", machine / "s"]
    built, _ = run(capsys, "ensure", *common, "--folder", machine / "one")
    archive = Path(built["archive"])
    archive.write_bytes(archive.read_bytes()[:-40])
    rebuilt, said = run(capsys, "ensure", *common, "--folder", machine / "two")
    assert rebuilt["how"] == "built"
    assert f"refused and rebuilt: {archive}" in said
    assert run(capsys, "unpack", *common, "--folder", machine / "three")[0]["kernels"] == 4


def test_unpack_without_an_archive_is_status_1(capsys, machine):
    arguments = ["unpack", "--manifest", machine / "m.json", "--cache-dir", machine / "s"]
    assert main([*map(str, arguments), "--folder", str(machine / "node")]) == 1
    assert ".tar.gz" in capsys.readouterr().err


def test_workers_on_a_whole_cache_skip_the_sweep(tmp_path):
    assert serve_env(tmp_path) == {
        "SGLANG_DG_CACHE_DIR": str(tmp_path), "SGLANG_JIT_DEEPGEMM_PRECOMPILE": "0",
    }  # fmt: skip
    assert "SGLANG_JIT_DEEPGEMM_PRECOMPILE" not in serve_env(tmp_path, complete=False)


def test_the_compiler_is_found_as_deepgemm_finds_it(tmp_path, monkeypatch):
    for name in ("DG_JIT_NVCC_COMPILER", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    nvcc = fake_nvcc(tmp_path / "cuda" / "bin")
    monkeypatch.setenv("PATH", str(nvcc.parent), prepend=os.pathsep)
    assert find_nvcc() == str(nvcc)
    assert nvcc_release(str(nvcc)) == "13.0"
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "none"))
    with pytest.raises(ProbeError, match=r"none/bin/nvcc is missing; set CUDA_HOME"):
        find_nvcc()
    monkeypatch.setenv("DG_JIT_NVCC_COMPILER", "/special/nvcc")
    assert find_nvcc() == "/special/nvcc"
    with pytest.raises(ProbeError, match="/special/nvcc --version failed"):
        nvcc_release("/special/nvcc")


@pytest.mark.parametrize(
    "words, last",
    [
        (["/t/kernel.cu", "-cubin", "-o", "/t/kernel.cubin", "-I/x y"], "-o"),
        (["/t/kernel.cu", "--cubin", "--output-file", "/t/u1", "--include-path", "/x"], "--output-file"),
        (["-O3", "kernel.cu", "--output-file=/t/kernel.cubin"], "-o"),
    ],
)
def test_the_compilers_call_is_kept_word_for_word_but_for_its_files(tmp_path, words, last):
    source = b"// source"
    note = tmp_path / f"arguments.{hashlib.sha256(source).hexdigest()}"
    note.write_text("\n".join(words) + "\n")
    kept = arguments(tmp_path, source)
    command = FoundKernel("k", "// source", kept).command("nvcc", Path("/d"))
    assert command[0] == "nvcc"
    assert "/d/kernel.cu" in command
    assert command[command.index(last) + 1] == "/d/kernel.cubin"
    assert not any(word.startswith("/t") for word in command)
    assert ("-I/x y" in command) == ("-I/x y" in words)
    with pytest.raises(StandinError, match="NVRTC"):
        arguments(tmp_path, b"another")


def needs_gpu() -> str | None:
    try:
        find_gpu()
        find_toolchain()
    except ProbeError as error:
        return str(error)
    return None


def test_on_a_gpu_the_build_fills_a_folder_and_repeats_nothing(tmp_path):
    if missing := needs_gpu():
        pytest.skip(f"needs an NVIDIA GPU with nvcc and deep_gemm: {missing}")
    plan = manifest()
    assert api.build_here(plan, tmp_path / "dg").compiled > 10
    assert api.build_here(plan, tmp_path / "dg").nothing_to_do
    assert all(
        cache_folder.is_whole(tmp_path / "dg" / "cache" / name) for name in cache_folder.kernels(tmp_path / "dg")
    )


def test_the_plan_agrees_with_sglangs_own_layers(tmp_path):
    pytest.importorskip("sglang", reason="needs SGLang: its own layers are what is compared")
    pytest.importorskip("torch", reason="needs torch: SGLang's layers are made with it")
    script = ROOT / "benchmarks" / "deepgemm.py"
    subprocess.run([sys.executable, str(script), "layers", "--work", str(tmp_path)], check=True)
