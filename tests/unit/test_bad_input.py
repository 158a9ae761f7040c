"""Wrong input: one message a mistake, with its place and what to do; exit status 2; nothing started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.config import Config

from .helpers import BASE, Cli

# name -> (config, messages); every message stands after "sgl-launch: bad.yaml:"
NODES_OF_8 = "do not fill nodes of 8; choose sizes whose product is a multiple of 8, or set slurm.gpus_per_node"
TOP = f"valid here: {', '.join([*Config.model_fields, 'base'])}"
CASES: dict[str, tuple[str | bytes, list[str]]] = {
    # the file
    "empty file": ("", [" the file is empty; it needs name, model and the workers"]),
    "only comments": ("# a\n# b\n", [" the file is empty; it needs name, model and the workers"]),
    "not a mapping": ("- a\n- b\n", ["1:1: must be a mapping (key: value)"]),
    "some text": ("hello\n", ["1:1: must be a mapping (key: value)"]),
    "not YAML": ("name: [a\nb: c\n", ["2:2: not valid YAML: did not find expected ',' or ']'"]),
    "colon in a value": (
        "name: a: b\n",
        ["1:8: not valid YAML: mapping values are not allowed in this context; a value with ': ' in it must be quoted"],
    ),
    "tab": ("name: t\nmodel:\n\tpath: /m\n", ["3:1: not valid YAML: the line is indented with a tab; use spaces"]),
    "not UTF-8": (BASE.encode() + b"python: \xff\n", ["5:9: this byte is not UTF-8 text; save the file as UTF-8"]),
    "control character": (BASE + "python: a\x07\n", ["5:10: a character that YAML does not allow (U+0007); remove it"]),
    "duplicate key": (BASE + "env:\n  A: 1\n  A: 2\n", ["7:3: A: this key is given twice; keep one"]),
    # keys
    "unknown key": (BASE + "enginee: dynamo\n", ["5:1: enginee: unknown key; did you mean 'engine'?"]),
    "unknown key like none": (BASE + "zzz: 1\n", [f"5:1: zzz: unknown key; {TOP}"]),
    "unknown nested key": (
        BASE + "frontend:\n  prot: 8000\n",
        ["6:3: frontend.prot: unknown key; did you mean 'port'?"],
    ),
    "unknown key, not printable": (BASE + '"a\\e[31m": 1\n', [f"5:1: a\\x1b[31m: unknown key; {TOP}"]),
    "number as a key": (BASE + "1: x\n", [f"5:1: 1: unknown key; {TOP}"]),
    "missing keys": ("engine: dynamo\n", ["1:1: name: required key is missing", "1:1: model: required key is missing"]),
    "missing nested key": (BASE.replace("{path: /m}", "{}"), ["2:1: model.path: required key is missing"]),
    # types
    "text for a number": (
        BASE.replace("prefill: {", "prefill: {workers: two, "),
        ["3:11: prefill.workers: must be a whole number, not 'two'"],
    ),
    "fraction for a number": (
        BASE + "slurm: {gpus_per_node: 7.5}\n",
        ["5:9: slurm.gpus_per_node: must be a whole number, not 7.5"],
    ),
    "text for a mapping": (BASE.replace("{path: /m}", "/m"), ["2:1: model: must be a mapping (key: value), not '/m'"]),
    "nothing for a mapping": (BASE + "container:\n", ["5:1: container: must be a mapping (key: value), not null"]),
    "list for a role": (
        BASE.replace("prefill: {args: {tp-size: 8}}", "prefill: [8]"),
        ["3:1: prefill: must be a mapping (key: value), not [8]"],
    ),
    "list for flags": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: [tp-size]}"),
        ["4:10: decode.args: must be a mapping (key: value), not ['tp-size']"],
    ),
    "text for a list": (
        BASE + "container: {runtime: pyxis, image: i, mounts: /a:/b}\n",
        ["5:39: container.mounts: must be a list, not '/a:/b'"],
    ),
    "mapping for a text": (BASE + "python: {a: 1}\n", ["5:1: python: must be a string, not {'a': 1}"]),
    "yes for true": (
        BASE + "warmup: {requests: {enabled: yes}}\n",
        ["5:21: warmup.requests.enabled: must be true or false, not 'yes'"],
    ),
    "items of a list": (
        BASE + "warmup:\n  requests:\n    concurrency:\n    - 0\n    - many\n    - 4\n",
        [
            "8:7: warmup.requests.concurrency[0]: must be 1 or more, not 0",
            "9:7: warmup.requests.concurrency[1]: must be a whole number, not 'many'",
        ],
    ),
    "wrong choice": (
        BASE + "engine: dynmo\n",
        ["5:1: engine: must be 'dynamo', 'sglang', 'mocker' or 'dynamo-serve', not 'dynmo'; did you mean 'dynamo'?"],
    ),
    "choice of another type": (
        BASE + "slurm: {gpu_request: [gres]}\n",
        ["5:9: slurm.gpu_request: must be 'gpus-per-node', 'gres' or 'none', not ['gres']"],
    ),
    "empty text": (BASE.replace("/m", "''"), ["2:9: model.path: must not be an empty text"]),
    "control character in a text": (
        BASE + 'runs: "a\\nb"\n',
        ["5:1: runs: must be one line of text without control characters"],
    ),
    "bad name": (
        BASE.replace("name: t", "name: my model"),
        [
            "1:1: name: not 'my model'; use letters, digits, '.', '_' and '-', at most 63 of them, "
            "a letter or digit first"
        ],
    ),
    # numbers
    "huge number": (BASE + f"frontend: {{port: {'9' * 99}}}\n", ["5:18: this number is too large"]),
    "too many workers": (
        BASE.replace("prefill: {", "prefill: {workers: 1000000, "),
        ["3:11: prefill.workers: must be 1024 or less, not 1000000"],
    ),
    "no worker": (
        BASE.replace("prefill: {", "prefill: {workers: 0, "),
        ["3:11: prefill.workers: must be 1 or more, not 0"],
    ),
    "seconds": (
        BASE + "timeouts: {stop: 60, ready: -1, services: soon}\n",
        [
            "5:33: timeouts.services: must be a number, not 'soon'",
            "5:22: timeouts.ready: must be more than 0, not -1",
            "5:12: timeouts.stop: must be 25 or less, not 60",
        ],
    ),
    # ports
    "port out of range": (
        BASE + "frontend: {port: 70000}\n",
        ["5:12: frontend.port: must be 'auto' or a port from 1 to 65535, not 70000"],
    ),
    "misspelt auto": (
        BASE + "ports: {base: auot}\n",
        ["5:9: ports.base: must be 'auto' or a port from 1 to 65535, not 'auot'; did you mean 'auto'?"],
    ),
    "list of ports": (
        BASE + "ports: {bootstrap: [30001]}\n",
        ["5:9: ports.bootstrap: must be 'auto' or a port from 1 to 65535, not [30001]"],
    ),
    "true as a port": (
        BASE + "frontend: {port: true}\n",
        ["5:12: frontend.port: must be 'auto' or a port from 1 to 65535, not True"],
    ),
    "duplicate port": (
        BASE + "frontend: {port: 30001}\nports: {bootstrap: 30001}\n",
        [
            "6:9: ports.bootstrap: port 30001 is used twice on node 0, by the frontend and prefill-0's bootstrap "
            "server; choose another one or auto"
        ],
    ),
    # roles and their flags
    "no workers": (
        "name: t\nmodel: {path: /m}\n",
        ["1:1: give `prefill` and `decode`, or `aggregated`: there is no worker"],
    ),
    "only prefill": (
        BASE.split("decode")[0],
        ["3:1: prefill: there is no `decode`; disaggregation needs both roles"],
    ),
    "both kinds": (
        BASE + "aggregated: {}\n",
        ["5:1: aggregated: an aggregated deployment has no prefill or decode; keep one of the two kinds"],
    ),
    "tp-size that does not fit": (
        BASE.replace("prefill: {args: {tp-size: 8}}", "prefill:\n  args:\n    tp-size: 12"),
        [f"5:5: prefill.args.tp-size: a prefill worker takes 12 GPUs, which {NODES_OF_8}"],
    ),
    "tp_size that does not fit": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: {x: 1, --tp_size: 12}}"),
        [f"4:23: decode.args.tp-size: a decode worker takes 12 GPUs, which {NODES_OF_8}"],
    ),
    "quoted tp-size": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: {tp-size: '8'}}"),
        ["4:17: decode.args.tp-size: must be a whole number above 0, not '8'; remove the quotes"],
    ),
    "flag in two spellings": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: {page-size: 1, page_size: 2}}"),
        ["4:31: decode.args.page_size: page-size is given twice, in two spellings; keep one"],
    ),
    "flag under two names": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: {tp-size: 8, tp: 4}}"),
        ["4:29: decode.args.tp: another name of tp-size, which is given too; keep one"],
    ),
    "launcher's flags": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode:\n  args:\n    nnodes: 2\n    dist_init_addr: x"),
        [
            "6:5: decode.args.nnodes: can't be set here: follows from tp-size x pp-size and slurm.gpus_per_node",
            "7:5: decode.args.dist_init_addr: can't be set here: sgl-launch sets it to the address of the "
            "worker's rank 0",
        ],
    ),
    "no flag's name": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: {tp size: 8}}"),
        ["4:17: decode.args.tp size: not the name of a flag"],
    ),
    "flag with nested lists": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode: {args: {a: [1, [2]]}}"),
        ["4:17: decode.args.a: a list of values takes texts and numbers alone"],
    ),
    "flag of two lines": (
        BASE.replace("decode: {args: {tp-size: 8}}", "decode:\n  args:\n    a: |\n      b\n      c"),
        ["6:5: decode.args.a: must be one line of text without control characters"],
    ),
    # environment
    "environment": (
        BASE + 'env:\n  A B: 1\n  C: [1]\n  D:\n  E: "a\\nb"\n  RANK: 3\n  UID: 4\n  OK: 5\n',
        [
            "6:3: env.A B: not the name of an environment variable (letters, digits and _)",
            "7:3: env.C: must be a string, a number, true or false, not a list",
            '8:3: env.D: must be a string, a number, true or false, not null (write "" for an empty value)',
            "9:3: env.E: must be one line of text without control characters",
            "10:3: env.RANK: can't be set here: the job script sets it",
            "11:3: env.UID: can't be set here: bash lets nobody set it",
        ],
    ),
    "environment as a list": (BASE + "env: [A=1]\n", ["5:1: env: must be a mapping (key: value), not ['A=1']"]),
    # Slurm
    "no option of sbatch": (
        BASE + "slurm: {partitoin: h100}\n",
        ["5:9: slurm.partitoin: not an option of sbatch; did you mean 'partition'?"],
    ),
    "short option of sbatch": (
        BASE + "slurm: {p: h100}\n",
        ["5:9: slurm.p: not an option of sbatch; see man sbatch for their long names"],
    ),
    "launcher's options of sbatch": (
        BASE + "slurm:\n  nodes: 4\n  job_name: x\n  gpus-per-node: 4\n",
        [
            "6:3: slurm.nodes: can't be set here: follows from the workers and their sizes",
            "7:3: slurm.job_name: can't be set here: set name instead",
            "8:3: slurm.gpus-per-node: can't be set here: set slurm.gpus_per_node instead",
        ],
    ),
    "option of sbatch in two spellings": (
        BASE + "slurm: {cpus-per-task: 1, cpus_per_task: 2}\n",
        ["5:27: slurm.cpus_per_task: cpus-per-task is given twice, in two spellings; keep one"],
    ),
    "values of sbatch's options": (
        BASE + 'slurm: {mem: [1], comment: "a\\nb"}\n',
        [
            "5:9: slurm.mem: must be one value, or true for an option without one",
            "5:19: slurm.comment: must be one line of text",
        ],
    ),
    # containers and engines
    "container without an image": (
        BASE + "container: {runtime: pyxis}\n",
        ["5:1: container.image: pyxis needs an image"],
    ),
    "image without a runtime": (
        BASE + "container: {image: i}\n",
        ["5:13: container.image: say how it is started: container.runtime is pyxis, apptainer or docker"],
    ),
    "unknown runtime": (
        BASE + "container: {runtime: piyxs, image: i}\n",
        [
            "5:13: container.runtime: must be 'none', 'pyxis', 'apptainer' or 'docker', not 'piyxs'; "
            "did you mean 'pyxis'?"
        ],
    ),
    "mocker in a container": (
        BASE + "engine: mocker\ncontainer: {runtime: pyxis, image: i}\n",
        [
            "6:13: container.runtime: the mocker runs without a container; "
            "add --set container.runtime=none"
        ],
    ),
    "all at once": (
        BASE.replace("tp-size: 8", "tp-size: 12") + "slurm: {nodes: 1}\ncontainer: {image: i}\n",
        [
            "5:9: slurm.nodes: can't be set here: follows from the workers and their sizes",
            "6:13: container.image: say how it is started: container.runtime is pyxis, apptainer or docker",
            f"3:18: prefill.args.tp-size: a prefill worker takes 12 GPUs, which {NODES_OF_8}",
            f"4:17: decode.args.tp-size: a decode worker takes 12 GPUs, which {NODES_OF_8}",
        ],
    ),
}  # fmt: skip


@pytest.fixture
def nothing_submitted(programs: Path) -> Path:
    """Stand-ins for Slurm's programs that leave a file when they are called."""
    for name in ("sbatch", "srun", "squeue"):
        (programs / name).write_text(f'#!/bin/sh\ntouch "{programs}/called"\necho 17\n')
        (programs / name).chmod(0o755)
    return programs / "called"


