"""Every command in the pages for users: run against one small deployment on this machine, or at least
understood. A command that nobody classified here fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from local.run import Launcher

from launcher.cli import cli

ROOT = Path(__file__).resolve().parents[2]
_DOCS = "quickstart first-run image-and-weights site troubleshooting operations measure".split()
PAGES = ("README.md", *(f"docs/{p}.md" for p in _DOCS))
PROGRAMS = "sgl-launch hf df make pip python3 pytest export tail cat sbatch scancel kill curl ssh".split()
_COMMAND = rf"(?:{'|'.join(PROGRAMS)}) [^`]+"


@dataclass(frozen=True)
class As:
    """Run `line` (bash) in place of what the page says; it must exit with `status`."""

    line: str
    status: int = 0


@dataclass(frozen=True)
class Parsed:
    """Not run, and why. sgl-launch's own are parsed: command, options and their values exist."""

    why: str


START = "submit"  # the deployment that all share
END = "cancel"  # and its end
SLURM = Parsed("needs a Slurm cluster; tests/slurm submits the same")
INSTALLS = Parsed("installs from the network; tests/wheel installs the package")
LONG = Parsed("takes minutes")
JOB = As("runs on this machine's job instead")  # placeholder line: JOB, names and CONFIG are replaced

# what a page's placeholder is here; a name of a deployment is this one's
HERE = {"JOB": "demo", "CONFIG": "configs/local.yaml", "my-dsr1": "demo", "dsr1-rehearsal": "demo"}
GROUPS = {"GROUP:1": "decode-0:0", "GROUP:RANK": "decode-0:0"}

OTHERS = Parsed("a user's own files; tests/convert converts such")

