"""The command line and the steps of a job, without a GPU; what needs one is skipped by name."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kernels_fakes import ROOT, cached, fake_finder, fake_nvcc, manifest, toolchain

from warmup.caches.folder import is_whole
from warmup.kernels import Gpu, Job, ProbeError, api, build, known_config, plan_role, serve_env
from warmup.kernels import folder as cache_folder
from warmup.kernels.__main__ import INCOMPLETE, main
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


def job_file(tmp_path: Path, node: str = "node", plan: bool = True, usual: str = "", **more: Any) -> str:
    """What a job's steps are told about one node."""
    folder = tmp_path / node
    told = Job(
        folder, tmp_path / "s", usual or str(folder), "i.sqsh", "R1", manifest=manifest() if plan else None, **more
    )
    told.write(tmp_path / f"{node}.json")
    return str(tmp_path / f"{node}.json")


def test_no_gpu_is_one_message_and_status_1(capsys, tmp_path, monkeypatch):
    def no_gpu():
        raise ProbeError("no NVIDIA driver here")

    monkeypatch.setattr(api, "find_gpu", no_gpu)
    manifest().write(tmp_path / "m.json")
    for name in ("build", "ensure", "unpack", "merge-back"):
        build = ["--manifest", str(tmp_path / "m.json"), "--folder", str(tmp_path)]
        assert main([name, *(build if name == "build" else [job_file(tmp_path)])]) == 1
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
    usual = str(machine / "builder")
    built, _ = run(capsys, "ensure", job_file(machine, "builder"))
    assert (built["how"], built["compiled"], built["complete"]) == ("built", 4, True)
    for node in range(3):
        got, _ = run(capsys, "unpack", job_file(machine, f"node{node}", usual=usual))
        assert (got["how"], got["kernels"]) == ("unpacked", 4)
        assert got["read_bytes"] == Path(built["archive"]).stat().st_size
    again, _ = run(capsys, "ensure", job_file(machine, "node0", usual=usual))
    assert (again["how"], again["read_bytes"]) == ("present", 0)
    fresh, _ = run(capsys, "ensure", job_file(machine, "node9", usual=usual))
    assert fresh["how"] == "unpacked"
    merged, _ = run(capsys, "merge-back", job_file(machine, "builder"))
    assert merged["new"] == 0
    arguments = ["--manifest", machine / "m.json", "--folder", machine / "node0" / "deepgemm"]
    build, said = run(capsys, "build", *arguments)
    assert build["compiled"] == 0
    assert "nothing to do: all 4 kernels are there" in said


def test_what_workers_compile_comes_back_by_cache_and_reaches_the_next_node(capsys, machine):
    run(capsys, "ensure", job_file(machine, "builder"))
    cached(machine / "builder", "triton/ab/k.cubin", b"x")
    cached(machine / "builder", "flashinfer/op/op.so", b"x")
    merged, _ = run(capsys, "merge-back", job_file(machine, "builder"))
    assert (merged["new"], merged["by_cache"]) == (2, {"flashinfer": 1, "triton": 1})
    next_node = job_file(machine, "next", usual=str(machine / "builder"))
    assert run(capsys, "unpack", next_node)[0]["files"] == 4 * 2 + 1 + 2
    assert (machine / "next/triton/ab/k.cubin").read_bytes() == b"x"
    # in a folder of another name nothing is packed: what is in it names that folder
    cached(machine / "next", "triton/cd/k.cubin", b"x")
    assert run(capsys, "merge-back", next_node)[0] == {"archive": "", "new": 0, "by_cache": {}}


def test_a_model_without_deepgemm_has_its_other_caches_kept(capsys, machine):
    first = job_file(machine, "one", plan=False)
    assert run(capsys, "ensure", first)[0]["how"] == "empty"
    cached(machine / "one", "inductor/x/y.py", b"x")
    assert run(capsys, "merge-back", first)[0]["new"] == 1
    again = run(capsys, "ensure", job_file(machine, "two", plan=False, usual=str(machine / "one")))[0]
    assert (again["how"], again["files"], again["complete"]) == ("unpacked", 1, True)


def test_a_plan_that_grew_compiles_only_what_is_new_and_keeps_both(capsys, machine, monkeypatch):
    run(capsys, "ensure", job_file(machine, "builder"))
    more = fake_finder(machine / "more", count=6)
    real = build.build_folder
    monkeypatch.setattr(api, "build_folder", lambda *args, **options: real(*args, finder=more, **options))
    changed = plan_role(known_config("DeepSeek-R1"), "decode", {"tp-size": 4})
    file = job_file(machine, "builder")
    replace(Job.read(Path(file)), manifest=changed).write(Path(file))
    grown, _ = run(capsys, "ensure", file)
    assert (grown["how"], grown["compiled"], grown["kernels"]) == ("built", 2, 6)
    for told in (file, job_file(machine, "builder")):
        assert run(capsys, "unpack", told)[0]["complete"]


def test_a_refused_archive_is_named_and_rebuilt(capsys, machine):
    usual = str(machine / "one")
    built, _ = run(capsys, "ensure", job_file(machine, "one"))
    archive = Path(built["archive"])
    archive.write_bytes(archive.read_bytes()[:-40])
    rebuilt, said = run(capsys, "ensure", job_file(machine, "one", usual=usual))
    assert rebuilt["refused"] in said
    assert f"refused and made anew: {archive}" in said
    (machine / "one.json").unlink()
    cached(machine / "one", "triton/ab/k.cubin", b"x")
    run(capsys, "merge-back", job_file(machine, "one", usual=usual))
    assert run(capsys, "unpack", job_file(machine, "three", usual=usual))[0]["kernels"] == 4


def test_unpack_without_an_archive_says_that_kernels_are_missing(capsys, machine):
    assert main(["unpack", job_file(machine)]) == INCOMPLETE
    assert json.loads(capsys.readouterr().out)["how"] == "empty"


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
        is_whole(tmp_path / "dg" / "cache" / name) for name in cache_folder.kernels(tmp_path / "dg")
    )


def test_the_plan_agrees_with_sglangs_own_layers(tmp_path):
    pytest.importorskip("sglang", reason="needs SGLang: its own layers are what is compared")
    pytest.importorskip("torch", reason="needs torch: SGLang's layers are made with it")
    script = ROOT / "benchmarks" / "deepgemm.py"
    subprocess.run([sys.executable, str(script), "layers", "--work", str(tmp_path)], check=True)
