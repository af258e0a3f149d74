"""Text from elsewhere, escaped for a terminal."""

import pytest

from sidecar.visible import visible, visible_lines


@pytest.mark.parametrize("text", ["", "plain", "Größe: 5 µm", "日本語", "😀", "a\\nb", "tilde ~ and bar |", "'\"`$"])
def test_visible_text_is_unchanged(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the same escape in one byte
        ("two\nlines\r\n\tand", "two\\nlines\\r\\n\\tand"),
        ("\x00\x08\x7f", "\\x00\\x08\\x7f"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("\u2066\u2069\u200f", "\\u2066\\u2069\\u200f"),
        ("a\u200bb\u200dc\ufeff\u00ad", "a\\u200bb\\u200dc\\ufeff\\xad"),
        ("a\u2028b\u2029\x85", "a\\u2028b\\u2029\\x85"),
        ("half \ud83d", "half \\ud83d"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("variant \ufe0f\U000e0100, filler \u3164\u115f", "variant \\ufe0f\\U000e0100, filler \\u3164\\u115f"),
        ("no\u00a0break", "no\\xa0break"),
    ],
)
def test_misleading_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown
    shown.encode()


def test_intended_line_ends_stay() -> None:
    assert visible_lines("one\r\n\x1b[1mtwo\rthree", "  ") == "  one\n  \\x1b[1mtwo\\rthree"
