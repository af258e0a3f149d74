"""One mistake in a config file, the path of what is wrong, and which values are never shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.config.base import Loc
from sidecar.redact import MASK, is_secret

MAX_KEY_CHARACTERS = 249
"""Of a key in a message: a name of a lambda may have so many."""

_PRIVATE = frozenset({"settings", "env", "command"})
_TOKENS = frozenset({("server", "token"), ("server", "admin_token")})


@dataclass(frozen=True)
class Mistake:
    """One mistake in a config file."""

    path: str
    """The path with dots: `lambdas.deli.window.messages`. Empty: the file as a whole."""
    message: str
    """The problem and what was expected."""
    hint: str = ""
    """The remedy; may be empty."""
    line: int | None = None
    """The line in the file, from 1; for a missing key the line where its section begins. None: unknown."""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return joined(text, self.hint)

    def without(self, secrets: Iterable[str]) -> Mistake:
        """The mistake with each secret masked, wherever a message happens to quote it."""
        path, message, hint = self.path, self.message, self.hint
        for secret in secrets:
            path, message, hint = (text.replace(secret, MASK) for text in (path, message, hint))
        return Mistake(path, message, hint, self.line)


def joined(text: str, hint: str) -> str:
    """A problem and its remedy in one line."""
    if not hint:
        return text
    return f"{text} {hint[0].upper()}{hint[1:]}" if text.endswith("?") else f"{text}; {hint}"


def dotted(loc: Loc) -> str:
    """The path as a text: `("lambdas", "deli", "topics", 1)` is `lambdas.deli.topics[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{key_shown(part)}" for part in loc).removeprefix(".")


def is_private(loc: Loc) -> bool:
    """Whether the value at this path is never shown: its name says "secret", or its section may hold secrets."""
    if loc[:1] == ("lambdas",) and len(loc) > 2 and loc[2] in _PRIVATE:
        return True
    return loc in _TOKENS or any(is_secret(str(part)) for part in loc)


def key_shown(key: str) -> str:
    """A key without the text after a `=`: the user probably meant that as the value, and it may be a secret.

    A long key is shortened.
    """
    name, equals, _ = key.partition("=")
    shown = name if len(name) <= MAX_KEY_CHARACTERS else f"{name[:MAX_KEY_CHARACTERS]}..."
    return f"{shown}=****" if equals else shown
