"""Who may connect, and where secrets stand: with every shipped config, on Slurm and on this machine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.local.run import SMALL
from tests.local.run import Launcher as LocalLauncher
from tests.slurm.cluster import Cluster
from tests.slurm.deploy import ROOT, SGL_LAUNCH, Launcher, program, small

from . import table
from .knock import knock

TOKEN, FILED = "hf_thisTokenStandsNowhere", "aPasswordFromAFile-7413"
CONFIGS = sorted(p.name for p in (ROOT / "configs").glob("*.yaml"))
WITHOUT_GPUS = (
    "engine=mocker",
    "container.runtime=none",
    "container.image=null",
    f"model.path={ROOT}/configs/tiny-model",
    "slurm.partition=null",
    "slurm.mem=null",
    "warmup.requests.enabled=false",
)
# twelve and thirteen nodes: the same roles and keys on the six that there are
FEWER = {
    "frontends.yaml": ["decode.args.tp-size=16", "decode.args.dp-size=16"],
    "dsr1-96gpu.yaml": ["prefill.workers=1"],
    "hetero.yaml": ["prefill.slurm=null", "decode.slurm.partition=null"],
    "dsr1-4p9d.yaml": ["prefill.args.tp-size=16", "prefill.args.dp-size=16", "decode.args.tp-size=32",
                       "decode.args.dp-size=32"],
}  # fmt: skip
ENV_FROM = 'env_from=[HF_TOKEN, {OTHER: "file:FILE"}]'
REFUSED = {"nats": "refused", "etcd": "refused", "etcd-without-tls": "refused"}


def grep(folder: Path, secrets: list[str]) -> list[str]:
    """Files of a run folder that hold one of the secrets, secrets/ itself left out."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and folder / "secrets" not in path.parents:
            text = path.read_bytes()
            found += [f"{path}: {s[:6]}..." for s in secrets if s.encode() in text]
    return found


def keys_of(folder: Path) -> list[str]:
    """The job's own secrets: the password, and each private key's first line of text."""
    secrets = folder / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in secrets.rglob("*") if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in secrets.rglob("*") if p.is_dir()} <= {0o700}
    keys = [p.read_text().splitlines()[1] for p in secrets.glob("*.key")]
    return [*keys, *(secrets.joinpath(f).read_text() for f in ("nats-password", "endpoint-key", "admin-key"))]


@pytest.mark.parametrize("config", CONFIGS)
def test_nobody_gets_in_on_slurm(launcher: Launcher, cluster: Cluster, config: str) -> None:
    sets = [*WITHOUT_GPUS, *FEWER.get(config, ())]
    first = config == CONFIGS[0]
    words = ["submit", f"{ROOT}/configs/{config}", "--no-check", "--wait", "ready", "--timeout", "60",
             *(f"--set={item}" for item in sets)]  # fmt: skip
    filed = launcher.folder / "password"
    filed.write_text(FILED + "\n")
    words.append("--set=" + ENV_FROM.replace("FILE", str(filed)))
    (launcher.folder / "site.yaml").write_text("runs: runs\n")
    done = cluster.run([str(SGL_LAUNCH), *words], cwd=launcher.folder, timeout=90,
                       env={"SGL_LAUNCH_SITE": str(launcher.folder / "site.yaml"), "HF_TOKEN": TOKEN})  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.split(", ")[1].split()[0])
    job = folder.name.rpartition("-")[2]
    secrets = [TOKEN, FILED, *keys_of(folder)]

    base = json.loads((folder / "placement.json").read_text())["port_base"]
    listeners = [one for node in cluster.hosts for one in cluster.listening(node)
                 if program(one.process) in ("nats-server", "etcd")]  # fmt: skip
    at = json.loads((folder / "plan.json").read_text())["services"]["etcd"]["node"]
    address = [line.split()[2] for line in (folder / "hosts").read_text().splitlines()][at]
    assert {one.address for one in listeners} == {address, "127.0.0.1"}
    knocking = [sys.executable, "-m", "tests.faults.knock", address, str(base), str(base + 1)]
    for node in ("n001", "login"):
        answer = cluster.run(knocking, node, cwd=ROOT, check=True).stdout
        assert json.loads(answer) == REFUSED, answer

    processes = [(node, p) for node in (*cluster.hosts, "login") for p in cluster.processes(node)]
    assert [str(p) for _, p in processes if any(s in str(p) for s in secrets)] == []
    ranks = [(node, p) for node, p in processes if "launcher.job.mocker_rank" in p.argv]
    environment = cluster.run(["cat", f"/proc/{ranks[0][1].pid}/environ"], ranks[0][0], check=True).stdout.split("\0")
    assert f"HF_TOKEN={TOKEN}" in environment
    assert f"OTHER={FILED}" in environment
    record = cluster.run(["scontrol", "--details", "show", "job", job], check=True).stdout
    script = cluster.run(["scontrol", "write", "batch_script", job, "-"], check=True).stdout
    assert "END_OF_PLAN" in script
    dry = cluster.run([str(SGL_LAUNCH), *words, "--dry-run"], cwd=launcher.folder, env={"HF_TOKEN": TOKEN}).stdout
    for text in (record, script, dry, done.stdout, done.stderr):
        assert not [s for s in secrets if s in text]
    assert grep(folder, secrets) == []

    since = time.time()
    assert launcher("cancel", str(folder)).returncode == 0
    assert not (folder / "secrets").exists()
    out = folder.with_name(f"{folder.name}.out").read_text()
    assert grep(folder, secrets) == []
    assert not [s for s in secrets if s in out]
    if first:
        table.add("No key in files, argv, Slurm's record", None, time.time() - since, "143", 0,
                  f"{len(processes)} processes, {len(CONFIGS)} configs; strangers refused")  # fmt: skip


