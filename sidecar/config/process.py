"""The command and the environment of a process that the sidecar starts, as the config has them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from sidecar.config.base import mistake

MAX_ARGUMENT_BYTES = 128 * 1024
"""The length of one argument or environment variable of a program on Linux, with the NUL at its end."""

_OF_SHELLS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=", re.ASCII)

UNPASSABLE = "has a NUL or half of a surrogate pair in it, which cannot be passed on"


def is_passable(text: str) -> bool:
    """Whether the system's interfaces take the text unchanged; they end a text at NUL."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _too_long(text: str) -> bool:
    return len(os.fsencode(text)) >= MAX_ARGUMENT_BYTES


def _no_shell(words: tuple[str, ...]) -> None:
    """Refuse a command that only a shell could run."""
    shell = next((word for word in words if word in _OF_SHELLS), None)
    if shell is not None:
        remedy = "leave it out, or run a shell: [sh, -c, 'exec ...']"
        raise mistake(f"no shell runs this, so `{shell}` would be an argument of the program", remedy)
    if words and (name := _ASSIGNMENT.match(words[0])) is not None:
        remedy = f"write env: {{{name[1]}: ...}}"
        raise mistake(f"no shell runs this, so `{name[1]}=...` would be the program", remedy)


def command_words(value: Any) -> tuple[str, ...]:
    """Validate `command`: a text, which is split as a shell would, or a list of words."""
    if isinstance(value, str):
        try:
            words = tuple(shlex.split(value))
        except ValueError as error:
            raise mistake(f"cannot be split into words: {error}", "give it as a list of words") from None
        _no_shell(words)
    elif isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        words = tuple(value)
    else:
        raise mistake("expected a text or a list of texts", "as in: python -m sdk_python.serve deli")
    if not words or not words[0]:
        raise mistake("expected a command, this one is empty")
    for number, word in enumerate(words):
        if not is_passable(word):
            raise mistake(f"word {number + 1} {UNPASSABLE}")
        if _too_long(word):
            raise mistake(f"word {number + 1} is too long: a program takes {MAX_ARGUMENT_BYTES - 1} bytes in one")
    return words


def environment(value: Any) -> dict[str, str]:
    """Validate `env`; each value becomes a text."""
    if not isinstance(value, Mapping):
        raise mistake("expected a mapping of names to values", "as in env: {LOG: verbose}, without dashes")
    made: dict[str, str] = {}
    for name, one in value.items():
        if not isinstance(name, str) or not name or "=" in name or not is_passable(name):
            raise mistake(f"{_shown(name)} cannot be the name of an environment variable")
        if not isinstance(one, str | int | float):
            message = f"the value of {_shown(name)} must be a text, a number or a boolean"
            raise mistake(message, "as in env: {LOG: verbose}")
        text = str(one).lower() if isinstance(one, bool) else str(one)
        if not is_passable(text):
            raise mistake(f"the value of {_shown(name)} {UNPASSABLE}")
        if _too_long(f"{name}={text}"):
            raise mistake(
                f"{_shown(name)} is too long: a program takes {MAX_ARGUMENT_BYTES - 1} bytes in one variable"
            )
        made[name] = text
    return made


def _shown(name: Any) -> str:
    """The name of a variable for a message. What does not look like one may be a value, and a secret."""
    if not isinstance(name, str):
        return repr(name)
    first, equals, _ = name.partition("=")
    if not _NAME.fullmatch(first):
        return "a key in it"
    return f"{first!r} with a `=` after it" if equals else first
