"""Which versions a config is checked for, and what each program's flags are judged by."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.catalog import pairs
from launcher.catalog.releases import FRONTEND, SGLANG
from launcher.check import check_config
from launcher.check.flags import judge

HEAD = "name: t\nmodel: {path: /m}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").write_text("# nothing\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", str(tmp_path / "site.yaml"))


def say(text: str) -> list[str]:
    """Level, key and message of each finding of the config, without those about mounts."""
    Path("c.yaml").write_text(HEAD + text)
    checked = check_config("c.yaml", ask_slurm=False)
    return [f"{f.level}: {f.problem.key}: {f.problem.message}" for f in checked.findings if "mounts" not in str(f)]


@pytest.mark.parametrize(
    ("image", "sglang", "dynamo"),
    [
        ("lmsysorg/sglang:v0.5.8-cu130", "0.5.8", ""),
        ("lmsysorg/sglang:v0.5.5.post2", "0.5.5.post2", ""),
        ("nvcr.io#nvidia/ai-dynamo/sglang-runtime:1.4.2", "0.5.16", "1.4.2"),
        ("/images/lmsysorg+sglang+v0.5.18-cu130.sqsh", "0.5.18", ""),
        ("dynamo-sglang-0.5.16.sqsh", "0.5.16", ""),
        ("acme/ai-dynamo-1.6.1-sglang-0.5.21:latest", "0.5.21", "1.6.1"),
        ("lmsysorg/sglang:nightly-dev-cu13-20260710-cfc66e05", "0.5.14+nightly.20260710", ""),
        ("lmsysorg/sglang:nightly-dev-cu13", "", ""),
        ("ubuntu:22.04", "", ""),
        ("x:12.0.5.81", "", ""),
    ],
)
def test_versions_of_an_image(image: str, sglang: str, dynamo: str) -> None:
    assert pairs.of_image(image) == (sglang, dynamo)


def test_what_goes_together() -> None:
    assert [pairs.sglang_of(v) for v in ("1.4.1", "1.6.1", "0.3.2", "2.0.0", "x")] == ["0.5.16", "0.5.21", "", "", ""]
    assert [pairs.dynamo_of(v) for v in ("0.5.16", "0.5.17", "0.5.23", "0.4.6", "x")] == ["1.4", "1.4", "1.6", "", ""]
    assert judge(FRONTEND, "1.4").catalog.version == "1.4.2"


def test_the_image_tells_the_version() -> None:
    image = "container: {runtime: docker, image: 'lmsysorg/sglang:v0.5.8'}\n"
    flags = "aggregated: {args: {cuda-graph-max-bs-decode: 64}}\n"
    assert "SGLang 0.5.8 does not have this flag yet (0.5.14 does)" in say(image + flags)[0]
    said = say(image + "sglang_version: 0.5.16\n" + flags)
    assert said == ["warning: sglang_version: is 0.5.16, but the image's name says 0.5.8 (lmsysorg/sglang:v0.5.8)"]


def test_a_pair_that_does_not_go_together() -> None:
    said = say("sglang_version: 0.5.16\ndynamo_version: 1.6.1\naggregated: {}\n")
    pair = "Dynamo 1.6.1 is made for SGLang 0.5.21, not 0.5.16; Dynamo 1.4 goes with that"
    assert said == [f"warning: dynamo_version: {pair}"]


def test_a_release_without_a_catalogue_is_judged_by_its_neighbours() -> None:
    known = SGLANG.versions()
    assert SGLANG.neighbours("0.5.15.post2") == ("0.5.15.post1", "0.5.16")
    assert SGLANG.neighbours("0.5.99") == (known[-1],)
    # cuda-graph-max-bs-decode came with 0.5.14: the neighbours of 0.5.13.post2 disagree
    between = "sglang_version: 0.5.13.post2\naggregated: {args: {cuda-graph-max-bs-decode: 64, page-sise: 1}}\n"
    levels = {line.split(": ")[1]: line.split(": ")[0] for line in say(between)}
    assert levels["aggregated.args.cuda-graph-max-bs-decode"] == "warning"
    assert levels["aggregated.args.page-sise"] == "error"  # both say so
    newer = "sglang_version: 0.5.99\naggregated: {args: {new-flag: 1, tp-size: x}}\n"
    levels = {line.split(": ")[1]: line.split(": ")[0] for line in say(newer)}
    assert levels["aggregated.args.new-flag"] == "warning"
    assert levels["aggregated.args.tp-size"] == "error"  # whatever the version


def test_dynamos_flags_are_judged_by_its_version() -> None:
    flags = "aggregated: {args: {dyn-structural-tag: true, dyn-tool-call-parser: kimi_k25}}\n"
    assert say("dynamo_version: 1.6.1\n" + flags) == []
    said = say("dynamo_version: 1.4.2\n" + flags)
    assert "Dynamo 1.4.2 does not have this flag yet (1.6.1 does)" in said[0]
    assert "Invalid value" in said[1]


def test_the_frontend_and_the_mocker() -> None:
    text = "aggregated: {}\nfrontend: {router_mode: roundrobin, args: {router-temprature: 0.5}}\n"
    said = say("dynamo_version: 1.4.2\n" + text)
    assert 'error: frontend.router_mode: Invalid value "roundrobin"' in said[0]
    assert "error: frontend.args.router-temprature: Dynamo's frontend 1.4.2 has no such flag" in said[1]
    assert "ignores it" in say("dynamo_version: 1.6.1\naggregated: {}\nfrontend: {args: {router-temperature: 1}}\n")[0]
    wrong = "engine: mocker\ndynamo_version: 1.4.2\naggregated: {}\nmocker: {speed-up: 1}\n"
    assert say(wrong)[0].startswith("error: mocker.speed-up: Dynamo's mocker 1.4.2 has no such flag")


def test_the_routers_of_engine_sglang() -> None:
    text = "engine: sglang\naggregated: {}\nfrontend: {router: ROUTER, router_mode: least-load}\n"
    assert "Invalid value" in say(text.replace("ROUTER", "sglang-router"))[0]
    assert say(text.replace("ROUTER", "smg")) == []


def test_two_workers_of_a_node_publish_at_one_endpoint() -> None:
    text = "dynamo_version: 1.4.2\naggregated: {workers: WORKERS, args: {kv-events-config: EVENTS}}\n"
    events = "{publisher: zmq, topic: kv-events, endpoint: 'tcp://*:5557'}"
    assert "each worker gets its own" in say(text.replace("WORKERS", "2").replace("EVENTS", events))[0]
    assert say(text.replace("WORKERS", "1").replace("EVENTS", events)) == []
    assert say(text.replace("WORKERS", "2").replace("EVENTS", "{publisher: zmq}")) == []


@pytest.mark.parametrize(("running", "most"), [(1354, 0), (16384, 1024), (None, 1354)])
def test_graphs_are_no_larger_than_an_attention_group_s_requests(running: int | None, most: int) -> None:
    args = "tp-size: 16, dp-size: 16, ep-size: 16, enable-dp-attention: true, moe-a2a-backend: deepep"
    graphs = "deepep-mode: low_latency, cuda-graph-max-bs-decode: 1354"
    requests = f", max-running-requests: {running}" if running else ""
    text = f"sglang_version: 0.5.16\nprefill: {{args: {{{args}}}}}\ndecode: {{args: {{{args}, {graphs}{requests}}}}}\n"
    found = [line for line in say(text) if "graphs of up to" in line]
    assert [f"graphs of up to {most} tokens" in line for line in found] == ([True] if most else [])


def test_prediction_needs_layers_for_it() -> None:
    text = "model: {path: /m, served_name: moonshotai/Kimi-K2}\naggregated: {args: {speculative-algorithm: EAGLE}}\n"
    Path("c.yaml").write_text("name: t\n" + text)
    assert "has no layers for it" in str(check_config("c.yaml", ask_slurm=False).findings[-1])
