"""`sgl-launch image`: build the container image, and import it for the site's runtime."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from launcher import __version__
from launcher.base.errors import InputError, WorkError
from launcher.base.files import data_path

PACKAGES = ("launcher", "warmup")
_DATA = ("templates", "configs")


@click.command("image")
@click.option(
    "--runtime",
    type=click.Choice(["pyxis", "apptainer", "docker"]),
    default="pyxis",
    show_default=True,
    help="What the image is for: a squashfs file for pyxis, a SIF file, or Docker's own store.",
)
@click.option("--tag", default=f"sgl-launch:{__version__}", show_default=True, help="Name of the image in Docker.")
@click.option("--output", type=click.Path(path_type=Path), help="File for pyxis or apptainer (default: from the tag).")
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME=VALUE", help="As of docker build (repeatable).")
@click.option("--write", "folder", type=click.Path(path_type=Path), help="Write the recipe and its files there.")
@click.option("--run", "go", is_flag=True, help="Run the commands instead of printing them.")
def command(
    runtime: str, tag: str, output: Path | None, arguments: tuple[str, ...], folder: Path | None, go: bool
) -> None:
    """Print, or run, the commands that make an image with SGLang, DeepEP, Dynamo, NATS and etcd.

    The recipe is container/Dockerfile. Building takes Docker and a network.
    """
    context = folder or Path("sgl-launch-image")
    words = commands(runtime, tag, output, arguments, context)
    if folder or go:
        write_context(context)
    if not go:
        lines = [shlex.join(w) for w in words]
        click.echo("\n".join(lines if folder else [f"sgl-launch image --write {context}", *lines]))
        return
    for step in words:
        click.echo(shlex.join(step), err=True)
        if shutil.which(step[0]) is None:
            raise WorkError(f"there is no {step[0]} here; run this where images are built, or print the commands")
        status = subprocess.run(step, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
        if status:
            raise WorkError(f"{step[0]} ended with exit status {status}: {shlex.join(step)}")


def commands(runtime: str, tag: str, output: Path | None, arguments: tuple[str, ...], context: Path) -> list[list[str]]:
    """What has to be run, in order. Raises InputError for a build argument that is none."""
    for argument in arguments:
        if "=" not in argument:
            raise InputError(f"--build-arg {argument}: write it as NAME=VALUE")
    stem = tag.replace("/", "-").replace(":", "-")
    build = ["docker", "build", "--tag", tag, *(w for a in arguments for w in ("--build-arg", a)), str(context)]
    if runtime == "pyxis":
        return [build, ["enroot", "import", "--output", str(output or f"{stem}.sqsh"), f"dockerd://{tag}"]]
    if runtime == "apptainer":
        return [build, ["apptainer", "build", str(output or f"{stem}.sif"), f"docker-daemon:{tag}"]]
    if output is not None:
        raise InputError("--output is for pyxis and apptainer; Docker keeps its images itself")
    return [build]


def write_context(folder: Path) -> None:
    """The Dockerfile, and sgl-launch as it is installed here."""
    root = Path(__file__).resolve().parents[2]
    code = folder / "sgl-launch"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(data_path("container") / "Dockerfile", folder / "Dockerfile")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "shipped")
    for package in PACKAGES:
        shutil.copytree(root / package, code / package, ignore=ignore, dirs_exist_ok=True)
    for name in _DATA:
        shutil.copytree(data_path(name), code / "launcher" / "shipped" / name, dirs_exist_ok=True)
