"""Reading and writing: places, comments, and text that reads back as what it was."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.base.errors import InputError
from launcher.config.yamlpos import parse
from launcher.convert.reader import read
from launcher.convert.tree import Comment, Item, Section, comments, plain
from launcher.convert.writer import flow, render

from .helpers import config_of, convert, every_recipe

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e300, 1e300) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_every_reader_reads_what_was_written(value: Any) -> None:
    text = "key: " + flow(value)
    assert yaml.safe_load(text) == {"key": value}
    assert parse(text, "")[0] == {"key": value}


@given(st.dictionaries(WORDS.filter(bool), VALUES, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_whole_config(data: dict[str, Any]) -> None:
    def section(mapping: dict[str, Any]) -> Section:
        return Section(
            tuple(
                Item(
                    k,
                    section(v) if isinstance(v, dict) else v,
                    above=(Comment("#above", 1),),
                    beside=Comment("# beside", 1),
                )
                for k, v in mapping.items()
            )
        )

    tree = section(data)
    assert plain(tree) == data
    text = render(tree, ["head", ""], ["foot"])
    assert parse(text, "")[0] == data
    assert text == render(tree, ["head", ""], ["foot"])


def test_words_that_are_no_text_elsewhere() -> None:
    for word in ("on", "no", "1e3", "0o7", "010", "04:00:00", "~", "null", "2001-01-01", "a: b"):
        assert flow(word).startswith('"')
    assert flow('{"a": 1}') == "'{\"a\": 1}'"
    assert flow("acme/Big-1:v2") == "acme/Big-1:v2"


def test_long_lists_are_wrapped() -> None:
    text = render(Section((Item("k", list(range(1000, 1100))),)), [], [])
    assert max(map(len, text.splitlines())) <= 100
    assert parse(text, "")[0] == {"k": list(range(1000, 1100))}


def test_pyyaml_decides_what_a_source_means() -> None:
    section, _ = read("a: yes\nb: 010\nc: 04:00:00\nd: 2001-01-01\ne: 1_000\n", "s")
    assert plain(section) == {"a": True, "b": 8, "c": "04:00:00", "d": "2001-01-01", "e": 1000}


def test_anchors_and_merges() -> None:
    section, replaced = read("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x\n", "s")
    assert plain(section)["y"] == {"b": 3, "a": 1}
    assert plain(section)["z"] == {"a": 1, "b": 2}
    assert replaced == ()


def test_a_bomb_of_aliases() -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(InputError):
        read("\n".join(lines), "s")


def test_where_comments_belong() -> None:
    text = """\
# head

a:  # beside a
  b: "# no"  # beside b
  # above c
  c: |
    # no
    text # no
  # below c
    # deeper
d: [1,  # in a list
    2]
    # stray
e:
      # deeper than f
  f: 1
# end
"""
    section, _ = read(text, "s")
    found = {(c.text, ".".join(map(str, p))) for c, p in comments(section) if c.text}
    assert found == {
        ("# head", "a"),
        ("# beside a", "a"),
        ("# beside b", "a.b"),
        ("# above c", "a.c"),
        ("# below c", "a.c"),
        ("# deeper", "a.c"),
        ("# in a list", "d"),
        ("# stray", "e"),
        ("# deeper than f", "e.f"),
        ("# end", "e"),
    }


@pytest.mark.parametrize(("name", "text", "variant"), every_recipe())
def test_the_same_source_gives_the_same_bytes(name: str, text: str, variant: str | None) -> None:
    one = convert(text, variant, name)
    assert one.text == convert(text, variant, "/elsewhere/" + name).text
    assert one.text.endswith("\n")
    assert "\n\n\n" not in one.text
    assert config_of(one)["name"]
