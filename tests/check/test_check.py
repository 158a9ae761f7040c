"""`check` as a command, and the parts that look at more than the config."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.catalog.catalog import Catalog, load
from launcher.catalog.releases import WORKER
from launcher.check import check_config
from launcher.check.model import ModelFacts, by_name, from_json
from launcher.check.slurm import judge, minutes
from launcher.config.load import Source, load_config
from launcher.containers import host_path

ROOT = Path(__file__).resolve().parents[2]
SGL_LAUNCH = Path(sys.executable).with_name("sgl-launch")
GOOD = "name: t\nmodel: {path: /m}\nprefill: {args: {tp-size: 8}}\ndecode: {args: {tp-size: 8}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").write_text("# nothing\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", str(tmp_path / "site.yaml"))


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SGL_LAUNCH), "check", *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
@pytest.mark.parametrize("version", [None, "0.5.16"])
def test_shipped_configs_have_no_errors(config: Path, version: str | None) -> None:
    if version and not config.name.startswith(("dsr1", "local")):
        pytest.skip("made for a newer version")
    checked = check_config(str(config), version=version, ask_slurm=False)
    errors = [str(f) for f in checked.findings if f.level == "error"]
    assert [e for e in errors if "a placeholder, to be set" not in e] == []


def test_exit_status_and_output() -> None:
    Path("good.yaml").write_text(GOOD)
    good = cli("good.yaml", "--no-slurm")
    assert (good.returncode, good.stdout) == (0, "")
    assert good.stderr == "good.yaml: no errors, no warnings (flags of SGLang 0.5.23)\n"
    warned = cli("good.yaml", "--no-slurm", "--set", "decode.args.tp-size=16")
    assert warned.returncode == 0
    assert warned.stdout.startswith("--set decode.args.tp-size=16: warning: decode.args.tp-size: prefill has")
    wrong = cli("good.yaml", "--no-slurm", "--set", "decode.args.page-sise=16", "--json")
    assert wrong.returncode == 2
    found = json.loads(wrong.stdout)
    assert (found["errors"], found["warnings"], found["checked_against"]) == (1, 0, "SGLang 0.5.23")
    assert found["findings"][0]["key"] == "decode.args.page-sise"
    missing = cli("nowhere.yaml")
    assert missing.returncode == 2
    assert missing.stderr.startswith("sgl-launch: nowhere.yaml: no such file")
    both = cli("good.yaml", "--sglang", "0.5.16", "--installed")
    assert both.returncode == 2
    strange = cli("good.yaml", "--sglang", "newest")
    assert "--sglang: 'newest' is not a version" in strange.stderr


def test_against_an_installed_sglang() -> None:
    """The Python of the tests has none: said, not guessed."""
    Path("good.yaml").write_text(GOOD)
    done = cli("good.yaml", "--installed", sys.executable)
    assert done.returncode in (0, 2)
    if done.returncode == 2:
        assert "can't tell SGLang's flags" in done.stderr
    catalog = Catalog("0.5.99", load("0.5.23").flags, source="/env/python")
    Path("bad.yaml").write_text(GOOD.replace("tp-size: 8}}\ndecode", "tp-size: 8, page-sise: 1}}\ndecode"))
    checked = check_config("bad.yaml", catalog=catalog, ask_slurm=False)
    assert "SGLang 0.5.99 in /env/python has no such flag" in str(checked.findings[0])


def test_a_mistake_does_not_hide_another() -> None:
    """A config whose keys, types, flags and layout are all wrong: one run tells all."""
    Path("c.yaml").write_text(
        "name: -x\nmodel: {path: /m, nam: y}\nports: {base: 99999}\nfrontend: []\n"
        "prefill: {workers: 0, args: {tp-size: 3000, tp_size: 1, page-sise: 1}, env: {RANK: 1}}\n"
        "decode: {args: {ep-size: 3, tp-size: 8}}\n"
    )
    keys = {f.problem.key for f in check_config("c.yaml", ask_slurm=False).findings}
    assert {
        "name", "model.nam", "ports.base", "frontend", "prefill.workers", "prefill.args.tp_size",
        "prefill.args.page-sise", "prefill.env.RANK", "decode.args.ep-size",
    } <= keys  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30), (90, 90), ("30:30", 30.5), ("04:00:00", 240), ("1-0", 1440), ("1-02:30", 1590),
        ("1-02:30:30", 1590.5), ("UNLIMITED", None),
    ],
)  # fmt: skip
def test_minutes(text: object, expected: float | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["4h", "", "1:2:3:4", "-1", "soon"])
def test_not_minutes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        minutes(text)


SOURCE = Source("c.yaml", {})


@pytest.mark.parametrize(
    ("output", "key", "text"),
    [
        (
            "sbatch: error: invalid partition specified: gpuu\nallocation failure: Invalid partition name specified\n",
            "slurm.partition",
            "invalid partition specified: gpuu; allocation failure: Invalid partition name specified",
        ),
        (
            "allocation failure: Invalid account or account/partition combination specified\n",
            "slurm.account",
            "allocation failure: Invalid account or account/partition combination specified",
        ),
        (
            "allocation failure: Requested time limit is invalid (missing or exceeds some limit)\n",
            "slurm.time",
            "allocation failure: Requested time limit is invalid (missing or exceeds some limit)",
        ),
        ("strange\n", "slurm", "strange"),
        ("", "slurm", "exit status 1"),
    ],
)
def test_a_refusal_stands_at_its_key(output: str, key: str, text: str) -> None:
    (found,), note = judge(1, output, SOURCE)
    assert (found.problem.key, found.problem.message, note) == (key, f"Slurm would refuse the job: {text}", "")


def test_what_is_no_refusal() -> None:
    said = "sbatch: Job 7 to start at 2026-11-23T12:00:00 using 48 processors on nodes n[001-006] in partition gpu\n"
    assert judge(0, said, SOURCE) == ([], f"Slurm would take it: {said.strip().removeprefix('sbatch: ')}")
    away = "sbatch: error: Unable to contact slurm controller (connect failure)\n"
    found, note = judge(1, away, SOURCE)
    assert found == []
    assert note.startswith("Slurm does not answer")


@pytest.mark.parametrize(
    ("name", "mla", "experts"),
    [
        ("deepseek-ai/DeepSeek-R1", True, 256),
        ("/models/DeepSeek_V3.2", True, 256),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", False, None),
        ("moonshotai/Kimi-K2-Instruct", True, 384),
        ("Qwen/Qwen3-235B-A22B", False, 128),
        ("meta-llama/Llama-3.3-70B", False, None),
    ],
)
def test_families(name: str, mla: bool, experts: int | None) -> None:
    found = by_name(name)
    assert found is not None
    assert (found.mla, found.experts) == (mla, experts)


def test_the_models_own_config_counts_most() -> None:
    assert by_name("my-model") is None
    assert from_json({"kv_lora_rank": 512, "n_routed_experts": 256}, "/m") == ModelFacts(True, 256, "/m/config.json")
    assert from_json({"hidden_size": 1}, "/m") == ModelFacts(False, None, "/m/config.json")
    assert from_json({"text_config": {"num_experts": 128}}, "/m").experts == 128


def test_paths_under_mounts() -> None:
    Path("c.yaml").write_text(
        GOOD + "container: {runtime: pyxis, image: /i, mounts: ['/data/m:/m:ro', '/a:/b', '/same']}\n"
    )
    config, _ = load_config("c.yaml")
    paths = {p: host_path(config, p) for p in ("/m", "/m/x", "/mm", "/b/c", "/same/x")}
    assert {k: str(v) if v else None for k, v in paths.items()} == {
        "/m": "/data/m", "/m/x": "/data/m/x", "/mm": None, "/b/c": "/a/c", "/same/x": "/same/x",
    }  # fmt: skip


def test_dynamos_flags_are_known() -> None:
    args = {"endpoint": "dyn://a.b.c", "dyn-tool-call-parser": "hermes", "dyn-reasoning-parser": "deepseek_r1"}
    assert load("1.4.2", WORKER).check(args) == []


@pytest.mark.parametrize("limit", ["0", "UNLIMITED"])
def test_no_limit_of_time_is_no_short_one(limit: str) -> None:
    Path("good.yaml").write_text(GOOD)
    assert "may be too short" not in cli("good.yaml", "--no-slurm", "--set", f"slurm.time={limit}").stdout
