"""Bytes as people read them: text, JSON laid out, or hexadecimal. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sidecar.visible import visible

_ROW = 16
"""Bytes in a row of hexadecimal."""

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_OPENING = frozenset("{[")
_CLOSING = frozenset("}]")


def as_text(value: bytes) -> str | None:
    """The text that these bytes are in UTF-8; None: they are binary, since they have control characters or are no
    UTF-8."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if any(ord(one) < 32 and one not in "\t\r\n" for one in text) else text


def laid_out(text: str) -> str | None:
    """JSON with line ends and indentation; None: it is no JSON object or array.

    Only white space changes: numbers keep their digits, and objects their keys, doubled ones too.
    """
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return "".join(_tokens(text))


def without_space(text: str) -> str:
    """JSON without the white space between its words."""
    return "".join(match[0] for match in _TOKEN.finditer(text))


def _tokens(text: str) -> Iterator[str]:
    depth = 0
    before = ""
    for match in _TOKEN.finditer(text):
        word = match[0]
        depth -= word in _CLOSING
        # Between an opening bracket and its contents, and between these and the closing one; `{}` stays as it is.
        if before == "," or (word in _CLOSING) != (before in _OPENING):
            yield "\n" + "  " * depth
        yield ": " if word == ":" else word
        depth += word in _OPENING
        before = word


def hexadecimal(value: bytes) -> str:
    """Bytes as rows of offset, hexadecimal and ASCII."""
    rows = []
    for start in range(0, len(value), _ROW):
        row = value[start : start + _ROW]
        ascii_ = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<{3 * _ROW - 1}}  {ascii_}")
    return "\n".join(rows)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that is safe for a terminal: what a person cannot see is escaped, and so are halves of surrogate pairs."""
    made = json.dumps(value, indent=indent, ensure_ascii=False)
    # Outside of strings JSON is ASCII that can be seen, but for its line ends.
    return "\n".join("".join(map(_escaped, line)) for line in made.split("\n")) if _has_unseen(made) else made


def _has_unseen(text: str) -> bool:
    return any(visible(line) != line for line in text.split("\n"))


def _escaped(character: str) -> str:
    if visible(character) == character:
        return character
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
