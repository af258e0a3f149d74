"""Tokens and files that prove who somebody is: their types in the config, and the tokens in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from sidecar.config.base import mistake

MAX_TOKEN_CHARACTERS = 4_096
"""gRPC takes about 8 KiB of headers."""

MAX_TOKENS = 100
"""In one file: a rotation needs two."""


def readable(value: Path) -> Path:
    """Validate the path of a file that must be there."""
    if "\0" in str(value):
        raise mistake("a path has no NUL in it")
    relative = "a relative path starts where the sidecar was started"
    if not value.is_file():
        raise mistake(f"there is no file {str(value)!r}", relative)
    if not os.access(value, os.R_OK):
        raise mistake(f"the file {str(value)!r} cannot be read", "check its permissions")
    return value


def tokens_in(text: str) -> tuple[str, ...]:
    """The tokens in a file's text, one in each line; empty lines mean nothing.

    Raises ``ValueError`` with the problem and the remedy, without the text: it may be a secret.
    """
    tokens = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not tokens:
        raise ValueError("it has no token; write one in each line")
    if len(tokens) > MAX_TOKENS:
        raise ValueError(f"it has {len(tokens)} tokens, at most {MAX_TOKENS} are possible; delete the old ones")
    for token in tokens:
        message, hint = _fault(token)
        if message:
            raise ValueError(f"{message}; {hint}")
    return tokens


def _fault(token: str) -> tuple[str, str]:
    """Why this text, which is not empty, can be no token, and the remedy; both empty: it can."""
    if not all("!" <= character <= "~" for character in token):
        return "a token has visible ASCII characters only", "is there a space or a line end in it?"
    if len(token) > MAX_TOKEN_CHARACTERS:
        return f"a token has {MAX_TOKEN_CHARACTERS} characters at most", "a header of a call takes no more"
    return "", ""


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise mistake("the token is empty: everybody would be let in", "delete the key if that is meant")
    message, hint = _fault(text)
    if message:
        raise mistake(message, hint)
    return value


File = Annotated[Path, AfterValidator(readable)]
Token = Annotated[SecretStr, AfterValidator(_token)]
