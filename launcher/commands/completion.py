"""`sgl-launch completion bash|zsh|fish`: the script that makes the shell complete."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL; it completes commands, options, files, keys,
    jobs and groups.

    For bash: sgl-launch completion bash > ~/.local/share/bash-completion/completions/sgl-launch
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:  # click.Choice has seen to it
        raise click.UsageError(f"no completion for {shell}")
    root = click.get_current_context().find_root().command
    made = found(root, {}, "sgl-launch", "_SGL_LAUNCH_COMPLETE")
    # source() asks bash for its version; the script itself needs none of that
    click.echo(made.source_template % made.source_vars())
