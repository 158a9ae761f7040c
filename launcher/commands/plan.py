"""`sgl-launch plan CONFIG`: who runs where, as a table or as JSON."""

from __future__ import annotations

import json

import click

from launcher.commands.options import config_argument, json_option, offline_checks, planned
from launcher.kernels import show as kernels
from launcher.plan.model import Cluster
from launcher.plan.show import to_json
from launcher.run.planned import Planned


@click.command("plan")
@config_argument
@click.option("--commands", is_flag=True, help="With the command and the environment of each role's first worker.")
@json_option
def command(config: str, sets: tuple[str, ...], cluster: Cluster, commands: bool, as_json: bool) -> None:
    """Show what CONFIG asks for, and who would run where: groups, ranks, nodes, GPUs and ports.

    Equal groups are shown as one. A port `P+n` is n above the base of a block that the job finds when it starts.
    `<nodeN>` is the address of the allocation's node N.
    """
    made = planned(config, sets, cluster)
    plan = to_json(made)
    if as_json:
        click.echo(json.dumps({**plan, "kernels": kernels.facts(made.config)}, indent=2))
    else:
        from launcher.report.plantext import plan_text

        click.echo("\n".join([plan_text(Planned.read(plan), commands), "", *kernels.lines(made.config)]))
    offline_checks(config, sets, cluster, refuse=False)
