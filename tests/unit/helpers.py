"""What the unit tests share: a small valid config, and short ways to a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.config import Config, Source, load_config
from launcher.plan.make import make_plan
from launcher.plan.model import Cluster, Plan

REPO = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPO / "configs").glob("*.yaml"))
# made for one machine, without Slurm and containers; every other config is for Slurm
ON_THIS_MACHINE = {
    "dsr1-2gpu",
    "dsr1-2gpu-agg",
    "dsr1-4gpu",
    "dsr1-six-nodes",
    "h200-agg2",
    "h200-one",
    "h200-pd",
    "sglang-cpu-agg2",
    "local",
    "sglang-cpu",
    "sglang-cpu-native",
}

BASE = """\
name: t
model: {path: /m}
prefill: {args: {tp-size: 8}}
decode: {args: {tp-size: 8}}
"""


@dataclass(frozen=True)
class Result:
    """What a run of sgl-launch left."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


def load(text: str, sets: Sequence[str] = ()) -> tuple[Config, Source]:
    """Load a config's text as c.yaml of the current folder, without a site file."""
    Path("c.yaml").write_text(text, encoding="utf-8")
    return load_config("c.yaml", sets, sites=())


def plan_of(text: str, cluster: Cluster = "slurm", sets: Sequence[str] = ()) -> Plan:
    return make_plan(*load(text, sets), cluster)


def cluster_of(config: Path) -> Cluster:
    """Where a shipped config is meant to run."""
    return "local" if config.stem in ON_THIS_MACHINE else "slurm"


def shipped(config: Path) -> Plan:
    return make_plan(*load_config(str(config), sites=()), cluster_of(config))


def roles(prefill: str = "{}", decode: str = "{}", more: str = "") -> str:
    """A config with these two roles, as flow mappings, and further lines."""
    return f"name: t\nmodel: {{path: /m}}\nprefill: {prefill}\ndecode: {decode}\n{more}"
