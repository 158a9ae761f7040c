"""GPUs and nodes of a worker, from SGLang's parallelism flags."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError
from launcher.plan.topology import Topology, topology

from .helpers import load, roles


def shape(args: str, gpus_per_node: int = 8, workers: int = 1) -> Topology:
    config, source = load(roles(f"{{workers: {workers}, args: {{{args}}}}}"))
    assert config.prefill is not None
    return topology("prefill", config.prefill, gpus_per_node, source)


@pytest.mark.parametrize(
    ("args", "per_node", "nodes", "gpus"),
    [
        ("", 8, 1, 1),
        ("tp-size: 1", 8, 1, 1),
        ("tp-size: 4", 8, 1, 4),
        ("tp-size: 3", 8, 1, 3),
        ("tp-size: 8", 8, 1, 8),
        ("tp-size: 16", 8, 2, 8),
        ("tp-size: 72", 8, 9, 8),
        ("tp-size: 16", 4, 4, 4),
        ("tp-size: 8, pp-size: 2", 8, 2, 8),
        ("tp-size: 2, pp-size: 2", 8, 1, 4),
        ("tp-size: 2, dp-size: 4", 8, 1, 8),  # replicas: each has GPUs of its own
        ("tp-size: 2, pp-size: 2, dp-size: 2", 8, 1, 8),
        ("tp-size: 8, dp-size: 8, enable-dp-attention: true", 8, 1, 8),  # attention shares them
        ("tp-size: 32, dp-size: 32, enable-dp-attention: true", 8, 4, 8),
        ("tp-size: 16, dp-size: 4, enable-dp-attention: true", 8, 2, 8),
        ("tp-size: 16, pp-size: 2, dp-size: 4, enable-dp-attention: true", 8, 4, 8),
        ("tp-size: 2, dp-size: 2, enable-dp-attention: false", 8, 1, 4),
        ("tp-size: 16, attn-dp-size: 16", 8, 2, 8),  # SGLang 0.5.22 and later
        ("tp-size: 8, attn-dp-size: 2", 8, 1, 8),
        ("tp: 16", 8, 2, 8),
        ("tensor-parallel-size: 16", 8, 2, 8),
        ("tp_size: 8, pipeline_parallel_size: 2", 8, 2, 8),
        ("tp: 2, data-parallel-size: 4", 8, 1, 8),
        ("tp-size: 8, ep-size: 8", 8, 1, 8),
    ],
)
def test_shapes(args: str, per_node: int, nodes: int, gpus: int) -> None:
    assert shape(args, per_node) == Topology(1, nodes, gpus)


def test_workers() -> None:
    assert shape("tp-size: 4", workers=3) == Topology(3, 1, 4)


@pytest.mark.parametrize(
    ("args", "key", "message"),
    [
        (
            "tp-size: 12",
            "tp-size",
            "a prefill worker takes 12 GPUs, which do not fill nodes of 8; choose sizes whose product "
            "is a multiple of 8, or set slurm.gpus_per_node",
        ),
        (
            "tp: 6, pp-size: 2",
            "tp",
            "a prefill worker takes 12 GPUs, which do not fill nodes of 8; choose sizes whose product "
            "is a multiple of 8, or set slurm.gpus_per_node",
        ),
        ("tp-size: 0", "tp-size", "must be a whole number above 0, not 0"),
        ("pp-size: -1", "pp-size", "must be a whole number above 0, not -1"),
        ("tp-size: true", "tp-size", "must be a whole number above 0, not True"),
        ("tp-size: 8.0", "tp-size", "must be a whole number above 0, not 8.0"),
        ("tp-size: '8'", "tp-size", "must be a whole number above 0, not '8'; remove the quotes"),
        ("tp-size: [8]", "tp-size", "must be a whole number above 0, not [8]"),
        ("tp-size: ", "tp-size", "must be a whole number above 0, not None"),
        (
            "tp-size: 8, dp-size: 3, enable-dp-attention: true",
            "dp-size",
            "with enable-dp-attention, dp-size (3) must divide tp-size (8)",
        ),
        (
            "tp-size: 8, dp-size: 16, enable-dp-attention: true",
            "dp-size",
            "with enable-dp-attention, dp-size (16) must divide tp-size (8)",
        ),
        ("tp-size: 8, attn-dp-size: 3", "attn-dp-size", "attn-dp-size (3) must divide tp-size (8)"),
        (
            "tp-size: 8, dp-size: 2",
            "dp-size",
            "dp-size without enable-dp-attention makes replicas on one node only; raise `workers` instead",
        ),
        ("tp-size: 8, tp: 4", "tp", "another name of tp-size, which is given too; keep one"),
        ("dp: 1, data-parallel-size: 1", "data-parallel-size", "another name of dp, which is given too; keep one"),
        ("tp-size: 80000", "tp-size", "takes 10000 nodes of 8 GPUs; at most 4096 can be planned"),
    ],
)
def test_mistakes(args: str, key: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        shape(args)
    assert [(p.key, p.message) for p in error.value.problems] == [(f"prefill.args.{key}", message)]
    place = error.value.problems[0].place
    assert place is not None
    assert place.line == 3


def test_several_mistakes_at_once() -> None:
    with pytest.raises(InputError) as error:
        shape("tp-size: x, pp-size: 0")
    assert [p.key for p in error.value.problems] == ["prefill.args.tp-size", "prefill.args.pp-size"]
