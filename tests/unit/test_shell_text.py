"""Shell text in a config: put in where that is documented, else refused or warned of; never silent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.base.errors import InputError
from launcher.config.paths import expanded
from launcher.render import render

from .helpers import BASE, Cli, load, plan_of


@pytest.fixture(autouse=True)
def me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USER", "me")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("$HOME/x", "/home/me/x"),
        ("${HOME}/x", "/home/me/x"),
        ("/scratch/$USER/runs", "/scratch/me/runs"),
        ("/scratch/${USER}s", "/scratch/mes"),
        ("/a/b~c", "/a/b~c"),
        ("/a b/c$", "/a b/c$"),
        ("org/model", "org/model"),
    ],
)
def test_paths(text: str, path: str) -> None:
    assert expanded(text) == path


@pytest.mark.parametrize("text", ["$SCRATCH/x", "${SCRATCH}/x", "$(pwd)/x", "`pwd`", "~you/x", "${X:-y}", "$USERS/x"])
def test_other_shell_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not expanded here"):
        expanded(text)


KEYS = {
    "model.path": "model: {path: '%s'}",
    "python": "python: '%s'",
    "runs": "runs: '%s'",
    "container.image": "container: {runtime: docker, image: '%s', mounts: ['/m:/m']}",
    "container.mounts": "container: {runtime: docker, image: i, mounts: ['/m:/m', '%s:/x:ro']}",
    "services.keys": "services: {where: external, nats: 'nats://h:1', etcd: 'http://h:2', keys: '%s'}",
    "warmup.kernels.cache_dir": "warmup: {kernels: {cache_dir: '%s'}}",
    "warmup.kernels.local_dir": "warmup: {kernels: {cache_dir: /c, local_dir: '%s'}}",
    "warmup.kernels.manifest": "warmup: {kernels: {cache_dir: /c, manifest: '%s'}}",
    "dynamo_serve.folder": "dynamo_serve: {folder: '%s'}",
}


@pytest.mark.parametrize("key", KEYS)
def test_every_path_of_a_config(key: str, cli: Cli) -> None:
    text = BASE.replace("model: {path: /m}\n", "" if key == "model.path" else "model: {path: /m}\n")
    config, _ = load(f"{text}{KEYS[key] % '~/x/$USER'}\n")
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    assert value == (["/m:/m", "/home/me/x/me:/x:ro"] if isinstance(value, list) else "/home/me/x/me")
    with pytest.raises(InputError, match=rf"c\.yaml:\d+:\d+: {key}.*'\$SCRATCH' is not expanded here"):
        load(f"{text}{KEYS[key] % '$SCRATCH/x'}\n")
    checked = cli("check", "c.yaml", "--no-slurm")
    assert checked.code == 2
    assert "'$SCRATCH' is not expanded here" in checked.out


def test_a_site_files_runs_gives_each_user_a_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Path("runs-of-me")
    Path("site.yaml").write_text(f"runs: {Path.cwd()}/runs-of-$USER\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", str(Path("site.yaml").absolute()))
    Path("c.yaml").write_text(BASE)
    assert f"RUNS={runs.absolute()}" in cli("render", "c.yaml").out
    runs.mkdir()
    (runs / "mine-7").mkdir()
    (runs / "mine-7" / "events.jsonl").write_text('{"time": 1, "stage": "nodes", "state": "started"}\n')
    assert "mine" in cli("list").out
    assert "'$SCRATCH' is not expanded here" in cli("list", "--runs", "$SCRATCH").err


# --- the environment ----------------------------------------------------------------------------------------------


def exported(line: str, name: str, before: str | None) -> str:
    script = render(plan_of(f"{BASE}env: {{{name}: {line!r}}}\n"))
    export = next(text.strip() for text in script.splitlines() if text.strip().startswith(f"export {name}="))
    env = {} if before is None else {name: before}
    words = ["/bin/bash", "-uc", f'{export}; printf %s "${name}"']
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("value", "before", "after"),
    [
        ("/opt/bin:$LIBS", "/lib", "/opt/bin:/lib"),
        ("/opt/bin:$LIBS", None, "/opt/bin"),  # an empty part would be the current folder
        ("${LIBS}:/opt/bin", "/lib", "/lib:/opt/bin"),
        ("${LIBS}:/opt/bin", None, "/opt/bin"),
        ("/a:$LIBS:/b", "/lib", "/a:/lib:/b"),
        ("/a:$LIBS:/b", None, "/a:/b"),
        ("/a b:$LIBS", "/l b", "/a b:/l b"),
        ("$LIBS", "x", "x"),
        ("x$LIBS", None, "x"),
        ("$LIBS_MORE:$OTHER:$(id)", "x", "$LIBS_MORE:$OTHER:$(id)"),
    ],
)
def test_a_variables_own_former_value_is_put_in(value: str, before: str | None, after: str) -> None:
    assert exported(value, "LIBS", before) == after


@pytest.mark.parametrize(
    "value", ["0x10", "0o17", "1.10", "007", "1e3", "+1", "-0", "1_000", "12:30:00", "2026-11-26", "yes"]
)
def test_numbers_reach_the_environment_as_they_were_written(value: str) -> None:
    script = render(plan_of(f"{BASE}env: {{MASK: {value}}}\n"))
    assert f"export MASK={value}\n" in script


def test_numbers_are_numbers_elsewhere() -> None:
    config, _ = load(BASE.replace("tp-size: 8", "tp-size: 0x8"))
    assert config.roles["prefill"].args == {"tp-size": 8}
    assert type(config.roles["prefill"].args["tp-size"]) is int


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("env: {A: '$NVSHMEM_DIR/lib'}", "env.A"),
        ("env: {A: '$B:$A'}", "env.A"),
        ("env: {A: '~/x'}", "env.A"),
        ("env: {A: '$(nproc)'}", "env.A"),
        ("frontend: {env: {A: '`id`'}}", "frontend.env.A"),
        ("frontend: {args: {namespace: '$HOME/x'}}", "frontend.args.namespace"),
        ("aggregated: {args: {chat-template: '~/t.jinja'}}", "aggregated.args.chat-template"),
        ("slurm: {chdir: '$HOME/x'}", "slurm.chdir"),
        ("slurm: {reservation: '$USER', comment: '$USER'}", "slurm.reservation"),
    ],
)
def test_what_stays_as_it_is_is_said(text: str, key: str, cli: Cli) -> None:
    base = "name: t\nmodel: {path: /m}\n" if text.startswith("aggregated") else BASE
    Path("c.yaml").write_text(f"{base}{text}\n")
    assert f"warning: {key}: " in cli("check", "c.yaml", "--no-slurm").out
    assert "is not expanded here" in cli("check", "c.yaml", "--no-slurm").out


def test_a_path_that_is_put_before_is_nothing_to_warn_of(cli: Cli) -> None:
    Path("c.yaml").write_text(f"{BASE}env: {{PATH: '/opt/bin:$PATH', COST: '5$'}}\n")
    assert "is not expanded" not in cli("check", "c.yaml", "--no-slurm").out
