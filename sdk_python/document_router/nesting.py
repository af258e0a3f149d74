"""Cuts JSON that is nested deeper than a parser can read.

Python's JSON parser calls itself for each level. It gives up after some hundred levels in Python 3.11, and after some
thousand in later versions; how many depends on the depth of the call stack. The functions here need no call per
level.
"""

import re
from typing import Final

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def is_flat(text: str, levels: int) -> bool:
    """Whether ``text`` has so few brackets that it cannot be nested deeper than ``levels``. This is quick."""
    return text.count("[") + text.count("{") <= levels


def prune(text: str, levels: int, instead: str) -> str:
    """Replace each array or object that is nested deeper than ``levels`` by ``instead``.

    The replaced parts are not checked: they may be no JSON. Raises ``ValueError`` when the brackets do not match.
    """
    kept: list[str] = []
    start = depth = 0
    for token in _TOKEN.finditer(text):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
            if depth == levels + 1:
                kept.append(text[start : token.start()])
        elif mark in "]}":
            if depth == levels + 1:
                kept.append(instead)
                start = token.end()
            depth -= 1
    if depth:
        raise ValueError("the brackets do not match")
    kept.append(text[start:])
    return "".join(kept)
