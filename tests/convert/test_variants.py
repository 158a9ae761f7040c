"""Files of several recipes."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError
from launcher.convert import selectors

from .helpers import config_of, convert, notes, plan_of
from .samples import RECIPE, SERVICE, VARIANTS


def test_they_are_listed() -> None:
    assert selectors(VARIANTS, "v.yaml") == [
        "base",
        "zip_override_wide[0]",
        "zip_override_wide[1]",
        "override_two",
    ]
    with pytest.raises(InputError, match=r"(?s)choose one.*zip_override_wide\[1\] +acme-16"):
        convert(VARIANTS)


@pytest.mark.parametrize("wanted", ["zip_override_wide[1]", "wide[1]", "wide_1", "acme-16"])
def test_short_forms(wanted: str) -> None:
    config = config_of(convert(VARIANTS, wanted))
    assert config["name"] == "acme-16"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("wide", "is 2 recipes"), ("override_twoo", "did you mean 'override_two'"), ("x", "not there")],
)
def test_unknown_ones(wanted: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(VARIANTS, wanted)


def test_zip() -> None:
    converted = convert(VARIANTS, "wide[0]")
    decode = config_of(converted)["decode"]["args"]
    assert decode == {
        "disaggregation-transfer-backend": "nixl",
        "tp-size": 8,
        "dp-size": 8,
        "enable-dp-attention": True,
        "cuda-graph-bs-decode": [1, 2],
        "mem-fraction-static": 0.8,
    }
    assert [g.nodes for g in plan_of(converted).groups] == [(0,), (1, 2)]
    assert "    # wide\n    tp-size: 8  # 8 GPUs: 2 nodes\n" in converted.text
    assert "# Several recipes.\n# more experts\nname" in converted.text
    assert "--variant" in notes(converted, "dropped")["override_two"]


def test_override_and_base() -> None:
    two = convert(VARIANTS, "two")
    assert config_of(two)["name"] == "acme_two"
    assert [g.nodes for g in plan_of(two).groups] == [(0,), (1,), (2,)]
    assert config_of(convert(VARIANTS, "base"))["name"] == "acme"


def test_lists_of_different_lengths() -> None:
    text = VARIANTS.replace("[8, 16]\n        enable", "[8, 16, 32]\n        enable")
    with pytest.raises(InputError, match="where another list has 3"):
        convert(text, "base")


@pytest.mark.parametrize("text", [RECIPE, SERVICE])
def test_a_file_without(text: str) -> None:
    with pytest.raises(InputError, match="no variants"):
        convert(text, "base")
