"""Parsing `LAMBDA/TOPIC/PARTITION`."""

import pytest

from sidecar.commands.target import Target, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deli/rawdeltas/3", Target("deli", "rawdeltas", 3)),
        ("a.b-c_d/e.f-g_h/0", Target("a.b-c_d", "e.f-g_h", 0)),
        ("x/y/2147483647", Target("x", "y", 2**31 - 1)),
        ("deli/rawdeltas/3.0", Target("deli", "rawdeltas", 3, 0)),
        ("deli/rawdeltas/3.127", Target("deli", "rawdeltas", 3, 127)),
    ],
)
def test_a_target_is_taken_apart_and_put_together(text: str, expected: Target) -> None:
    assert parse_target(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("deli", "expected LAMBDA/TOPIC/PARTITION"),
        ("deli/rawdeltas", "expected LAMBDA/TOPIC/PARTITION"),
        ("deli/raw/deltas/3", "expected LAMBDA/TOPIC/PARTITION"),
        ("/rawdeltas/3", "the lambda's name is missing"),
        ("deli//3", "the topic is missing"),
        ("deli/rawdeltas/", "'' is no partition"),
        ("deli/rawdeltas/-1", "'-1' is no partition"),
        ("deli/rawdeltas/two", "'two' is no partition"),
        ("deli/rawdeltas/2147483648", "is no partition"),
        ("deli/rawdeltas/\u0663", "is no partition"),
        ("deli/rawdeltas/3.", "'' is no lane"),
        ("deli/rawdeltas/.3", "'' is no partition"),
        ("deli/rawdeltas/3.x", "'x' is no lane"),
        ("deli/rawdeltas/3.1.2", "'1.2' is no lane"),
    ],
)
def test_an_invalid_target_is_refused_with_an_example(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="deli/rawdeltas/3") as caught:
        parse_target(text)
    assert reason in str(caught.value)
