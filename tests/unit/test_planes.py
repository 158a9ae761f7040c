"""TLS on Dynamo's request plane where nobody has said, and the key of SGLang's own servers."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from launcher.front import planes
from launcher.front.caddy import Address, config
from launcher.front.keys import make_keys, read_keys
from launcher.front.routes import DYNAMO, ROUTER
from launcher.job.logs import Logs

from .helpers import BASE, load, plan_of

MOCKER = BASE + "engine: mocker\n"


def plane(text: str, local: bool = False) -> str:
    return planes.with_planes(load(text)[0], local).security.request_plane


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "open"),
        ("dynamo_version: 1.4.2\n", "open"),
        ("dynamo_version: 1.5.0\n", "tls"),
        ("dynamo_version: 1.6.1\n", "tls"),
        ("dynamo_version: a-branch\n", "open"),
        ("dynamo_version: 1.6.1\nsecurity: {request_plane: open}\n", "open"),
        ("dynamo_version: 1.6.1\nsecurity: {services: open}\n", "open"),
        ("container: {runtime: apptainer, image: 'docker://ai-dynamo/sglang-runtime:1.5.1'}\n", "tls"),
        ("container: {runtime: apptainer, image: 'docker://ai-dynamo/sglang-runtime:1.4.2'}\n", "open"),
        ("engine: sglang\ndynamo_version: 1.6.1\n", "open"),
        ("dynamo_version: 1.6.1\nservices: {where: external, nats: 'nats://n:1', etcd: 'http://e:1'}\n", "open"),
    ],
)
def test_tls_where_dynamo_is_known_to_speak_it(more: str, expected: str) -> None:
    assert plane(BASE + more) == expected


def test_what_is_installed_counts_for_a_job_of_this_machine(tmp_path: Path) -> None:
    python = tmp_path / "python"
    for version, expected in (("1.6.1", "tls"), ("1.4.2", "open")):
        python.write_text(f"#!/bin/sh\necho {version}\n")
        python.chmod(0o755)
        assert plane(f"{BASE}python: {python}\n", local=True) == expected
        assert plane(f"{BASE}python: {python}\n") == "open", "a cluster's nodes may have another one"
    assert plane(f"{BASE}python: {tmp_path}/none\n", local=True) == "open"
    assert plane(f"{BASE}python: {sys.executable}\ndynamo_version: 1.4.2\n", local=True) == "open"


def test_the_mocker_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        version = "1.4.2"

    monkeypatch.setattr("importlib.metadata.distributions", lambda name: [Found])
    assert plane(MOCKER + "dynamo_version: 1.6.1\n") == "open"
    Found.version = "1.6.1"
    assert plane(MOCKER + "dynamo_version: 1.4.2\n") == "tls"


def test_sglangs_own_servers_have_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    keys = make_keys(folder, guarded=True, workers=True)
    assert keys == read_keys(folder)
    assert keys.worker
    assert (folder / "worker.yaml").read_text() == f"api-key: {keys.worker}\n"
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o600}
    assert keys.worker not in repr(keys)
    asked = config(Address(("127.0.0.1:1",), ("127.0.0.1:2",), ROUTER, keys), None, 5)
    assert f'"Bearer {keys.worker}"' in asked
    without = config(Address(("127.0.0.1:1",), ("127.0.0.1:2",), DYNAMO, make_keys(tmp_path / "d", True)), None, 5)
    assert "sk-worker" not in without


@pytest.mark.parametrize(("version", "has"), [("0.5.2", False), ("0.5.3", True), ("0.5.23", True), ("", True)])
def test_a_server_reads_its_key_from_a_file(version: str, has: bool) -> None:
    plan = plan_of(BASE + "engine: sglang\n" + (f"sglang_version: {version}\n" if version else ""))
    for role in plan.roles:
        assert ("--config" in role.command.argv) == has
    assert "--api-key" not in [word for word in plan.frontend.argv if not str(word).startswith("import")]
    assert "--config" not in plan_of(BASE).roles[0].command.argv


def test_a_config_of_the_users_own_stands_in_its_place() -> None:
    text = BASE.replace("{tp-size: 8}}", "{tp-size: 8, config: /own.yaml}}", 1) + "engine: sglang\n"
    for role in plan_of(text).roles:
        argv = role.command.argv
        assert (argv[argv.index("--config") + 1] == "/own.yaml") == (role.name == "prefill")


def test_a_key_that_sglang_says_is_not_in_its_log(tmp_path: Path) -> None:
    logs = Logs(tmp_path, files=2, limit=1 << 30)
    logs.hidden = b"sk-worker-abc"
    logs.write("decode-0-0.log", b"server_args={'api_key': 'sk-worker-abc', 'tp': 1}\n")
    assert logs.tail("decode-0-0.log") == ["server_args={'api_key': '...', 'tp': 1}"]
