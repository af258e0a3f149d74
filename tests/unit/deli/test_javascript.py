"""JSON as JavaScript has it."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from examples.deli.javascript import Malformed, encode, integer, parse, stringify


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("1E400", "null"),
        ("0.1", "0.1"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("0.00000123", "0.00000123"),
        ("1.5e-9", "1.5e-9"),
        ("123456789012345680000", "123456789012345680000"),
        ("1e21", "1e+21"),
        ("1.5e300", "1.5e+300"),
        ("9007199254740993", "9007199254740992"),
        ("1152921504606846976", "1152921504606847000"),
        ("true", "true"),
        ("null", "null"),
        ('"\\u00e9\\u2028\\u0001\\u007f/"', '"é\u2028\\u0001\x7f/"'),
        ('"\\ud800"', '"\\ud800"'),
        ('"\\ud83d\\ude00"', '"😀"'),
        ('{"b": 1, "10": 2, "2": [1, 2], "01": 3}', '{"2":[1,2],"10":2,"b":1,"01":3}'),
    ],
)
def test_stringify(text: str, expected: str) -> None:
    assert stringify(parse(text)) == expected


@pytest.mark.parametrize("text", ["{oops", "", "NaN", "[Infinity]", "[" * 200_000, "'a'", b"\xff\xff"])
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_what_is_nested_too_deeply() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(Malformed):
        stringify(value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_values_stay_what_they_are(value: Any) -> None:
    assert parse(stringify(value)) == value
    assert parse(encode(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_what_they_are(value: float) -> None:
    assert float(parse(stringify(value))) == value


def test_text_with_half_a_character_can_be_encoded() -> None:
    assert encode({"text": "\ud800é"}) == b'{"text":"\\ud800\\u00e9"}'


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (1.0, 1), (1.5, None), (True, None), ("1", None), (None, None)]
)
def test_integer(value: Any, expected: int | None) -> None:
    assert integer(value) == expected
