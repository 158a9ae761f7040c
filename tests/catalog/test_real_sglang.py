"""The catalogues against the real ServerArgs of an installed SGLang.

Needs an interpreter that imports SGLang; its path is in SGL_LAUNCH_SGLANG_PYTHON. Without it
these tests are skipped by name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.catalog.catalog import load
from launcher.catalog.idle import rows
from launcher.catalog.installed import installed_catalog
from launcher.catalog.releases import CatalogError, nearest_version
from launcher.check.cross import DEEPEP_V2

PYTHON = os.environ.get("SGL_LAUNCH_SGLANG_PYTHON", "")

needs_sglang = pytest.mark.skipif(
    not PYTHON or not Path(PYTHON).exists(),
    reason="no real SGLang: set SGL_LAUNCH_SGLANG_PYTHON to an interpreter that imports it",
)

ASK = Path(__file__).parents[2] / "tools" / "ask_argparse.py"


@pytest.fixture(scope="module")
def real():
    """The installed SGLang's catalogue, read afresh."""
    return installed_catalog(PYTHON)


def ask(command_lines: list[list[str]]) -> list[str]:
    """What real argparse says to each command line: "" if it takes it."""
    from launcher.catalog import installed

    done = subprocess.run(
        [PYTHON, str(ASK), str(installed.EXTRACT.parent)],
        input=json.dumps(command_lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[str] = json.loads(done.stdout)
    return answers


def argv(args: dict) -> list[str]:
    """A mapping as the words a launcher would write."""
    words = []
    for key, value in args.items():
        flag = "--" + key.lstrip("-").replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, list) and key != "forward-hooks":
            words += [flag, *(v if isinstance(v, str) else json.dumps(v) for v in value)]
        elif value is not False:
            words += [flag, value if isinstance(value, str) else json.dumps(value)]
    return words


@needs_sglang
def test_the_shipped_catalogue_is_what_the_installed_sglang_says(real):
    shipped = load(nearest_version(real.version))
    if shipped.version != real.version:
        pytest.skip(f"no catalogue of SGLang {real.version} ships")
    assert {f.name: f for f in real.flags} == {f.name: f for f in shipped.flags}
    assert real.title == f"SGLang {real.version} in {PYTHON}"


@needs_sglang
def test_real_argparse_takes_every_flag_with_its_default_or_a_choice(real):
    lines, flags = [], []
    for flag in real.flags:
        value = flag.choices[0] if flag.choices else flag.default
        if flag.refused or (value is None and not flag.is_switch):
            continue
        if isinstance(value, (list, dict)) or flag.type in ("loads", "json_list_type"):
            continue
        for name in flag.names:
            flags.append(name)
            lines.append([f"--{name}"] if flag.is_switch else [f"--{name}", str(value)])
    assert len(lines) > 100
    wrong = {n: a for n, a in zip(flags, ask(lines), strict=True) if a}
    assert wrong == {}


# Each as check() judges it, so that its verdict and argparse's are compared.
SAMPLE = [
    {"tp-size": 8}, {"tp": 8}, {"tensor-parallel-size": "8"}, {"tp-size": "eight"},
    {"tp-size": "1e1"}, {"tp-size": [8, 4]}, {"ep": 4}, {"enable-": True}, {"disagg": "prefill"},
    {"page-sise": 1}, {"enable-deepep-moe": True}, {"cuda-graph-bs": 256},
    {"cuda-graph-bs-decode": [1, 2]}, {"cuda-graph-bs-decode": [1, "x"]},
    {"cuda-graph-bs-decode": "1 2 4"}, {"mem-fraction-static": "0,85"},
    {"mem-fraction-static": 0.85}, {"watchdog-timeout": 1000000}, {"max-total-tokens": "128Ki"},
    {"max-total-tokens": "1.5Ki"}, {"max-total-tokens": "1e6"}, {"context-length": "32k"},
    {"deepep-mode": "low-latency"}, {"deepep-mode": "low_latency"},
    {"disaggregation-transfer-backend": "nixel"}, {"disaggregation-transfer-backend": "nixl"},
    {"enable-dp-attention": True, "dp-size": 4}, {"attn-dp-size": 4}, {"load-format": "bogus"},
    {"chunked-prefill-size": -1}, {"deepep-config": {"a": 1}}, {"limit-mm-data-per-request": "{"},
    {"limit-mm-data-per-request": {"image": 2}}, {"cuda-graph-config": "decode"},
    {"forward-hooks": [{"name": "x"}]}, {"no-dcp-replicate-q-proj": True},
    {"disable-cuda-graph": True}, {"model-checksum": True}, {"nsa-decode-backend": "fa3"},
    {"enable-flashmla": True}, {"moe-a2a-backend": "deepep"}, {"n-share-experts-fusion": 1},
]  # fmt: skip


@needs_sglang
def test_check_and_real_argparse_agree(real):
    answers = ask([argv(args) for args in SAMPLE])
    differ = []
    for args, answer in zip(SAMPLE, answers, strict=True):
        refused = any(p.is_error and p.kind != "ignored" for p in real.check(args))
        if refused != bool(answer):
            differ.append((args, answer, [str(p) for p in real.check(args)]))
    assert differ == []


def test_an_interpreter_that_is_not_there():
    with pytest.raises(CatalogError, match="no-such-python can't be run: No such file"):
        installed_catalog("no-such-python")


def test_an_interpreter_without_sglang(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(CatalogError, match=r"can't tell SGLang's flags: .*No module named 'sglang"):
        installed_catalog(str(bare))


@needs_sglang
def test_flags_of_its_own_server_are_read_nowhere_else() -> None:
    """Those that launcher.catalog.idle calls idle under Dynamo, which starts no HTTP server of SGLang's."""
    where = "import importlib.util as u; print(u.find_spec('sglang').submodule_search_locations[0])"
    done = subprocess.run([PYTHON, "-c", where], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    flags = [f.replace("-", "_") for row in rows() if not row.rule and row.where == "roles" for f in row.flags]
    assert len(flags) > 5
    own = ("srt/entrypoints/", "srt/rust_server/", "srt/server_args.py", "srt/arg_groups/")
    for path in (folder / "srt").rglob("*.py"):
        if not str(path.relative_to(folder)).startswith(own):
            text = path.read_text(errors="replace")
            assert [f for f in flags if re.search(rf"(args|get_server_args\(\)|api|cfg)\.{f}\b", text)] == [], path


@needs_sglang
def test_the_architectures_of_deepep_v2() -> None:
    """As SGLang 0.5.23 lists them."""
    where = "import importlib.util as u; print(u.find_spec('sglang').submodule_search_locations[0])"
    done = subprocess.run([PYTHON, "-c", where], capture_output=True, text=True, check=True)
    file = Path(done.stdout.strip(), "srt", "configs", "moe_model_registry.py")
    if not file.exists():
        pytest.skip("this SGLang has no such list")
    assert tuple(sorted(re.findall(r'^    "(\w+)": _DeepEPv2ModelPolicy', file.read_text(), re.M))) == DEEPEP_V2


@needs_sglang
def test_a_server_takes_its_key_from_one_file(tmp_path):
    """As the launcher gives it, and not beside another `--config`."""
    code = "import sys; from sglang.srt.server_args import prepare_server_args as p; print(p(sys.argv[1:]).api_key)"
    file = tmp_path / "worker.yaml"
    file.write_text("api-key: sk-worker-abc\n")
    one = ["--config", str(file), "--model-path", "dummy", "--device", "cpu"]
    env = {**os.environ, "SGLANG_USE_CPU_ENGINE": "1"}
    done = subprocess.run([PYTHON, "-c", code, *one], capture_output=True, text=True, env=env)
    assert done.stdout.splitlines()[-1:] == ["sk-worker-abc"], done.stderr[-2000:]
    done = subprocess.run([PYTHON, "-c", code, *one, "--config", str(file)], capture_output=True, text=True, env=env)
    assert "Only one allowed" in done.stderr