@pytest.mark.parametrize("name", CASES)
def test_wrong_config(name: str, cli: Cli, nothing_submitted: Path) -> None:
    text, messages = CASES[name]
    Path("bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = cli("submit", "bad.yaml")
    assert found.err.splitlines() == [f"sgl-launch: bad.yaml:{m}" for m in messages]
    assert (found.code, found.out) == (2, "")
    assert not nothing_submitted.exists()
    assert [p.name for p in Path().iterdir()] == ["bad.yaml"]


def test_a_right_config_is_submitted(cli: Cli, nothing_submitted: Path) -> None:
    """The stand-ins above would have been called."""
    Path("good.yaml").write_text(BASE)
    assert cli("submit", "good.yaml", "--parsable").code == 0
    assert nothing_submitted.exists()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("prefill.workers", "write it as --set key.key=value"),
        ("=2", "write it as --set key.key=value"),
        ("prefill..workers=2", "write it as --set key.key=value"),
        (" name=2", "write it as --set key.key=value"),
        ("prefil.workers=2", "prefil: unknown key; did you mean 'prefill'?"),
        ("prefill.worker=2", "prefill.worker: unknown key; did you mean 'workers'?"),
        ("prefill.workers=two", "prefill.workers: must be a whole number, not 'two'"),
        ("prefill.workers=", "prefill.workers: must be a whole number, not null"),
        ("prefill=2", "prefill: must be a mapping (key: value), not 2"),
        ("name={a", "name: not valid YAML: did not find expected ',' or '}'"),
        ("prefill.args.nnodes=2", "prefill.args.nnodes: can't be set here: follows from tp-size x pp-size and "
         "slurm.gpus_per_node"),
        ("prefill.args.tp-size=12", f"prefill.args.tp-size: a prefill worker takes 12 GPUs, which {NODES_OF_8}"),
        ("prefill.args={tp-size: 8, tp_size: 4}",
         "prefill.args.tp_size: tp-size is given twice, in two spellings; keep one"),
        ("slurm.tiem=1", "slurm.tiem: not an option of sbatch; did you mean 'time'?"),
        ("container.mounts.0=/a", "container.mounts: must be a list, not {'0': '/a'}"),
    ],
)  # fmt: skip
def test_wrong_set(item: str, message: str, cli: Cli) -> None:
    Path("c.yaml").write_text(BASE)
    found = cli("plan", "c.yaml", "--set", item)
    assert found.err.splitlines() == [f"sgl-launch: --set {item}: {message}"]
    assert (found.code, found.out) == (2, "")


