"""The test bed by hand: python -m tests.slurm.cluster up 6 | on NODE CMD... | fault WHAT NODE... |
down"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import DEFAULT_BASE, Cluster, RigError

FAULTS = {
    "node-kill": "power loss: the link first, then every process of the node",
    "node-boot": "boot killed nodes again",
    "cut": "pull the nodes' network cables",
    "join": "plug them in again",
    "partition": "A and B cannot reach each other",
    "heal": "A and B can again",
    "slurmd-kill": "kill the daemon; running steps go on",
    "slurmd-start": "start it again",
    "ctld-kill": "kill the controller",
    "ctld-start": "start it again",
    "mend": "undo every fault that is there",
}


def parse(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_BASE / "hand",
        help="state folder (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="bring a cluster up; it stays until `down`")
    up.add_argument("nodes", nargs="?", type=int, default=6)
    up.add_argument(
        "--names",
        nargs="+",
        metavar="EXPR",
        help='host expressions, such as "n[001-003]" "gpu-a[7,9]"',
    )
    up.add_argument("--gpus", type=int, default=8, help="fake GPUs a node (default: %(default)s)")
    up.add_argument("--real-gpus", action="store_true", help="share out this machine's own GPUs instead")
    up.add_argument("--accounting", action="store_true", help="with slurmdbd, so that sacct works")
    up.add_argument("--kill-wait", type=int, default=5, metavar="SECONDS")
    up.add_argument("--extra-conf", default="", metavar="LINES", help="lines for slurm.conf")
    up.add_argument("--share", type=Path, help="folder to be seen by all nodes at the same path")

    on = commands.add_parser("on", help="run a command on a node (login, ctl or a compute node), in this folder")
    on.add_argument("node")
    on.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")

    fault = commands.add_parser(
        "fault",
        help="break and mend things",
        epilog="; ".join(f"{name}: {text}" for name, text in FAULTS.items()),
    )
    fault.add_argument("what", choices=FAULTS)
    fault.add_argument("nodes", nargs="*", metavar="NODE")

    commands.add_parser("ps", help="what runs on each node besides the rig")
    commands.add_parser("down", help="end everything; logs stay in the state folder")
    return parser.parse_args(args)


def main(args: Sequence[str]) -> int:
    options = parse(args)
    if options.command == "up":
        start = time.monotonic()
        options.state.parent.mkdir(parents=True, exist_ok=True)
        if options.state.parent == DEFAULT_BASE:
            DEFAULT_BASE.joinpath(".gitignore").write_text("*\n")
        cluster = Cluster.up(
            options.nodes,
            options.gpus,
            names=options.names,
            accounting=options.accounting,
            real_gpus=options.real_gpus,
            kill_wait=options.kill_wait,
            extra_conf=options.extra_conf,
            state=options.state,
            share=options.share,
            detached=True,
        )
        took = time.monotonic() - start
        print(f"{len(cluster.hosts)} nodes idle after {took:.1f} s; share: {cluster.share}")
        return 0
    if options.command == "down":
        try:
            Cluster.attach(options.state).down()
        except RigError as error:
            print(error)
        return 0
    cluster = Cluster.attach(options.state)
    if options.command == "on":
        # In this session, so that a terminal works; then Ctrl-C reaches the program without us.
        process = cluster.popen(
            options.argv or ["bash"],
            options.node,
            cwd=Path.cwd(),
            stdin=sys.stdin,
            new_session=False,
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
        return status if status >= 0 else 128 - status
    if options.command == "ps":
        for node, processes in cluster.left_over(timeout=0).items():
            for left in processes:
                print(node, left)
        return 0
    result = getattr(cluster, options.what.replace("-", "_"))(*options.nodes)
    for line in result or ():
        print(line)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (RigError, ValueError, TimeoutError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
