"""Any source is converted or refused with a reason: never a traceback, never half a config."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.base.errors import InputError
from launcher.config.yamlpos import parse
from launcher.convert import convert_text
from launcher.convert.reader import read
from launcher.convert.tree import leaves

from .samples import OWN, all_texts

TEXTS = list(all_texts().values())
DATA = [yaml.safe_load(text) for text in OWN.values()]
VARIANTS = st.sampled_from([None, "base", "wide[0]", "override_two"])
JUNK = st.sampled_from(
    [
        None, True, False, 0, -1, 3, 10**12, 1.5, float("inf"), "", "x", "8", "a\nb", "\x7f", "{node}",
        "$HOME/x", "HEAD_PREFILL_NODE_IP", "ä—\u2028", "auto", [], [1, 2], [[1], [2]], [None], {},
        {"a": 1}, {"a": {"b": [{}]}}, ["a:b", 7], "sglang", "mocker", "trtllm", 2,
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    ["base", "override_x", "zip_override_y", "schema", "backend", "model", "name", "tp", "dp-size",
     "enable-dp-attention", "nnodes", "SGLangWorker", "ServiceArgs", "envs", "sweep", "frontend",
     "resources", "decode_nodes", "args", "-", "1", "a b", "Common", "common-configs", "type"]
)  # fmt: skip


def paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(data, dict):
        found += [p for k, v in data.items() for p in paths(v, (*path, k))]
    elif isinstance(data, list):
        found += [p for n, v in enumerate(data) for p in paths(v, (*path, n))]
    return found


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A sample with up to four of its parts removed, replaced, renamed or added."""
    data = yaml.safe_load(yaml.safe_dump(draw(st.sampled_from(DATA)), sort_keys=False))
    for _ in range(draw(st.integers(1, 4))):
        places = paths(data)
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = data
        for key in above:
            parent = parent[key]
        what = draw(st.sampled_from(["remove", "replace", "rename", "add"]))
        if what == "replace" or isinstance(parent, list):
            parent[last] = copy.deepcopy(draw(JUNK))
        elif what == "remove":
            del parent[last]
        elif what == "rename":
            parent[draw(KEYS)] = parent.pop(last)
        else:
            parent[draw(KEYS)] = copy.deepcopy(draw(JUNK))
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def check(text: str, variant: str | None) -> None:
    try:
        converted = convert_text(text, "fuzz.yaml", variant)
    except InputError:
        return
    data, _ = parse(converted.text, "converted")
    assert {"name", "engine", "model", "slurm"} <= set(data)
    root, _ = read(text, "fuzz.yaml")
    assert list(leaves(root))


@given(mutated(), VARIANTS)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_values(text: str, variant: str | None) -> None:
    check(text, variant)


@given(
    st.sampled_from(TEXTS),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 40),
            st.sampled_from(["", "#", "\n", ":", "- ", "  ", "'", '"', "{", "[", "|", "&a ", "*a", "!", "\t"]),
        ),
        min_size=1,
        max_size=4,
    ),
    VARIANTS,
)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_text(text: str, cuts: list[tuple[float, int, str]], variant: str | None) -> None:
    for where, length, instead in cuts:
        at = int(where * len(text))
        text = text[:at] + instead + text[at + length :]
    check(text, variant)


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text(text: str) -> None:
    check(text, None)
    check(f"name: x\nmodel: {{path: a}}\nresources: {{agg_workers: 1}}\nbackend: {text}\n", None)
