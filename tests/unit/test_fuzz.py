"""Wrong configs by the hundred: sgl-launch says what is wrong or makes a script that bash can read.

SGL_LAUNCH_FUZZ=5000 tries that many, new ones each time.
"""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from launcher.base.errors import InputError
from launcher.config import load_config
from launcher.plan.make import make_plan
from launcher.plan.model import Cluster
from launcher.plan.show import to_json
from launcher.render import render

from .helpers import CONFIGS, cluster_of

WANTED = int(os.environ.get("SGL_LAUNCH_FUZZ", "0"))
FUZZ = settings(
    max_examples=WANTED or 100,
    deadline=None,
    derandomize=not WANTED,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TEXTS = [path.read_text(encoding="utf-8") for path in CONFIGS]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, 1, -1, 7, 8, 12, 65535, 65536, 2**31, 2**63, 10**12, 0.5, -0.0, 1e-9, 1e18, "", " ", "auto", "none", "./x",
         "mocker", "pyxis", "dynamo", "a b", "$(id)", "'", '"', "\\", "\n", "\x07", "\x7f", "é", "\u2028", "--x",
         [], {}, [None], [[1]], [{}], {"a": {"b": []}}, {"": ""}, {"--": 1}, "END_OF_PLAN", "x" * 300, "{{ 1 }}"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
KEYS = st.sampled_from(
    ["name", "engine", "model", "path", "container", "runtime", "image", "mounts", "options", "slurm", "gpus_per_node",
     "gpu_request", "time", "mem", "nodes", "network", "interface", "ports", "base", "bootstrap", "prefill", "decode",
     "aggregated", "workers", "args", "env", "tp-size", "tp", "pp-size", "dp-size", "attn-dp-size", "mocker", "port",
     "frontend", "router_mode", "timeouts", "stop", "ready", "warmup", "requests", "concurrency", "runs", "<<", "x",
     "", "nnodes", "RANK", "security", "enable-dp-attention"]
) | st.text(max_size=6)  # fmt: skip


def paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key's path."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else []
    return [found for key, value in items for found in [(*path, key), *paths(value, (*path, key))]]


@st.composite
def changed_configs(draw: st.DrawFn) -> str:
    """A shipped config with one to four of its keys dropped, replaced, moved or added to."""
    data = yaml.safe_load(draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 4))):
        places = paths(data)
        if not places:
            break
        path = draw(st.sampled_from(places))
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        what = draw(st.sampled_from(["drop", "replace", "move", "add"]))
        if what == "drop":
            del parent[path[-1]]
        elif what == "replace" or not isinstance(parent, dict):
            parent[path[-1]] = copy.deepcopy(draw(ODD))
        elif what == "move":
            parent[draw(KEYS)] = copy.deepcopy(parent[draw(st.sampled_from(list(parent)))])
        else:
            parent[draw(KEYS)] = copy.deepcopy(draw(ODD))
    return str(yaml.safe_dump(data, allow_unicode=draw(st.booleans()), sort_keys=False))


@st.composite
def changed_texts(draw: st.DrawFn) -> str:
    """A shipped config with some of its lines dropped, doubled, shifted or broken."""
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["drop", "double", "indent", "outdent", "insert", "cut", "swap"]))
        if what == "drop":
            lines[at : at + 1] = [] if len(lines) > 1 else [""]
        elif what == "double":
            lines.insert(at, lines[at])
        elif what == "indent":
            lines[at] = draw(st.sampled_from(["  ", " ", "\t"])) + lines[at]
        elif what == "outdent":
            lines[at] = lines[at].removeprefix("  ")
        elif what == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        elif what == "swap":
            lines[at], lines[0] = lines[0], lines[at]
        else:
            middle = draw(st.integers(0, len(lines[at])))
            extra = draw(
                st.text(max_size=3) | st.sampled_from([": ", "- ", "[", "{", "&a ", "*a", "<<: ", "!x ", "|\n", "'"])
            )
            lines[at] = lines[at][:middle] + extra + lines[at][middle:]
    return "\n".join(lines) + "\n"


def check(text: str, cluster: Cluster) -> bool:
    """True if it made a script; whatever else than InputError is raised fails the test."""
    Path("fuzz.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        plan = make_plan(*load_config("fuzz.yaml", sites=()), cluster)
    except InputError as e:
        for problem in e.problems:
            assert str(problem).isprintable(), "a message is one printable line"
            assert problem.place is not None
            assert problem.message
        return False
    to_json(plan)
    script = render(plan)
    parsed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=30)
    assert (parsed.returncode, parsed.stderr) == (0, "")
    return True


def _bases() -> None:
    for path in CONFIGS:
        Path(path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")


@FUZZ
@given(text=changed_configs(), cluster=st.sampled_from(["slurm", "local"]))
def test_changed_configs(text: str, cluster: Cluster) -> None:
    _bases()
    check(text, cluster)


@FUZZ
@given(text=changed_texts(), cluster=st.sampled_from(["slurm", "local"]))
def test_changed_texts(text: str, cluster: Cluster) -> None:
    _bases()
    check(text, cluster)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_an_unchanged_config_makes_a_script(path: Path) -> None:
    """So that the tests above do not pass because everything is refused."""
    _bases()
    assert check(path.read_text(encoding="utf-8"), cluster_of(path))
