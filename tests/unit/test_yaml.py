"""YAML with positions: YAML 1.2's types, keys' places, and nothing that can hang or crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError, Place
from launcher.catalog.catalog import load
from launcher.config import load_config
from launcher.config.yamlpos import parse
from launcher.convert import SGLANG
from launcher.convert.flags import renamed_comments
from launcher.convert.reader import read
from launcher.convert.tree import Comment


def value(text: str) -> Any:
    return parse(f"k: {text}\n", "f")[0]["k"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("04:00:00", "04:00:00"),  # YAML 1.1: 14400
        ("1:30", "1:30"),
        ("on", "on"),  # YAML 1.1: true
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("2026-01-31", "2026-01-31"),  # YAML 1.1: a date
        ("0017", "0017"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("true", True),
        ("False", False),
        ("8", 8),
        ("-1", -1),
        ("+5", 5),
        ("0", 0),
        ("0x10", 16),
        ("0o17", 15),
        ("0.85", 0.85),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-2.5e-3", -0.0025),
        ("~", None),
        ("null", None),
        ("", None),
        ("'8'", "8"),
        ('"true"', "true"),
        ("!!str 8", "8"),
        ("!!float 3", 3.0),
        ("a:b", "a:b"),
        ("[1, a, 2.5]", [1, "a", 2.5]),
        ("{a: {b: c}}", {"a": {"b": "c"}}),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_types(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert isinstance(found, type(expected))
    assert not (isinstance(found, bool) ^ isinstance(expected, bool))


@pytest.mark.parametrize("text", ["1.10", "0.850", "1e5", "2.0"])
def test_a_number_used_as_text_is_as_written(text: str) -> None:
    found = value(text)
    assert str(found) == text
    assert f"{found}" == text
    assert found == float(text)


def test_keys_are_texts() -> None:
    data, places = parse("1: a\ntrue: b\n~: c\non: d\n", "f")
    assert data == {"1": "a", "true": "b", "~": "c", "on": "d"}
    assert places["true",] == Place("f", 2, 1)


def test_places() -> None:
    _, places = parse("a: 1\nb:\n  c: {d: 2,  e: 3}\n  f:\n  - x\n  - y: 1\n", "f")
    assert places == {
        (): Place("f", 1, 1),
        ("a",): Place("f", 1, 1),
        ("b",): Place("f", 2, 1),
        ("b", "c"): Place("f", 3, 3),
        ("b", "c", "d"): Place("f", 3, 7),
        ("b", "c", "e"): Place("f", 3, 14),
        ("b", "f"): Place("f", 4, 3),
        ("b", "f", 0): Place("f", 5, 5),
        ("b", "f", 1): Place("f", 6, 5),
        ("b", "f", 1, "y"): Place("f", 6, 5),
    }


def test_anchors_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{z: 4}, *a], w: 5}\nd: *a\n"
    data, places = parse(text, "f")
    assert data["b"] == {"x": 1, "y": 3}
    assert data["c"] == {"x": 1, "y": 2, "z": 4, "w": 5}
    assert data["d"] == data["a"]
    assert data["d"] is not data["a"]  # a change to one is no change to the other
    assert places["b", "x"] == Place("f", 1, 8)  # where it is written
    assert places["b", "y"] == Place("f", 2, 13)
    assert places["d",] == Place("f", 4, 1)


def test_the_first_of_several_merged_mappings_wins() -> None:
    assert parse("a: {<<: [{x: 1}, {x: 2}]}", "f")[0] == {"a": {"x": 1}}


def test_nothing_is_none() -> None:
    assert parse("# only a comment\n", "f") == (None, {})


def test_crlf_and_byte_order_mark() -> None:
    data, places = parse("\ufeffa: 1\r\nb: 2\r\n", "f")
    assert data == {"a": 1, "b": 2}
    assert places["b",] == Place("f", 2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: a: this key is given twice; keep one"),
        ("1: a\n'1': b\n", "f:2:1: 1: this key is given twice; keep one"),
        ("x: {a: 1, a: 2}\n", "f:1:11: a: this key is given twice; keep one"),
        ("{a: b}: c\n", "f:1:1: a key must be plain text"),
        ("? [a]\n: b\n", "f:1:3: a key must be plain text"),
        ("a: &a [1, *a]\n", "f:1:4: an anchor refers to itself"),
        ("a: &a {<<: *a}\n", "f:1:4: an anchor refers to itself"),
        ("a: *b\n", "f:1:4: not valid YAML: found undefined alias; no anchor (&name) of that name stands above it"),
        ("a: !foo b\n", "f:1:4: the tag !foo has no meaning here; remove it"),
        (
            "a: !!python/object:os.system {}\n",
            "f:1:4: the tag !!python/object:os.system has no meaning here; remove it",
        ),
        ("a: !!timestamp 2026-01-01\n", "f:1:4: the tag !!timestamp has no meaning here; remove it"),
        ("a: !!set {b}\n", "f:1:4: the tag !!set has no meaning here; remove it"),
        ("a: !!int x\n", "f:1:4: 'x' is not a number"),
        ("a: !!bool maybe\n", "f:1:4: the tag !!bool has no meaning here; remove it"),
        ("a: {<<: 3}\n", "f:1:9: << takes a mapping, or a list of mappings"),
        ("a: 1e999\n", "f:1:4: this number is too large"),
        ("a: " + "9" * 5000, "f:1:4: this number is too large"),
        ("a: 0x" + "f" * 30, "f:1:4: this number is too large"),
        (
            "a: 1\n---\nb: 2\n",
            "f:2:1: not valid YAML: but found another document; a config is one document, without ---",
        ),
        ("a: x\x07y\n", "f:1:5: a character that YAML does not allow (U+0007); remove it"),
        ("a: 1\nb: \udcff\n", "f:2:4: a character that YAML does not allow (U+DCFF); remove it"),
        ("a: [1, 2\nb: 3\n", "f:2:2: not valid YAML: did not find expected ',' or ']'"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "f")
    assert str(error.value) == message


# libyaml has a limit of 1,000 levels since 0.2.6 and reads ahead, so it can come first
@pytest.mark.parametrize("levels", [65, 999, 1000, 1001, 100_000])
@pytest.mark.parametrize(
    ("opening", "line", "column"),
    [
        ("[", 1, 67),
        ("[\n ", 64, 2),
        ("{a: ", 1, 256),
        ("[{? ", 1, 129),
        ("- ", 2, 129),
        ("? ", 2, 129),
        ("- ? ", 2, 129),
    ],
)
def test_one_limit_of_nesting(opening: str, line: int, column: int, levels: int) -> None:
    block = opening[0] in "-?"
    text = ("# c\n" if block else "b: ") + opening * levels
    for ending in ("", "x", "x: [\n\t]: @"):
        with pytest.raises(InputError) as error:
            parse(text + ending, "f")
        assert str(error.value) == f"f:{line}:{column}: nested deeper than 64 levels"


def test_every_reader_has_this_limit(tmp_path: Path) -> None:
    text = "name: " + "[" * 1500
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    for reader in (lambda: read(text, str(recipe)), lambda: load_config(str(recipe), sites=[])):
        with pytest.raises(InputError) as error:
            reader()
        assert str(error.value) == f"{recipe}:1:70: nested deeper than 64 levels"
    recipe.write_text("name: n\n")
    with pytest.raises(InputError, match=r"^--set model=\[+: model: nested deeper than 64 levels$"):
        load_config(str(recipe), [f"model={'[' * 1500}"], sites=[])


def test_a_deep_text_in_a_comment_of_a_recipe_stays_as_it_is() -> None:
    deep = Comment("# tp-size: " + "[" * 3000, 1)
    assert renamed_comments([deep], load(SGLANG)) == (deep,)


def test_sixty_four_levels_are_read() -> None:
    for text in ("[" * 64 + "]" * 64, "- " * 64 + "x", "\n".join(" " * n + "a:" for n in range(64))):
        parse(text, "f")
        with pytest.raises(InputError, match="nested deeper than 64 levels"):
            parse(f"[{text}]" if text[0] == "[" else "b:\n" + "".join(f" {line}\n" for line in text.split("\n")), "f")


def test_a_mistake_before_the_limit_is_named_first() -> None:
    with pytest.raises(InputError, match="f:1:4: not valid YAML"):
        parse("a: @ " + "[" * 2000, "f")


def test_a_few_anchors_that_would_expand_to_billions() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InputError, match="the anchors expand to too much"):
        parse("\n".join(lines), "f")
