"""Bytes as people read them, and JSON that is safe for a terminal."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.dead_letters.plain import as_text, hexadecimal, json_text, laid_out, without_space
from sidecar.visible import visible

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON.filter(lambda value: isinstance(value, list | dict)))
def test_only_the_white_space_changes(value: Any) -> None:
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    laid = laid_out(compact)
    assert laid is not None
    assert laid == json.dumps(value, indent=2, ensure_ascii=False)
    assert without_space(laid) == compact


def test_numbers_and_doubled_keys_stay_as_they_are() -> None:
    text = '{"a": 1.10, "a": 1e400, "b": 0.30000000000000004441, "c": [ ], "d": -0}'
    laid = laid_out(text)
    assert laid is not None
    assert without_space(laid) == text.replace(" ", "")


@pytest.mark.parametrize(
    "text", ["", "text", "7", '"text"', "{", "{]}", "{'a': 1}", "[" * 100_000, "[1" + "0" * 5000 + "]"]
)
def test_what_is_not_laid_out(text: str) -> None:
    assert laid_out(text) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"a\tb\r\n", "a\tb\r\n"),
        ("größe".encode(), "größe"),
        (b"\x00", None),
        (b"\xff", None),
        (b"\x1b[", None),
    ],
)
def test_text_or_binary(value: bytes, text: str | None) -> None:
    assert as_text(value) == text


def test_hexadecimal() -> None:
    assert hexadecimal(bytes(range(60, 78))).split("\n") == [
        "00000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK",
        "00000010  4c 4d                                            LM",
    ]


@given(JSON)
def test_json_is_what_it_was_and_everything_in_it_can_be_seen(value: Any) -> None:
    for indent in (None, 2):
        made = json_text(value, indent=indent)
        assert json.loads(made) == value
        assert all(visible(line) == line for line in made.split("\n"))


def test_terminal_commands_and_halves_of_pairs_are_escaped_in_json() -> None:
    text = "\x1b[2J\x7f\x9b\u202e\U000e0100\ud800 größe 😀"
    made = json_text({text: text})
    assert json.loads(made) == {text: text}
    assert made.isprintable()
    assert "größe 😀" in made
