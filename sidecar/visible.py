"""Text from elsewhere made safe for a terminal: characters that move the cursor or mislead the eye are escaped."""

from __future__ import annotations

import re

# (Nearly) invisible characters that Python counts as printable: joiners, fillers, variation selectors.
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_SUSPECT = re.compile(f"[{_UNSEEN}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """``text`` in one line in which every character is visible.

    Control characters (among them the escape that begins terminal commands), line ends, invisible characters such as
    those that change the direction of writing, and halves of a surrogate pair become `\\n`, `\\x1b`, `\\u202e`.
    """
    if text.isprintable() and (text.isascii() or not _SUSPECT.search(text)):
        return text
    return "".join(one if _is_seen(one) else _escaped(one) for one in text)


def visible_lines(text: str, indent: str = "") -> str:
    """`visible` for a text whose line ends are meant, such as a stack; each line begins with ``indent``."""
    return "\n".join(f"{indent}{visible(line)}" for line in text.replace("\r\n", "\n").split("\n"))


def _is_seen(character: str) -> bool:
    return character.isprintable() and not _SUSPECT.match(character)


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
