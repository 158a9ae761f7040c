"""`plan` for people: the allocation first, equal groups as one, nothing wider than a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.config import load_config
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from launcher.report.plantext import plan_text, span
from launcher.run.planned import Planned

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def text(config: str, *sets: str, commands: bool = False, cluster: str = "slurm") -> list[str]:
    plan = make_plan(*load_config(str(CONFIGS / f"{config}.yaml"), sets, sites=()), cluster)  # type: ignore[arg-type]
    return plan_text(Planned.read(to_json(plan)), commands).splitlines()


@pytest.mark.parametrize("workers", [(47, 1), (1, 47), (40, 8)])
def test_48_groups_fit_one_screen(workers: tuple[int, int]) -> None:
    lines = text("dsr1", f"prefill.workers={workers[0]}", f"decode.workers={workers[1]}")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert sum("groups like" in line for line in lines) == sum(n > 3 for n in workers)


def test_the_allocation_comes_first() -> None:
    lines = text(
        "dsr1", "slurm.partition=gpu", "model.path=/m",
        "container={runtime: pyxis, image: /i.sqsh, mounts: [/a:/a, /tmp:/tmp]}",
        "preflight=true", "spare_nodes=1",
    )  # fmt: skip
    shown = " ".join(" ".join(lines).split())
    for part in (
        "6 nodes of 8 GPUs each and 1 spare one, 48 GPUs in use",
        "slurm partition gpu, time 04:00:00, exclusive, mem 0",
        "image /i.sqsh (pyxis) mounts /a:/a, /tmp:/tmp",
        "stages nodes, preflight, kernels, keys, services, workers, frontend, ready, warm, serve",
        "sweep prompt lengths as the workers' limits allow",
    ):
        assert part in shown
    assert "stages    nodes, kernels, workers, frontend, ready, serve" in text(
        "local", "engine=sglang", "frontend.router_mode=null", "warmup.requests.enabled=false", cluster="local"
    )


def test_groups_of_other_shapes_are_shown_beside_them() -> None:
    lines = text("local", "prefill.workers=5", "prefill.args.tp-size=2", "slurm.gpus_per_node=4", commands=True)
    assert any(line.startswith("prefill-1 to prefill-4: 4 groups like prefill-0, on nodes 0-2") for line in lines)
    assert next(line for line in lines if line.startswith("decode-")).split()[:3] == ["decode-0", "0", "2"]
    assert "prefill-0, rank 0:" in lines


def test_numbers_in_a_row() -> None:
    assert span([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert span([]) == ""
