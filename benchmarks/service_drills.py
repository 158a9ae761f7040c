"""Drills with services on a real Slurm cluster: what may go wrong with a chain of jobs, and what is left then.

    python benchmarks/service_drills.py [WORD...]       all drills, or those whose name has one of the words (root)

Real Slurm, NATS, etcd, Caddy and Dynamo; the workers are Dynamo's mocker. Each drill ends with `cancel`, and
counts what is left in the queue, of processes on nodes, and of scratch folders.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.service_rig import Drill, Load, Service, run_drills, whole  # noqa: E402
from tests.slurm.cluster import LOGIN, Cluster, wait_until  # noqa: E402
from tests.slurm.deploy import MODEL, Launcher, scratch_folders  # noqa: E402


def update_and_rollback(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    first = s.serve()
    s.wait_serving()
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 120, 60)
        second = s.serve(mocker={"speedup-ratio": 0.1, "max-num-seqs": 64})
        s.wait_said(first, f"handed-over: to {second}")
        wait_until(lambda: not any(line.startswith(f"{first} ") for line in s.jobs()), 60, "the end of the first")
        said = s.launcher("rollback", "small").stdout
        third = re.findall(r"job (\d+) has", said)[0]
        s.wait_said(second, f"handed-over: to {third}")
        config = (s.run_of(third) / "effective.yaml").read_text()
        assert "max-num-seqs" not in config
        withdrawn = s.serve(mocker={"speedup-ratio": 0.1, "max-num-seqs": 32})
        said = s.launcher("rollback", "small").stdout
        assert f"the update in job {withdrawn} is withdrawn" in said, said
        found = load.outcomes()
    assert set(found["outcomes"]) == {"whole"}, found
    return f"{whole(found)} over an update and a rollback; an update that did not serve yet was withdrawn"


def late_next_link(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    s.config["slurm"]["nodelist"] = "n001"
    first = s.serve()
    s.wait_serving()
    block = cluster.run(["sbatch", "--parsable", "-w", "n001", "--gpus-per-node=6", "--wrap", "sleep 300"], LOGIN,
                        cwd=str(folder)).stdout.strip()  # fmt: skip
    assert block.isdigit(), block
    cluster.wait_state(int(block), "RUNNING", 20)
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 60, 40)
        second = s.serve(mocker={"speedup-ratio": 0.1, "max-num-seqs": 64})
        time.sleep(8)
        status = s.status()
        (line,) = [line for line in status.splitlines() if f"job {second}  PENDING" in line]
        assert "Resources" in line or "Priority" in line or "not available" in line, status
        cluster.run(["scancel", block], LOGIN)
        s.wait_said(first, f"handed-over: to {second}")
        found = load.outcomes()
    assert set(found["outcomes"]) == {"whole"}, found
    return f"`status` meanwhile: {line.strip()!r}; then handed over; {whole(found)}"


def too_late(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder, timeouts={"drain": 20})
    s.config["slurm"] |= {"nodelist": "n001", "time": "00:02:00"}
    first = s.serve("--lead", "90")
    s.wait_said(first, "queued")
    block = cluster.run(["sbatch", "--parsable", "-w", "n001", "--gpus-per-node=6", "--wrap", "sleep 300"], LOGIN,
                        cwd=str(folder)).stdout.strip()  # fmt: skip
    cluster.wait_state(int(block), "RUNNING", 20)
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 60, 40)
        s.wait_said(first, "drains", 120)
        found = load.outcomes()
        gateway.wait_for(s, "503 10", 60)
        cluster.run(["scancel", block], LOGIN)
        began = time.monotonic()
        gateway.wait_for(s, "200", 90)
        again = time.monotonic() - began
    assert all(what == "whole" or what.startswith("failed: HTTP 503") for what in found["outcomes"]), found  # none cut
    state = cluster.job_state(int(first))
    return f"drained by itself ({state}), {whole(found)}, then 503; 200 again {again:.0f} s after there was room"


def never_warm(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    first = s.serve()
    s.wait_said(first, "queued")
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 60, 30)
        bad = s.serve(timeouts={"drain": 30, "ready": 10}, setup=["sleep 60"])
        wait_until(lambda: cluster.job_state(int(bad)) not in ("RUNNING", "PENDING", "COMPLETING"), 90, "its end")
        found = load.outcomes()
        gateway.wait_for(s)
    assert "handed-over" not in s.said(first)
    assert set(found["outcomes"]) == {"whole"}, found
    assert len(s.jobs()) == 2, s.jobs()  # the one that serves, and the one that waits for it
    return f"job {bad} ended {cluster.job_state(int(bad))}; the one before serves on: {whole(found)}"


def update_refused(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    s.serve()
    s.wait_serving()
    before = s.jobs()
    s.config["model"] = {**s.config["model"], "path": "/no/such/model"}
    done = s.launcher("serve", s.launcher.write(json.dumps(s.config), "new.yaml"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(s.jobs()) <= max(len(before), 2), s.jobs()
    return f"refused before the queue: {done.stderr.strip().splitlines()[0]!r}"


def scaled(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    first = s.serve()
    s.wait_said(first, "waits:")
    said = s.launcher("scale", "small", "decode=2")
    assert said.returncode == 0, said.stdout + said.stderr
    piece = re.findall(r"decode: job (\d+)", said.stdout)[0]
    out = s.runs / f"small-decode-{piece}.out"
    wait_until(lambda: out.exists() and "joined:" in out.read_text(), 90, "the piece to join")
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 120, 70)
        held = [line.split()[0] for line in s.jobs() if "Dependency" in line]
        cluster.run(["scontrol", "update", f"JobId={held[-1]}", "Dependency="], LOGIN)
        s.wait_said(first, f"handed-over: to {held[-1]}")
        wait_until(lambda: "left:" in out.read_text(), 90, "the piece to leave with its job")
        found = load.outcomes()
    own = len(json.loads((s.run_of(held[-1]) / "plan.json").read_text())["groups"])
    assert own == 3, own  # 1 prefill, 2 decode
    assert set(found["outcomes"]) == {"whole"}, found
    return f"a piece joined; the next job had both groups itself, and the piece left with the old one: {whole(found)}"


def cancel_in_every_phase(cluster: Cluster, folder: Path) -> str:
    took = []

    def cancelled(s: Service, phase: str) -> None:
        seconds = s.cancel()
        left = cluster.left_over(timeout=3)
        assert not s.jobs(), (phase, s.jobs())
        assert not left, (phase, left)
        assert not scratch_folders(cluster), (phase, scratch_folders(cluster))
        assert not (s.runs / "small.service").exists()
        took.append(f"{phase} {seconds:.1f} s")

    s = Service(cluster, folder)
    s.serve()
    cancelled(s, "just queued")
    job = s.serve()
    wait_until(lambda: (s.run_of(job) / "events.jsonl").exists(), 30, "its start")
    cancelled(s, "becoming warm")
    job = s.serve()
    s.wait_said(job, "waits:")
    cancelled(s, "serving, next one held")
    job = s.serve("--lead", "100000")
    s.wait_said(job, "let-go")
    cancelled(s, "next one starting")
    job = s.serve()
    url = s.wait_serving()
    load = Load(s, 20, 2, url)
    new = s.serve(mocker={"speedup-ratio": 0.1, "max-num-seqs": 64})
    s.wait_said(job, f"handed-over: to {new}")
    cancelled(s, "handing over, streams running")
    load.outcomes()
    s.serve()
    s.wait_serving()
    cluster.run(["scancel", *[line.split()[0] for line in s.jobs()]], LOGIN)
    wait_until(lambda: not s.jobs(), 40, "the end")
    cancelled(s, "all ended by scancel")
    return "; ".join(took)


def two_of_one_name(cluster: Cluster, folder: Path) -> str:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    one, two = Service(cluster, folder / "a"), Service(cluster, folder / "b")
    one.serve()
    two.serve()
    one.wait_serving()
    two.wait_serving()
    plain = one.launcher("submit", "small.yaml").stdout  # a job of that name which is none of the service
    alone = re.findall(r"job (\d+)", plain)[0]
    wait_until(lambda: (one.run_of(alone) / "endpoint.json").exists(), 60, "the job that is no service's")
    serving = one.url()
    assert json.loads((one.run_of(alone) / "endpoint.json").read_text())["url"] != serving
    one.cancel()
    assert two.url(), "the other service"
    assert any(line.startswith(f"{alone} RUNNING") for line in one.jobs())
    one.launcher("cancel", alone)
    two.cancel()
    return "`cancel` ended its own jobs alone; a job of that name that was submitted by hand is none of the service's"


def slurmctld_down(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    first = s.serve()
    s.wait_said(first, "waits:")
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 60, 40)
        new = s.serve(mocker={"speedup-ratio": 0.1, "max-num-seqs": 64})
        wait_until(lambda: "warm" in s.said(new) or "serving at" in s.said(new), 60, "the next one")
        cluster.ctld_kill()
        try:
            s.wait_said(first, f"handed-over: to {new}", 60)
            wait_until(lambda: "empty" in s.said(first), 60, "the end of its streams")
            found = load.outcomes()
        finally:
            cluster.ctld_start()
        back = time.monotonic()
        s.wait_said(new, "queued", 60)
        # the nodes' daemons say again, now and then, what they could not say
        wait_until(lambda: not any(line.startswith(f"{first} ") for line in s.jobs()), 240, "the end of the first")
        known = time.monotonic() - back
        gateway.wait_for(s)
    assert set(found["outcomes"]) == {"whole"}, found
    return f"handed over without it; {whole(found)}; Slurm knew of the end {known:.0f} s after it was back"


def head_node_killed(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    s.config["on_failure"] = {"max_requeues": 2}
    job = s.serve()
    s.wait_said(job, "waits:")
    with s.gateway() as gateway:
        gateway.wait_for(s)
        load = Load(s, 240, 80)
        time.sleep(15)
        head = (s.run_of(job) / "hosts").read_text().split()[1]
        cluster.node_kill(head)
        found = load.outcomes()
        states = ", ".join(s.jobs())
        gateway.wait_for(s, timeout=120)
    cluster.node_boot(head)
    cluster.run("rm -rf /tmp/sgl-launch-*", head, cwd="/")  # a machine that fell over tidies nothing
    return f"{whole(found)}; no stream ended whole for {found['gap']} s; jobs then: {states}"


def gateway_killed(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    job = s.serve()
    s.wait_said(job, "waits:")
    with s.gateway() as gateway:
        gateway.wait_for(s)
        front = [p for p in cluster.processes(LOGIN) if "gateway.json" in " ".join(p.argv)]
        cluster.kill_processes(LOGIN, front)
        began = time.monotonic()
        gateway.wait_for(s)
        caddy = time.monotonic() - began
        gateway.process.kill()
        gateway.process.wait()
        wait_until(lambda: not [p for p in cluster.processes(LOGIN) if p.argv[0].endswith("caddy")], 10, "its Caddys")
        assert "RUNNING" in " ".join(s.jobs())
        began = time.monotonic()
        gateway.start()
        gateway.wait_for(s)
        again = time.monotonic() - began
    return f"Caddy killed: answers after {caddy:.1f} s; all of it killed and begun again: {again:.1f} s; jobs untouched"


def two_behind_one_gateway(cluster: Cluster, folder: Path) -> str:
    one, two = Service(cluster, folder), Service(cluster, folder, "other")
    two.config["model"] = {**two.config["model"], "served_name": "other/model"}
    one.serve()
    two.serve()
    one.wait_serving()
    two.wait_serving()
    with one.gateway(two) as gateway:
        gateway.wait_for(one)
        gateway.wait_for(two, model="other/model")
        assert gateway.ask(one, "no/such") == "404"
        assert gateway.ask(two, MODEL) == "401"  # with the other one's key
        two.cancel()
        wait_until(lambda: gateway.ask(one, "other/model") in ("503 10", "404"), 20, "it to say so")
        assert gateway.ask(one) == "200"
    return "each by its model and with its own key; one cancelled, the other one serves on"


def idle_and_wake(cluster: Cluster, folder: Path) -> str:
    s = Service(cluster, folder)
    s.config["service"] = {"idle_stop": "30s"}
    job = s.serve()
    with s.gateway() as gateway:
        gateway.wait_for(s)
        asked = time.time()
        ended = s.wait_said(job, "idle:", 90)
        wait_until(lambda: not s.jobs(), 60, "an empty queue")
        assert not [p for host in cluster.hosts for p in cluster.processes(host) if "launcher" in " ".join(p.argv)]
        gateway.wait_for(s, "503 10", 30)
        began = time.time()
        gateway.wait_for(s, "200", 90)
        woken = time.time() - began
    return f"ended after {ended - asked:.0f} s without a request, queue empty; one woke it: 200 after {woken:.1f} s"


DRILLS: tuple[Drill, ...] = (
    update_and_rollback, late_next_link, too_late, never_warm, update_refused, scaled, cancel_in_every_phase,
    two_of_one_name, slurmctld_down, head_node_killed, gateway_killed, two_behind_one_gateway, idle_and_wake,
)  # fmt: skip


def ask(url: str, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            print(answer.status)
    except urllib.error.HTTPError as e:
        print(e.code, e.headers.get("Retry-After") or "")
    except OSError:
        print(0)


def end(cluster: Cluster, folder: Path) -> None:
    for place in (folder, folder / "a", folder / "b"):
        for service in place.glob("runs/*.service"):
            Launcher(cluster, place)("cancel", service.name.removesuffix(".service"), timeout=90)


def main() -> int:
    if sys.argv[1:2] == ["--ask"]:
        ask(*sys.argv[2:4])
        return 0
    return run_drills(DRILLS, 4, 8, end)


if __name__ == "__main__":
    sys.exit(main())
