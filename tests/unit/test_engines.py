"""The commands of workers, services and frontend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError
from launcher.base.words import Ref
from launcher.config import Config, load_config
from launcher.engines.base import OWNED_FLAGS, flag_words
from launcher.plan.make import make_plan
from launcher.plan.model import Plan
from launcher.plan.show import to_json
from launcher.render import render

from .helpers import BASE, CONFIGS, REPO, cluster_of, plan_of, roles, shipped

# The 2025 example of ai-dynamo/dynamo for DeepSeek-R1 with wide expert parallelism, 2 + 4 nodes
BOTH_2025: dict[str, Any] = {
    "served-model-name": "deepseek-ai/DeepSeek-R1",
    "skip-tokenizer-init": True,
    "disaggregation-transfer-backend": "nixl",
    "disaggregation-bootstrap-port": 30001,
    "enable-dp-attention": True,
    "decode-log-interval": 1,
    "enable-deepep-moe": True,
    "page-size": 1,
    "trust-remote-code": True,
    "moe-dense-tp-size": 1,
    "enable-dp-lm-head": True,
    "disable-radix-cache": True,
    "watchdog-timeout": 1000000,
    "enable-two-batch-overlap": True,
    "ep-num-redundant-experts": 32,
}
PREFILL_2025: dict[str, Any] = {
    **BOTH_2025,
    "model-path": "<the folder of DeepSeek-R1, as the workers see it>",
    "disaggregation-mode": "prefill",
    "dist-init-addr": "<node0>:P+16",
    "nnodes": 2,
    "node-rank": 0,
    "tp-size": 16,
    "dp-size": 16,
    "deepep-mode": "normal",
    "mem-fraction-static": 0.85,
    "chunked-prefill-size": 524288,
    "ep-dispatch-algorithm": "dynamic",
    "eplb-algorithm": "deepseek",
}
DECODE_2025: dict[str, Any] = {
    **BOTH_2025,
    "model-path": "<the folder of DeepSeek-R1, as the workers see it>",
    "disaggregation-mode": "decode",
    "dist-init-addr": "<node2>:P+16",
    "nnodes": 4,
    "node-rank": 0,
    "tp-size": 32,
    "dp-size": 32,
    "deepep-mode": "low_latency",
    "mem-fraction-static": 0.835,
    "cuda-graph-bs": 256,
}
RENAMED: dict[tuple[str, Any], tuple[str, Any]] = {
    ("enable-deepep-moe", True): ("moe-a2a-backend", "deepep"),
    ("cuda-graph-bs", 256): ("cuda-graph-bs-decode", 256),
}
# SGLang takes the bootstrap port on the prefill side alone
NOT_CARRIED = {("decode", "disaggregation-bootstrap-port")}
COMMENTED = {
    "prefill": {
        "max-running-requests: 8192",
        "max-total-tokens: 131072",
        "context-length: 8192",
        "init-expert-location: /configs/prefill_in4096.json",
        "deepep-config: /configs/deepep.json",
    },
    "decode": {
        "max-running-requests: 18432",
        "context-length: 4500",
        "init-expert-location: /configs/decode_in2000out100.json",
    },
}


def dsr1() -> Plan:
    return plan_of((REPO / "configs/dsr1.yaml").read_text())


def flags(argv: list[str]) -> dict[str, str | None]:
    """Flags with their one value, after `python3 -m module`."""
    found: dict[str, str | None] = {}
    words = argv[3:]
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            assert word not in found, f"{word} is given twice"
            found[word[2:]] = None if after.startswith("--") else after
    return found


@pytest.mark.parametrize(("role", "example"), [("prefill", PREFILL_2025), ("decode", DECODE_2025)])
def test_dsr1_carries_every_flag_of_the_2025_example(role: str, example: dict[str, Any]) -> None:
    group = next(g for g in to_json(dsr1())["groups"] if g["role"] == role)
    given = flags(group["argv"])
    wanted = {}
    for name, value in example.items():
        if (role, name) in NOT_CARRIED:
            continue
        name, value = RENAMED.get((name, value), (name, value))
        wanted[name] = None if value is True else str(value)
    assert {k: v for k, v in given.items() if k in wanted} == wanted
    # and nothing beyond it but the address and ports
    assert set(given) - set(wanted) == {"host", "port", "nccl-port"}
    assert group["env"]["MC_TE_METRIC"] == "true"
    assert group["env"]["SGLANG_TBO_DEBUG"] == "1"


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_dsr1_has_the_examples_comments(role: str) -> None:
    text = (REPO / "configs/dsr1.yaml").read_text()
    part = re.split(r"^(?=\w+:)", text, flags=re.MULTILINE)
    (own,) = (p for p in part if p.startswith(f"{role}:"))
    found = {line.strip(" #") for line in own.splitlines() if line.strip().startswith("# ")}
    assert found >= COMMENTED[role]


@pytest.mark.parametrize("name", ["dsr1-4p9d", "dsr1-96gpu"])
def test_larger_dsr1s_differ_in_numbers_alone(name: str) -> None:
    base = to_json(dsr1())["groups"]
    plan = to_json(shipped(REPO / "configs" / f"{name}.yaml"))
    for role in ("prefill", "decode"):
        one = flags(next(g for g in base if g["role"] == role)["argv"])
        other = flags(next(g for g in plan["groups"] if g["role"] == role)["argv"])
        changed = {k for k in one | other if one.get(k) != other.get(k)}
        assert changed <= {"tp-size", "dp-size", "nnodes", "dist-init-addr", "host"}


def test_owned_flags_come_from_the_step() -> None:
    prefill = dsr1().roles[0].command.argv
    assert prefill[prefill.index("--dist-init-addr") + 1] == Ref("${HEAD_ADDR}:${DIST_INIT_PORT}")
    assert prefill[prefill.index("--nnodes") + 1] == Ref("${NNODES}")
    assert prefill[prefill.index("--node-rank") + 1] == Ref("${RANK}")
    assert prefill[prefill.index("--host") + 1] == Ref("${NODE_ADDR}")
    assert prefill[prefill.index("--disaggregation-bootstrap-port") + 1] == Ref("${BOOTSTRAP_PORT}")


@pytest.mark.parametrize(
    ("security", "nats", "etcd"),
    [("{}", None, None), ("{services: open}", "nats", "http"), ("{nats_tls: false}", "nats", "https")],
)
def test_services_are_found_by_every_process(security: str, nats: str | None, etcd: str | None) -> None:
    plan = plan_of(f"{BASE}security: {security}\n")
    for command in (*(r.command for r in plan.roles), plan.frontend):
        for variable, scheme, port in (("NATS_SERVER", nats, "NATS"), ("ETCD_ENDPOINTS", etcd, "ETCD")):
            word = command.env[variable]
            assert isinstance(word, Ref)
            assert word.text.endswith(f"://${{SERVICES_ADDR}}:${{{port}_PORT}}")
            assert scheme is None or word.text.startswith(f"{scheme}://")
    assert {name: command.argv[0] for name, command in plan.services.items()} == {"nats": "nats-server", "etcd": "etcd"}


def test_no_secret_is_in_the_plan() -> None:
    text = json.dumps(to_json(dsr1())).lower()
    assert "password" not in text
    assert "--user" not in text


def test_frontend() -> None:
    plan = plan_of(BASE + "frontend: {router_mode: kv, args: {migration-limit: 16}, env: {A: b}}\npython: /opt/py\n")
    assert plan_of(BASE).frontend.argv[-2:] == ("--migration-limit", "3")
    assert plan.frontend.argv == (
        "/opt/py",
        "-m",
        "dynamo.frontend",
        "--http-port",
        Ref("${FRONTEND_PORT}"),
        "--migration-limit",
        "16",
        "--router-mode",
        "kv",
    )
    assert plan.frontend.env["A"] == "b"


def test_aggregated_has_no_disaggregation_flags() -> None:
    plan = plan_of("name: t\nmodel: {path: /m}\naggregated: {args: {tp-size: 8}}\n")
    assert not [w for w in plan.roles[0].command.argv if isinstance(w, str) and w.startswith("--disagg")]


def test_nixl_unless_the_config_says_otherwise() -> None:
    prefill, decode = plan_of(roles("{}", "{args: {disaggregation-transfer-backend: mooncake}}")).roles
    at = prefill.command.argv.index("--disaggregation-transfer-backend")
    assert prefill.command.argv[at + 1] == "nixl"
    assert decode.command.argv.count("--disaggregation-transfer-backend") == 1
    assert "mooncake" in decode.command.argv


def test_the_env_of_all_is_not_the_services() -> None:
    """As docs/config.md says."""
    script = render(plan_of(BASE + "env: {MARK: here}\n"))
    bodies = dict(re.findall(r"^(\w+)\(\) \{\n(.*?)^\}", script, re.M | re.S))
    assert [name for name, body in bodies.items() if "MARK" in body] == ["environment", "kernels"]
    users = {name for name, body in bodies.items() if re.search(r"^  (environment|worker)$", body, re.M)}
    assert users == {"worker", "prefill", "decode", "frontend"}
    assert {"nats", "etcd"} <= set(bodies)
    said = Config.model_fields["env"].description or ""
    assert "workers" in said
    assert "frontend" in said
    assert "NATS and etcd do not get it" in said


def test_a_roles_env_wins() -> None:
    prefill, decode = plan_of(roles("{env: {HOST_IP: 10.0.0.1}}")).roles
    assert prefill.command.env["HOST_IP"] == "10.0.0.1"
    assert decode.command.env["HOST_IP"] == Ref("${NODE_ADDR}")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"a": True}, ("--a",)),
        ({"a": False}, ()),
        ({"a": None}, ()),
        ({"a": 1, "b": 0.5, "c": "x y"}, ("--a", "1", "--b", "0.5", "--c", "x y")),
        ({"a": [1, 2, "x"]}, ("--a", "1", "2", "x")),
        ({"a": {"y": 1, "x": [True]}}, ("--a", '{"x": [true], "y": 1}')),
        ({"a": 0}, ("--a", "0")),
        ({"a": ""}, ("--a", "")),
    ],
)
def test_flag_words(args: dict[str, Any], words: tuple[str, ...]) -> None:
    assert flag_words(args) == words


def test_numbers_stand_as_they_were_written() -> None:
    plan = plan_of(roles("{args: {mem-fraction-static: 0.850, x: 1e-5}}"))
    words = plan.roles[0].command.argv
    assert words[-4:] == ("--mem-fraction-static", "0.850", "--x", "1e-5")


@pytest.mark.parametrize("name", sorted(OWNED_FLAGS))
@pytest.mark.parametrize("spelling", ["{}", "--{}"])
def test_flags_that_are_the_launchers_own(name: str, spelling: str) -> None:
    with pytest.raises(InputError) as error:
        plan_of(f"name: t\nmodel: {{path: /m}}\naggregated:\n  args:\n    {spelling.format(name)}: 1\n")
    (problem,) = error.value.problems
    assert problem.message == f"can't be set here: {OWNED_FLAGS[name]}"
    assert str(problem.place) == "c.yaml:5:5"


def test_no_spare_nodes_behind_sglangs_router() -> None:
    with pytest.raises(InputError, match="no spare node can replace one") as error:
        plan_of(roles("{args: {tp-size: 8}}", "{args: {tp-size: 8}}", "engine: sglang\nspare_nodes: 1\n"))
    assert len(error.value.problems) == 1


MOCKER = BASE + "engine: mocker\n"


def test_mocker_worker() -> None:
    text = roles(
        "{args: {tp-size: 16, page-size: 16, deepep-mode: normal, disable-radix-cache: true}}",
        "{args: {tp-size: 8, max-running-requests: 4}, env: {A: b}}",
        "engine: mocker\nmocker: {speedup-ratio: 10}\n",
    )
    prefill, decode = plan_of(text).roles
    words = prefill.command.argv
    assert words[:3] == (Ref("${LAUNCH_PYTHON}"), "-m", "launcher.job.mocker_rank")
    assert words[words.index("--") + 1 :] == (
        "--model-path",
        "/m",
        "--model-name",
        "/m",
        "--engine-type",
        "sglang",
        "--disaggregation-mode",
        "prefill",
        "--bootstrap-ports",
        Ref("${BOOTSTRAP_PORT}"),
        "--sglang-page-size",
        "16",
        "--no-enable-prefix-caching",
        "--speedup-ratio",
        "10",
    )
    assert "--max-num-seqs" in decode.command.argv
    assert "--bootstrap-ports" not in decode.command.argv
    assert decode.command.env["A"] == "b"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_mocker_rehearses_any_shipped_config(path: Path) -> None:
    sets = ["engine=mocker", "container.runtime=none", "container.image=null"]
    plan = make_plan(*load_config(str(path), sets, sites=()), cluster_of(path))
    assert [g.ranks for g in plan.groups] == [g.ranks for g in shipped(path).groups]
    for role in plan.roles:
        assert "launcher.job.mocker_rank" in role.command.argv


def test_mocker_needs_no_container() -> None:
    with pytest.raises(InputError, match=r"the mocker runs without a container; add --set container\.runtime=none"):
        plan_of(MOCKER + "container: {runtime: pyxis, image: x}\n")


@pytest.mark.parametrize("engine", ["dynamo", "mocker", "sglang"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prefill: {args: {api-key: secret123}}\ndecode: {}\n", "prefill.args.api-key: can't be set here: a key"),
        ("prefill: {args: {ssl-certfile: ./c}}\ndecode: {}\n", "set security.tls instead"),
        ("prefill: {}\ndecode: {}\nfrontend: {args: {tls-cert-path: ./c}}\n", "set security.tls instead"),
        ("prefill: {}\ndecode: {}\nfrontend: {args: {control-plane-api-keys: k}}\n", "security.endpoint"),
        ("prefill: {}\ndecode: {}\nfrontend: {args: {http-host: 0.0.0.0}}\n", "frontends listen on 127.0.0.1"),
        ("prefill: {}\ndecode: {}\nfrontend: {env: {DYN_TLS_CERT_PATH: /c}}\n", "frontend.env.DYN_TLS_CERT_PATH"),
        ("prefill: {}\ndecode: {}\nenv: {DYN_HTTP_HOST: 0.0.0.0}\n", "env.DYN_HTTP_HOST: can't be set here"),
    ],
)
def test_what_would_open_or_shut_the_endpoint_is_refused(engine: str, text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        plan_of(f"name: t\nmodel: {{path: /m}}\nengine: {engine}\n{text}")
    (problem,) = error.value.problems
    assert said in str(problem)
    assert "secret123" not in str(problem)
