"""Secrets in logs: which names mean one, and values shown without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "****"

_SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "connection_string",
)
# librdkafka properties that are secrets without such a word in their names: keys as text, whole configurations.
_SECRET_NAMES = frozenset({"ssl_key_pem", "sasl_jaas_config", "sasl_oauthbearer_config"})
# Names with such a word whose values say where a secret comes from: useful in a log when it fails.
_HARMLESS_NAMES = frozenset({"sasl_oauthbearer_token_endpoint_url"})
_HARMLESS_ENDINGS = ("_file", "_location")

_USER_INFO = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]+@")


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a name means a secret. Dots, dashes and case do not matter."""
    plain = name.lower().replace(".", "_").replace("-", "_")
    if plain in _HARMLESS_NAMES or plain.endswith(_HARMLESS_ENDINGS):
        return False
    return plain in _SECRET_NAMES or any(word in plain for word in _SECRET_WORDS)


def masked(value: Any, name: str = "") -> Any:
    """A copy of ``value`` in which every secret is `****`.

    Args:
        value: anything; mappings, lists and tuples are searched to the bottom.
        name: the name of the value; if it means a secret, the whole value is one. Numbers under such a name are
            secrets too; None and booleans are not, because a log should show whether it is set.

    A password inside a URL (`mongodb://user:password@host`) is masked under any name.
    """
    if value is None or isinstance(value, bool):
        return value
    if name and is_secret(name):
        return MASK
    if isinstance(value, str):
        return _USER_INFO.sub(rf"\1:{MASK}@", value) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: masked(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked_word(inner, before) for before, inner in zip(("", *value), value, strict=False)]
    return value


def _masked_word(value: Any, before: Any) -> Any:
    """Mask an element of a list, which may be a command line: `--token X` and `--token=X` hold secrets."""
    if not isinstance(value, str):
        return masked(value)
    if isinstance(before, str) and before.startswith("-") and "=" not in before and is_secret(before):
        return MASK
    option, equals, _ = value.partition("=")
    if equals and is_secret(option):
        return f"{option}={MASK}"
    return masked(value)


class MaskedDict(dict[str, Any]):
    """A dict whose `repr` shows no secrets; for code and JSON it is an ordinary dict."""

    def __repr__(self) -> str:
        return repr(masked(dict(self)))


class HiddenDict(MaskedDict):
    """A `MaskedDict` in which any value may be a secret: its `repr` shows the keys only."""

    def __repr__(self) -> str:
        return repr(dict.fromkeys(self, MASK))
