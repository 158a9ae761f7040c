"""`sgl-launch endpoint [JOB]`: where clients go, and the key that they send."""

from __future__ import annotations

import json
import shlex

import click

from launcher.base.errors import WorkError
from launcher.commands.options import find_its_run, job_argument, json_option
from launcher.run.folder import RunFolder


@click.command("endpoint")
@job_argument
@click.option("--env", "as_env", is_flag=True, help="Print export lines that every OpenAI client reads.")
@click.option("--ca", "as_ca", is_flag=True, help="Print the path of the certificate that vouches for the endpoint.")
@click.option("--admin", is_flag=True, help="With --env or --json: the admin key, which opens every path.")
@json_option
@find_its_run
def command(run: RunFolder, as_env: bool, as_ca: bool, admin: bool, as_json: bool) -> None:
    """Print the address of JOB and its model. `eval "$(sgl-launch endpoint JOB --env)"` sets up a client."""
    endpoint = run.endpoint()
    if endpoint is None:
        raise WorkError(f"{run.path.name} is not ready; see `sgl-launch status {run.job_id}`")
    key = run.keys().admin if admin else run.keys().endpoint
    if key is None and (admin or run.plan().settings.endpoint == "key") and (as_env or as_json):
        raise WorkError(f"the key in {run.path}/secrets cannot be read: it is its owner's alone")
    if as_ca:
        if endpoint.ca is None:
            raise WorkError(f"{run.path.name} has no authority of its own: its security.tls is not `job`")
        click.echo(endpoint.ca)
    elif as_json:
        found = {"url": endpoint.base, "model": endpoint.model, "key": key, "ca": endpoint.ca}
        click.echo(json.dumps(found, indent=2))
    elif as_env:
        lines = {"OPENAI_BASE_URL": endpoint.base, "OPENAI_API_KEY": key or "none-needed"}
        if endpoint.ca:
            lines["SSL_CERT_FILE"] = endpoint.ca
        for name, value in lines.items():
            click.echo(f"export {name}={shlex.quote(value)}")
    else:
        click.echo(f"{endpoint.base}  model {endpoint.model}")
