"""The plan of a converted recipe gives its workers the nodes that the source gives them."""

from __future__ import annotations

import pytest

from .helpers import config_of, convert, plan_of

RECIPE = """\
name: x
model: {{path: a, container: /i.sqsh}}
resources: {{gpus_per_node: {per_node}, {resources}}}
backend: {{sglang_config: {{{flags}}}}}
"""


def layout(per_node: int, resources: str, **flags: str) -> tuple[list[tuple[int, ...]], object]:
    roles = ", ".join(f"{k}: {{{v}}}" for k, v in flags.items())
    text = RECIPE.format(per_node=per_node, resources=resources, flags=roles)
    converted = convert(text)
    return [g.nodes for g in plan_of(converted).groups], converted


def disaggregated(pn: int, pw: int, dn: int, dw: int, more: str = "") -> str:
    return f"prefill_nodes: {pn}, prefill_workers: {pw}, decode_nodes: {dn}, decode_workers: {dw}" + more


@pytest.mark.parametrize(
    ("per_node", "resources", "prefill", "decode", "expected"),
    [
        (4, disaggregated(4, 4, 8, 1), 4, 32, [(0,), (1,), (2,), (3,), tuple(range(4, 12))]),
        (8, disaggregated(2, 6, 0, 2), 2, 2, [(0,)] * 4 + [(1,)] * 4),
        (4, disaggregated(3, 6, 1, 2), 2, 2, [(0,), (0,), (1,), (1,), (2,), (2,), (3,), (3,)]),
        # two nodes, though the GPUs of one would do
        (8, disaggregated(1, 1, 1, 1), 4, 4, [(0,), (1,)]),
        (8, disaggregated(2, 1, 2, 1), 8, 8, [(0, 1), (2, 3)]),
        (
            4,
            disaggregated(1, 1, 1, 1, ", gpus_per_prefill: 1, gpus_per_decode: 1"),
            1,
            1,
            [(0,), (1,)],
        ),
        (
            4,
            disaggregated(2, 2, 2, 2, ", gpus_per_prefill: 1, gpus_per_decode: 1, spread_workers: true"),
            1,
            1,
            [(0,), (1,), (2,), (3,)],
        ),
        (
            8,
            disaggregated(1, 3, 0, 2, ", gpus_per_prefill: 1, gpus_per_decode: 1"),
            1,
            1,
            [(0,)] * 5,
        ),
    ],
)
def test_nodes(per_node: int, resources: str, prefill: int, decode: int, expected: list[tuple[int, ...]]) -> None:
    nodes, converted = layout(per_node, resources, prefill=f"tp-size: {prefill}", decode=f"tp-size: {decode}")
    assert nodes == expected
    assert converted.problems == ()  # type: ignore[attr-defined]


def test_pipeline_stages_and_attention() -> None:
    nodes, _ = layout(
        4,
        "agg_nodes: 4, agg_workers: 2",
        aggregated="tp-size: 4, pp-size: 2, dp-size: 4, enable-dp-attention: true",
    )
    assert nodes == [(0, 1), (2, 3)]


def test_a_difference_is_a_warning() -> None:
    nodes, converted = layout(8, disaggregated(1, 1, 2, 2), prefill="tp-size: 16", decode="tp-size: 8")
    text = converted.text  # type: ignore[attr-defined]
    assert "prefill-0: the source means node 0, the plan gives nodes 0 to 1" in text
    assert "each prefill worker has 8 GPUs by its resources, and uses 16" in text
    assert nodes == [(0, 1), (2,), (3,)]


def test_sizes_that_can_not_be_planned() -> None:
    text = RECIPE.format(per_node=8, resources="agg_nodes: 2, agg_workers: 1", flags="aggregated: {tp-size: 13}")
    converted = convert(text)
    assert [p.key for p in converted.problems] == ["aggregated.args.tp-size"]
    assert "13 GPUs" in converted.text
    assert config_of(converted)["aggregated"]["args"] == {"tp-size": 13}