def test_nobody_gets_in_on_this_machine(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path)
    try:
        run = launcher.start(*SMALL)
        secrets = keys_of(run.path)
        base = run.json("placement.json")["port_base"]
        assert asyncio.run(knock("127.0.0.1", base, base + 1)) == REFUSED
        assert [p for p in launcher.processes() if any(s in str(p) for s in secrets)] == []
        assert grep(run.path, secrets) == []
        assert launcher("cancel", run.job).returncode == 0
        assert not (run.path / "secrets").exists()
    finally:
        assert launcher.kill_all() == []


def test_a_dynamo_without_tls_on_the_request_plane_is_refused(tmp_path: Path) -> None:
    """The tests' Dynamo, 1.4, ignores that it should speak TLS: better no deployment than an open one."""
    launcher = LocalLauncher(tmp_path)
    try:
        done = launcher("submit", str(ROOT / "configs/local.yaml"), "--cluster", "local", *SMALL, "--wait", "ready",
                        "--set=security.request_plane=tls", timeout=60)  # fmt: skip
        assert done.returncode == 1, done
        (out,) = (tmp_path / "runs").glob("*.out")
        assert "does not speak it" in out.read_text(), out.read_text()
        assert "Dynamo 1.5 or newer is needed" in out.read_text()
    finally:
        assert launcher.kill_all() == []


def test_open_services_let_in_and_say_so(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(small()), sets=["security.services=open"])
    base = run.json("placement.json")["port_base"]
    knocking = [sys.executable, "-m", "tests.faults.knock", cluster.address("n001"), str(base), str(base + 1)]
    answer = json.loads(cluster.run(knocking, "login", cwd=ROOT, check=True).stdout)
    assert (answer["nats"], answer["etcd-without-tls"]) == ("let in", "let in")
    assert "open: anyone" in launcher("status", str(run.job)).stdout
    assert not list((run.path / "secrets").glob("*.pem"))


def test_a_missing_secret_is_named_at_submit(launcher: Launcher) -> None:
    config = launcher.write(small())
    done = launcher("submit", config, "--set=env_from=[NO_SUCH_TOKEN, {OTHER: 'file:/no/such/file'}]")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "NO_SUCH_TOKEN is not set in your environment" in done.stderr
    assert "OTHER: there is no readable file /no/such/file" in done.stderr


def test_a_secret_in_a_config_is_warned_of(launcher: Launcher) -> None:
    config = launcher.write(small())
    for command in ("plan", "render"):
        done = launcher(command, config, "--set=env={HF_TOKEN: hf_abcdefgh, MAX_TOKENS: 5, TOKEN_PATH: /a/b}",
                        "--set=decode.env.SETTING=sk-abcdefgh")  # fmt: skip
        assert done.returncode == 0
        assert "env_from: [HF_TOKEN]" in done.stderr
        assert "decode.env.SETTING: looks like a secret" in done.stderr
        assert done.stderr.count("warning") == 2
        assert "abcdefgh" not in done.stderr


def test_render_needs_no_secret() -> None:
    done = subprocess.run([str(SGL_LAUNCH), "render", f"{ROOT}/configs/local.yaml", "--set=env_from=[NO_SUCH]"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    checked = subprocess.run(["bash", "-n"], input=done.stdout, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
