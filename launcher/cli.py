"""The command line. Each command is a module of launcher.commands, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from launcher import __version__
from launcher.base.errors import InputError, WorkError, reason

# name -> the line in --help; the module launcher.commands.<name> has the click command `command`
COMMANDS = {
    "init": "Write a first site file or config, from what this cluster has.",
    "configs": "List the configs that ship, with what each was run on.",
    "submit": "Start a deployment, on Slurm or on this machine.",
    "serve": "Serve past the walltime: a chain of jobs under one name.",
    "scale": "Add worker groups to a deployment that runs, or take some away.",
    "rollback": "Give a service the config back that it had before.",
    "gateway": "Answer at one address for services, whichever job serves now.",
    "plan": "Show who would run where, before anything is queued.",
    "check": "Report every problem in a config before it is queued.",
    "preflight": "Check that the nodes have what a config needs.",
    "render": "Print the job script.",
    "convert": "Turn a Dynamo service file or an srt-slurm recipe into a config.",
    "warmup": "Warm a deployment with requests, or build its kernels.",
    "cache": "Show, check and prune the archives of built kernels.",
    "endpoint": "Print a deployment's address, and the key that clients send.",
    "chat": "Ask a deployment one question and stream the answer.",
    "status": "Show a job's stage, groups and endpoint.",
    "logs": "Show a job's logs.",
    "wait": "Wait until a job is ready, warm or done.",
    "attach": "Open a shell beside a rank, in its container; or print how.",
    "bench": "Measure a deployment under load, and whether the figures hold.",
    "sweep": "Measure variants of a config, one after another.",
    "compare": "Compare two benches: what differs, in settings and figures.",
    "eval": "Compare the answers that each worker gives.",
    "metrics": "Print how Prometheus scrapes a deployment.",
    "profile": "Record what a group's ranks do in their next steps.",
    "top": "Show what each group does now, live.",
    "report": "Write an HTML page about a run.",
    "cancel": "End a job and everything it started.",
    "list": "List the runs.",
    "image": "Build the container image for the site's runtime.",
    "schema": "Print the config reference.",
    "completion": "Print the shell's completion script.",
}
MEASURED = ("bench", "compare", "eval", "metrics", "profile", "sweep", "top")  # in launcher.measure
HIDDEN = {"job": "What a job's script calls."}
SERVICES = ("serve", "rollback", "gateway", "scale", "submit", "cancel", "endpoint", "render", "status")
HOMES = {
    **dict.fromkeys(("init", "configs"), "begin"),
    **dict.fromkeys(MEASURED, "measure.commands"),
    **dict.fromkeys(SERVICES, "service.commands"),
}


class Lazy(click.Group):
    """A group whose commands are imported when they are needed, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS and name not in HIDDEN:
            return None
        module = importlib.import_module(f"launcher.{HOMES.get(name, 'commands')}.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and args[0] not in HIDDEN:
            from launcher.base.suggest import nearest

            hint = nearest(args[0], COMMANDS) or f"; commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sgl-launch")
def cli() -> None:
    """Serve a large model with SGLang over many Slurm nodes, from one YAML file."""


def main() -> None:
    """Entry point: exit status 0 done, 1 the work failed, 2 the input is wrong."""
    try:
        cli.main(prog_name="sgl-launch", standalone_mode=False)
    except InputError as e:
        for problem in e.problems:
            click.echo(f"sgl-launch: {problem}", err=True)
        sys.exit(2)
    except click.ClickException as e:
        e.show()
        sys.exit(2 if isinstance(e, click.UsageError) else 1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("sgl-launch: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as e:
        known = isinstance(e, (WorkError, OSError))
        if not known and os.environ.get("SGL_LAUNCH_DEBUG"):
            raise
        where = "" if known or isinstance(e, ImportError) else ". SGL_LAUNCH_DEBUG=1 shows where"
        click.echo(f"sgl-launch: {reason(e)}{where}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
