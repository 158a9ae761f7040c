"""`sgl-launch job ...`: what a job's script calls on its first node. Not for people."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import click

from launcher.base.counting import counted
from launcher.base.errors import WorkError
from launcher.run.folder import RunFolder


def _end(*_: object) -> None:
    """Exit, by force a second later: a library that catches everything would swallow the exit."""
    force = threading.Timer(1.0, os._exit, [143])
    force.daemon = True
    force.start()
    sys.exit(143)


@click.group("job", hidden=True)
def command() -> None:
    """Parts of a running job."""
    signal.signal(signal.SIGTERM, _end)
    script = os.environ.get("SGL_SCRIPT_PID", "")
    if script and not Path("/proc", script).exists():  # killed before it could be known who ends with it
        sys.exit(143)


@command.command("python")
def python() -> None:
    """Print the Python that runs sgl-launch."""
    click.echo(sys.executable)


@command.command("keys")
@click.argument("folder", type=click.Path(path_type=Path))
def keys(folder: Path) -> None:
    """Make the job's certificates and password."""
    from launcher.job.keys import make_keys
    from launcher.job.services import NATS_USER
    from launcher.run.deployment import read_deployment

    deployment = read_deployment(RunFolder(folder))
    tls = deployment.plan.settings.nats_tls
    addresses = list(deployment.service_hosts.values())
    if deployment.plan.settings.request_plane == "tls":
        # each worker is a server of it
        addresses += [node.address for node in RunFolder(folder).nodes()]
    make_keys(folder / "secrets", addresses, NATS_USER, tls)


@command.command("preflight")
@click.argument("folder", type=click.Path(path_type=Path))
def preflight(folder: Path) -> None:
    """Look at the job's nodes; writes preflight.txt and fails if one is bad."""
    from launcher.preflight.stage import preflight_stage

    preflight_stage(RunFolder(folder), say)


@command.command("rejoin")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("group")
def rejoin(folder: Path, group: str) -> None:
    """After a worker group was started again: bring it back into service, warm.

    Its keeper in the script, which started this, is told by SIGUSR1 if that fails.
    """
    from launcher.job.rejoin import bring_back, tell_keeper
    from launcher.run.deployment import read_deployment

    run = RunFolder(folder)
    try:
        bring_back(run, read_deployment(run), group, _timeout(run, "ready"), say)
    except Exception as e:  # whatever it is, the group does not serve
        text = str(e) if isinstance(e, WorkError) else f"{group} was not brought back: {type(e).__name__} {e}"
        say(text)
        tell_keeper(run, group, text)
        sys.exit(1)


@command.command("kernels")
@click.argument("folder", type=click.Path(path_type=Path))
def kernels(folder: Path) -> None:
    """Write which kernels the job needs, and what its steps need to build them."""
    from launcher.job.kernels import prepare
    from warmup.kernels import ERRORS

    try:
        shapes = prepare(RunFolder(folder))
    except ERRORS as e:
        raise WorkError(str(e)) from None
    say(counted(shapes, "kernel shape"))


@command.command("monitor")
@click.argument("folder", type=click.Path(path_type=Path))
def monitor(folder: Path) -> None:
    """Tell the script which workers have vanished from etcd."""
    from launcher.job.monitor import monitor as watch

    watch(RunFolder(folder), say)


@command.command("services")
@click.argument("folder", type=click.Path(path_type=Path))
def services(folder: Path) -> None:
    """Wait until NATS and etcd answer."""
    from launcher.job.services import wait_for_services
    from launcher.run.deployment import read_deployment

    run = RunFolder(folder)
    deployment = read_deployment(run)
    ports = deployment.service_ports
    took = wait_for_services(deployment, _timeout(run, "services"))
    for name, seconds in took.items():
        run.add_event(name, "ready")
        say(f"{name} answers at {deployment.service_hosts[name]}:{ports[name]} ({seconds:.1f} s)")


@command.command("ready")
@click.argument("folder", type=click.Path(path_type=Path))
def ready(folder: Path) -> None:
    """Wait until every worker is there and has answered a request, through every frontend."""
    from launcher.job.ready import wait_until_ready
    from launcher.run.deployment import read_deployment

    run = RunFolder(folder)
    deployment = read_deployment(run)
    try:
        wait_until_ready(run, deployment, _timeout(run, "ready"), say)
    except WorkError as e:
        (run.path / "reason").write_text(f"{e}\n", encoding="utf-8")
        raise
    urls = list(deployment.endpoints)
    run.write_json("endpoint.json", {"url": deployment.endpoint, "urls": urls, "model": deployment.model})


@command.command("balance")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("port", type=int)
def balance(folder: Path, port: int) -> None:
    """Hand connections to this port on to the frontends, until SIGTERM and the last one's end."""
    import asyncio
    from urllib.parse import urlsplit

    from launcher.job.balance import Balancer, Target
    from launcher.run.deployment import read_deployment

    urls = [urlsplit(url) for url in read_deployment(RunFolder(folder)).endpoints]
    targets = [Target(url.hostname or "", url.port or 0) for url in urls]
    asyncio.run(Balancer(targets, say, os.environ.get("SGL_SCRIPT_PID", "")).serve(port))


@command.command("warm")
@click.argument("folder", type=click.Path(path_type=Path))
def warm(folder: Path) -> None:
    """Sweep requests until the times are steady; writes warmup.json."""
    from launcher.job.warm import warm_up
    from launcher.run.deployment import read_deployment
    from warmup.requests.show import Live, show

    run = RunFolder(folder)
    with Live() as live:
        report = warm_up(read_deployment(run), live)
    run.write_json("warmup.json", report.to_dict())
    show(report, sys.stderr)
    if not report.verdict.warm:
        raise WorkError("; ".join([f"the warm-up's verdict: {report.verdict.state}", *report.verdict.reasons]))


def say(text: str) -> None:
    """A line in the job's output, as the script's own lines look."""
    print(time.strftime("%H:%M:%S"), "", text, file=sys.stderr, flush=True)


def _timeout(run: RunFolder, name: str) -> float:
    settings = run.plan().settings
    return settings.timeout_ready if name == "ready" else settings.timeout_services