def test_wrong_set_that_is_not_text(cli: Cli) -> None:
    Path("c.yaml").write_text(BASE)
    found = cli("plan", "c.yaml", "--set", "python=a\x1b[1m\udcff")
    assert found.err == (
        "sgl-launch: --set python=a\\x1b[1m\\udcff: python: a character that YAML does not allow (U+001B); remove it\n"
    )
    assert found.code == 2


@pytest.mark.parametrize(
    ("args", "code", "last"),
    [
        (["plan", "nothing.yaml"], 2, "sgl-launch: nothing.yaml: no such file; configs that ship: "),
        (["plan", "configs/dsr2.yaml"], 2, "sgl-launch: configs/dsr2.yaml: no such file; did you mean 'dsr1'"),
        (["plan", "."], 2, "sgl-launch: .: can't be read: Is a directory"),
        (["plan"], 2, "Error: Missing argument 'CONFIG'."),
        (["plna", "c.yaml"], 2, "Error: there is no command 'plna'; did you mean 'plan'?"),
        (["xyz"], 2, "Error: there is no command 'xyz'; commands: init, configs, submit, serve, "),
        (["plan", "c.yaml", "--jsn"], 2, "Error: No such option '--jsn'."),
        (["plan", "c.yaml", "--cluster", "slrum"], 2, "Error: Invalid value for '--cluster': 'slrum' is not one of "),
        (["submit", "c.yaml", "--cluster", "local", "--", "-x"], 2, "Error: options after -- are sbatch's, "),
        (["wait", "--for", "wram"], 2, "Error: Invalid value for '--for': 'wram' is not one of "),
        (["status"], 2, "sgl-launch: there are no runs in runs/; give --runs, or a run folder's path"),
    ],
)
def test_wrong_command_line(args: list[str], code: int, last: str, cli: Cli) -> None:
    Path("c.yaml").write_text(BASE)
    found = cli(*args)
    assert (found.code, found.out) == (code, "")
    assert found.err.splitlines()[-1].startswith(last)
    assert "Traceback" not in found.err


def test_without_slurm(cli: Cli, programs: Path) -> None:
    for name in ("env", "bash", "sh"):
        (programs / name).symlink_to(f"/bin/{name}")
    Path("c.yaml").write_text(BASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs))
        found = cli("submit", "c.yaml")
    assert found.code == 1
    assert found.err.startswith("sgl-launch: there is no Slurm here")
    assert "--cluster local" in found.err


def test_exit_status_of_the_program_itself() -> None:
    Path("bad.yaml").write_text(BASE + "enginee: dynamo\n")
    done = subprocess.run([sys.executable, "-m", "launcher.cli", "plan", "bad.yaml"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "sgl-launch: bad.yaml:5:1: enginee: unknown key; did you mean 'engine'?\n"


def test_usage_of_submit(cli: Cli) -> None:
    assert cli("submit", "--help").out.startswith("Usage: sgl-launch submit [OPTIONS] CONFIG [-- SBATCH OPTIONS]\n")
