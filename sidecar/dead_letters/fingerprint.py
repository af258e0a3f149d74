"""The fingerprint of an error: the same for all failures of one cause. Pure."""

from __future__ import annotations

import hashlib
import json
import re

LENGTH = 8
"""Hexadecimal digits. Two of a thousand different errors share one with a probability of 1 to 10,000."""

_LOOKED_AT = 2_000
"""Characters of an error's first line that are looked at."""

# A quote after a letter is an apostrophe (`can't`), and begins no quoted text.
_QUOTED = re.compile(r"""(?<!\w)(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`)(?!\w)""")
# Numbers, ids, times, addresses and paths hang together by these characters.
_WORD = re.compile(r"[\w.:+\-/@%]+")
_LISTED = re.compile(r"([#*])(?:[\s,;]*\1)+")


def fingerprint(kind: str, code: str, message: str) -> str:
    """The fingerprint of an error by its type, its code, and its text without what differs from record to record."""
    text = json.dumps([kind, code, normalised(message)])
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def normalised(message: str) -> str:
    """The first line of an error's text, with `*` for quoted texts and `#` for words that have a digit."""
    line = message.lstrip().split("\n", 1)[0][:_LOOKED_AT]
    line = _WORD.sub(_without_digits, _QUOTED.sub("*", line))
    return _LISTED.sub(r"\1", line).strip()


def is_fingerprint(text: str) -> bool:
    """Whether a text can be a fingerprint."""
    return len(text) == LENGTH and all(digit in "0123456789abcdef" for digit in text)


def _without_digits(word: re.Match[str]) -> str:
    return "#" if any(character.isdigit() for character in word[0]) else word[0]