COMMANDS: dict[str, As | Parsed | str] = {
    "sgl-launch convert recipe.yaml -o config.yaml": OTHERS,
    "sgl-launch convert recipe.yaml --all -o configs/acme": OTHERS,
    "sgl-launch convert recipe.yaml --srtslurm srtslurm.yaml": OTHERS,
    "sgl-launch convert srtslurm.yaml -o site.yaml": OTHERS,
    "sgl-launch convert prefill.yaml decode.yaml": OTHERS,
    "sgl-launch convert -- python -m sglang.launch_server --model-path /m --tp 16 --nnodes 2 --node-rank 0": OTHERS,
    # a deployment, as the quick start has it; without the warm-up, whose verdict a busy machine may change
    "sgl-launch submit configs/local.yaml --cluster local --wait warm": START,
    "sgl-launch cancel demo": END,
    "sgl-launch cancel my-dsr1": END,
    "sgl-launch cancel dsr1-rehearsal": END,
    "sgl-launch cancel JOB": END,
    ".venv/bin/sgl-launch cancel demo": END,
    'eval "$(.venv/bin/sgl-launch endpoint demo --env)"': As('eval "$(sgl-launch endpoint demo --env)" && env'),
    'curl -H "Authorization: Bearer $OPENAI_API_KEY" $OPENAI_BASE_URL/models': As(
        'eval "$(sgl-launch endpoint demo --env)"; '
        'curl --fail -H "Authorization: Bearer $OPENAI_API_KEY" $OPENAI_BASE_URL/models'
    ),
    # as they are, or of this job
    "sgl-launch check configs/local.yaml": JOB,
    "sgl-launch check my-dsr1.yaml": JOB,
    "sgl-launch check CONFIG": JOB,
    "sgl-launch init": As("sgl-launch init -o -"),
    "sgl-launch init -o site.yaml": As("sgl-launch init -o new-site.yaml"),
    "sgl-launch init dsr1": As("sgl-launch init dsr1 -o new.yaml"),
    "sgl-launch init dsr1 --rehearse": JOB,
    "sgl-launch configs": JOB,
    "sgl-launch check dsr1-rehearsal.yaml": As("sgl-launch init dsr1 --rehearse -o r.yaml; sgl-launch check r.yaml"),
    "sgl-launch submit dsr1-rehearsal.yaml --wait warm": SLURM,
    "sgl-launch submit my-dsr1.yaml --wait warm": SLURM,
    "sgl-launch chat dsr1-rehearsal": JOB,
    "sgl-launch status dsr1-rehearsal": JOB,
    "sgl-launch image --runtime pyxis --output /shared/images/sglang.sqsh": JOB,
    "sgl-launch image --runtime apptainer --output /shared/images/sglang.sif": JOB,
    "hf download deepseek-ai/DeepSeek-R1 --local-dir /shared/models/DeepSeek-R1": Parsed("690 GB from a hub"),
    "df -h /shared": As("df -h ."),
    "sgl-launch plan configs/local.yaml --cluster local": JOB,
    "sgl-launch plan my-dsr1.yaml": JOB,
    "sgl-launch render my-dsr1.yaml": JOB,
    "sgl-launch render CONFIG > job.sh": JOB,
    "sgl-launch render configs/dsr1.yaml > job.sh; sbatch job.sh": As("sgl-launch render configs/dsr1.yaml > job.sh"),
    "sgl-launch preflight my-dsr1.yaml": As("sgl-launch preflight configs/local.yaml --cluster local"),
    "sgl-launch preflight CONFIG": As("sgl-launch preflight configs/local.yaml --cluster local"),
    "sgl-launch status demo": JOB,
    "sgl-launch status my-dsr1": JOB,
    "sgl-launch status JOB": JOB,
    'sgl-launch chat demo --message "What is a worker group?"': JOB,
    "sgl-launch chat my-dsr1": JOB,
    "sgl-launch list": JOB,
    "sgl-launch logs demo decode-0": JOB,
    "sgl-launch logs JOB etcd": JOB,
    "sgl-launch logs JOB GROUP:1": JOB,
    "sgl-launch logs demo --why": JOB,
    "sgl-launch logs my-dsr1 --why": JOB,
    "sgl-launch logs JOB --why": JOB,
    "sgl-launch logs my-dsr1 -f": As("timeout 2 sgl-launch logs demo -f", 124),
    "sgl-launch report demo": JOB,
    "sgl-launch report my-dsr1": JOB,
    "sgl-launch report JOB": JOB,
    "sgl-launch attach JOB GROUP:RANK --exec": As("sgl-launch attach demo decode-0:0 --exec </dev/null"),
    "sgl-launch wait my-dsr1 --for warm": As("sgl-launch wait demo --for ready"),
    "sgl-launch warmup --kernels --plan configs/dsr1.yaml": JOB,
    "tail -n 20 runs/NAME-JOB.out": As("tail -n 20 runs/demo-L1.out"),
    "cat runs/NAME-JOB/events.jsonl": As("cat runs/demo-L1/events.jsonl"),
    "export PATH=$PWD/.venv/bin:$PATH": JOB,
    "export PATH=/shared/sgl-launch/bin:$PATH": JOB,
    "export HF_TOKEN": JOB,
    "make setup": LONG,
    "make demo": LONG,
    "make test": LONG,
    "make lint": LONG,
    "make lock": LONG,
    "make test-latest": LONG,
    "make sglang-cpu": LONG,
    "make dynamo-serve": LONG,
    "pytest tests/faults": LONG,
    "sgl-launch top demo": As("sgl-launch top demo --once"),
    "sgl-launch metrics demo > prometheus.yml && prometheus --config.file=prometheus.yml": As(
        "sgl-launch metrics demo"
    ),
    "sgl-launch bench demo --concurrency 1,8,32 --prompt-tokens 1024 --output-tokens 128 --slo ttft=0.5": Parsed(
        "needs aiperf (1 GB)"
    ),
    "sgl-launch sweep grid.yaml --cluster local": Parsed("takes minutes, and needs aiperf"),
    "sgl-launch compare runs/demo-17/bench/1 runs/demo-18/bench/1": Parsed("needs two benches"),
    "sgl-launch profile demo --group decode-0 --steps 10 --load": Parsed("the mocker has no profiler"),
    "sgl-launch profile demo --group decode-0 --steps 10 --nsys": Parsed("the mocker has no profiler"),
    "sgl-launch eval demo": Parsed("the mocker's answers are random; tests/measure compares some"),
    "sgl-launch eval demo --data gsm8k.jsonl --grade-as gsm8k --threshold 0.9": Parsed("needs sgl-eval and its data"),
    "sgl-launch metrics demo --dashboard > dashboard.json": As("sgl-launch metrics demo --dashboard"),
    "sgl-launch report": JOB,
    "df -h /dev/shm": JOB,
    "sgl-launch eval demo --against other": Parsed("the mocker's answers are random"),
    # not here
    "sgl-launch submit my-dsr1.yaml": SLURM,
    "sgl-launch check CONFIG --sglang VERSION": As("sgl-launch check configs/local.yaml --sglang 0.5.23"),
    "sbatch --test-only": SLURM,
    "scancel --signal=USR2 --batch JOB": SLURM,
    "kill -USR2 PID": Parsed("would end the deployment; tests/local drains one"),
    "sgl-launch wait": JOB,
    "sgl-launch status": JOB,
    "sgl-launch image": Parsed("named without its options"),
    "sgl-launch preflight": Parsed("named without its CONFIG"),
    "sgl-launch check": Parsed("named without its CONFIG"),
    "python3 -m venv .venv && .venv/bin/pip install '.[local]'": INSTALLS,
    "python3 -m venv /shared/sgl-launch && /shared/sgl-launch/bin/pip install '.[local]'": INSTALLS,
    "pip install sgl-launch": INSTALLS,
    "pip install 'sgl-launch[bench]'": INSTALLS,
    "pip install 'sgl-launch[eval]'": INSTALLS,
}


