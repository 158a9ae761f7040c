"""An engine and a container runtime of an installed package: served for real on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from launcher.base.errors import InputError
from launcher.config import load_config
from tests.local.run import Launcher

from .configs import config, role

# One module is all of it. The engine's workers and its frontend are the stand-in of SGLang's server.
MODULE = """
from launcher.containers import ContainerCommand
from launcher.engines import Command
from launcher.base.words import Ref

def server(context, port, own):
    return Command((
        context.config.python, "-m", "sglang.launch_server",
        "--model-path", context.config.model.path, "--served-model-name", context.config.served_name,
        "--nnodes", "1", "--node-rank", "0",
        "--dist-init-addr", Ref("${NODE_ADDR}:" + own), "--host", Ref("${NODE_ADDR}"), "--port", Ref(port),
    ), {"ACME_WORKERS": context.workers[0].url})

class Acme:
    health = "/health"

    def problems(self, config, source):
        if config.roles.keys() != {"aggregated"}:
            return [source.problem("acme serves aggregated workers alone", "engine")]
        return []

    def worker(self, context, role_name, role):
        return Command(server(context, "${HTTP_PORT}", "${DIST_INIT_PORT}").argv)

    def services(self, context):
        return {}

    def frontend(self, context):
        return server(context, "${FRONTEND_PORT}", "${METRICS_PORT}")

def box(container):
    return ContainerCommand(prefix=("env", f"ACME_BOX={container.image}"))
"""
ENTRY_POINTS = "[sgl_launch.engines]\nacme = acme:Acme\n[sgl_launch.containers]\nbox = acme:box\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as pip leaves it for the package acme."""
    made = tmp_path / "site"
    (made / "acme-1.dist-info").mkdir(parents=True)
    (made / "acme.py").write_text(MODULE)
    (made / "acme-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (made / "acme-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(made))
    monkeypatch.setenv("PYTHONPATH", str(made))
    return made


def text(**parts: object) -> str:
    parts = {"aggregated": role(gpus=1), "container": {"runtime": "box", "image": "acme:1"}, **parts}
    return config("sglang", gpus_per_node=1, **parts).replace('"engine": "sglang"', '"engine": "acme"')


def test_they_serve(installed: Path, local: Launcher) -> None:
    path = local.folder / "acme.yaml"
    path.write_text(text())
    run = local.start(config=path)
    done = local("chat", run.job)
    assert done.stdout.startswith("frontend "), (done.stdout, done.stderr)
    servers = [p for p in local.processes(run.job) if "sglang.launch_server" in p.argv]
    envs = [Path(f"/proc/{p.pid}/environ").read_text().split("\0") for p in servers]
    assert len(envs) == 2
    assert all("ACME_BOX=acme:1" in env for env in envs)
    (frontend,) = [env for env in envs if "GROUP=frontend" in env]
    assert any(re.fullmatch(r"ACME_WORKERS=http://127.0.0.1:[0-9]+", line) for line in frontend)
    assert local("cancel", str(run.path)).returncode == 0
    local.wait_gone(5)


def test_its_mistakes_are_told_like_ours(installed: Path, tmp_path: Path) -> None:
    from launcher.plan.make import make_plan

    path = tmp_path / "acme.yaml"
    path.write_text(text(aggregated=None, prefill=role(), decode=role()))
    with pytest.raises(InputError, match="engine: acme serves aggregated workers alone"):
        make_plan(*load_config(str(path), sites=()), "local")


def test_a_name_that_nobody_adds(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(text())
    assert "acme" not in os.environ.get("PYTHONPATH", "")
    with pytest.raises(InputError) as error:
        load_config(str(path), sites=())
    assert {p.message for p in error.value.problems} == {
        "must be 'dynamo', 'sglang', 'mocker' or 'dynamo-serve', not 'acme'",
        "must be 'none', 'pyxis', 'apptainer' or 'docker', not 'box'",
    }