def commands(text: str) -> list[str]:
    """Of a page: indented or fenced lines that begin with a program, without their remarks, and such
    code within a line."""
    text = re.sub(r" *\\\n *", " ", text)
    found = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            command = re.split(r" {3,}| +# ", line.strip())[0]
            if command.startswith(tuple(f"{p} " for p in PROGRAMS)) or "sgl-launch " in command:
                found.append(command)
        else:
            found += re.findall(rf"`((?:\.venv/bin/)?{_COMMAND})`", line)
    return found


FOUND = {command: page for page in PAGES for command in commands((ROOT / page).read_text())}


def test_every_command_is_classified() -> None:
    missing = [f"{page}: {command}" for command, page in FOUND.items() if command not in COMMANDS]
    assert missing == [], "say in COMMANDS how these are tested"
    assert [c for c in COMMANDS if c not in FOUND] == [], "no page has these any more"


def test_commands_are_found() -> None:
    page = "Say `make x y`, `a: b`:\n\n    sgl-launch plan a   # who\n"
    page += "    sgl-launch submit a \\\n        --set b\n    key: v\n"
    assert commands(page) == ["make x y", "sgl-launch plan a", "sgl-launch submit a --set b"]
    assert commands("```\npip install x\n```\n") == ["pip install x"]


@dataclass(frozen=True)
class Shell:
    """bash in a folder with the repository's configs, where the deployment is."""

    launcher: Launcher

    def __call__(self, line: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        env = {**self.launcher.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_TOKEN": "x"}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.launcher.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """With the quick start's deployment ready in it; the last test ends it."""
    launcher = Launcher(tmp_path_factory.mktemp("docs"))
    shutil.copytree(ROOT / "configs", launcher.folder / "configs")
    (mine,) = yaml_blocks((ROOT / "docs" / "first-run.md").read_text())
    (launcher.folder / "first-site.yaml").write_text(documented_site())
    (launcher.folder / "my-dsr1.yaml").write_text(mine)
    made = Shell(launcher)
    (start,) = [c for c, how in COMMANDS.items() if how == START]
    quick = start.replace("--wait warm", "--wait ready --set warmup.requests.enabled=false")
    try:
        done = made(f"{quick} --set prefill.workers=1 --set decode.workers=1")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "demo: job L1, " in done.stdout
        yield made
    finally:
        left = [str(process) for process in launcher.kill_all()]
    if left:
        pytest.fail("\n  ".join(["left after `cancel`:", *left]), pytrace=False)


def documented_site() -> str:
    """The site file of docs/site.md, with network.interface as this machine may have it."""
    return next(b for b in yaml_blocks((ROOT / "docs" / "site.md").read_text()) if b.startswith("# /etc/sgl-launch"))


def yaml_blocks(text: str) -> list[str]:
    """The indented blocks of a page that are YAML."""
    blocks = re.findall(r"(?m)(?:^    .*\n)+", text)
    return [textwrap.dedent(b) for b in blocks if re.match(r"    (#|\w+: )", b)]


def test_the_files_of_the_first_run(shell: Shell) -> None:
    done = shell("SGL_LAUNCH_SITE=first-site.yaml sgl-launch check my-dsr1.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my-dsr1.yaml: no errors, no warnings" in done.stderr


@pytest.mark.parametrize("config", sorted(p.stem for p in (ROOT / "configs").glob("*.yaml")))
def test_every_shipped_config_plans_under_the_documented_site(config: str, shell: Shell) -> None:
    done = shell(f"SGL_LAUNCH_SITE=first-site.yaml sgl-launch check {config} --no-slurm --json || true")
    found = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "error"]
    assert [f for f in found if "a placeholder, to be set" not in f["message"]] == []
    planned = shell(f"SGL_LAUNCH_SITE=first-site.yaml sgl-launch plan {config} --json")
    plan = json.loads(planned.stdout)
    image = plan["config"]["container"].get("image") if plan["config"]["container"]["runtime"] != "none" else None
    assert image in (None, "/shared/images/sglang.sqsh", "sgl-launch:latest") or image.startswith("<")


def here(command: str) -> str:
    """What is run for a page's command."""
    how = COMMANDS[command]
    if isinstance(how, As) and how is not JOB:
        return how.line
    for word, instead in {**GROUPS, **HERE}.items():
        command = re.sub(rf"(?<= ){re.escape(word)}(?= |$)", instead, command)
    return command


RUN = sorted({(here(c), how.status) for c, how in COMMANDS.items() if isinstance(how, As)})


@pytest.mark.parametrize(("line", "status"), RUN, ids=[line for line, _ in RUN])
def test_it_runs(shell: Shell, line: str, status: int) -> None:
    done = shell(line)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [c for c, how in COMMANDS.items() if isinstance(how, Parsed)])
def test_it_is_understood(command: str) -> None:
    words = shlex.split(command.partition(";")[0])
    if words[0] == "make":
        done = subprocess.run([*words[:1], "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif words[0] == "pytest":
        assert (ROOT / words[1]).exists()
    elif words[0] == "sgl-launch" and words[1] != "job":
        context = click.Context(cli)
        found = cli.get_command(context, words[1])
        assert found is not None, words[1]
        if len(words) > 2:
            files = {"my-dsr1.yaml": "configs/dsr1.yaml", "grid.yaml": "configs/local.yaml", "gsm8k.jsonl": "README.md"}
            found.make_context(words[1], [files.get(w, w) for w in words[2:]], parent=context)


def test_it_ends(shell: Shell) -> None:
    """`cancel`, the last of all; and then nothing of it is there."""
    done = shell("sgl-launch cancel demo")
    assert done.returncode == 0, done.stdout + done.stderr
    shell.launcher.wait_gone(5)
