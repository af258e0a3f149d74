"""Reading a config file. All its mistakes are reported at once, each with its line and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.config.address import dial
from sidecar.config.base import did_you_mean
from sidecar.config.listeners import DEFAULT_LISTEN
from sidecar.config.model import Config
from sidecar.config.source import Mistake, Source, dotted, is_private, read
from sidecar.config.units import quoted

TOKEN_VARIABLE = "KAFKA_SIDECAR_TOKEN"  # noqa: S105 - a name, no secret
"""The environment variable with the lambdas' token. The sidecar, lambdas and commands prefer it to the file's."""


class ConfigError(Exception):
    """A wrong config file. The text has one line for each mistake, in the file's order.

    Attributes:
        path: the file.
        mistakes: all of them.
        lines: the text of each.
    """

    def __init__(self, path: Path, mistakes: Iterable[Mistake]) -> None:
        self.path = path
        self.mistakes = tuple(sorted(dict.fromkeys(mistakes), key=lambda m: m.line or 0))
        self.lines = tuple(self._line(mistake) for mistake in self.mistakes)
        super().__init__("\n".join(self.lines))

    def _line(self, mistake: Mistake) -> str:
        where = f"{self.path}:{mistake.line}" if mistake.line else str(self.path)
        return f"{where}: {mistake}"


class ClientSettings(NamedTuple):
    """The parts of a config file that the operator's commands need."""

    address: str
    """Where to dial: `host:port` or `unix:///path`."""
    token: str | None
    """The server's `admin_token`, else its `token`, if it has one."""
    tls: bool = False
    """Whether the server encrypts."""
    certificate: Path | None = None
    """The PEM file with the server's certificate, if it encrypts; None: not known."""


def load(path: Path | str, environ: Mapping[str, str]) -> Config:
    """Read, expand and check a config file.

    Args:
        path: the YAML file.
        environ: the values for `${VAR}` and `${VAR:-default}`; as a rule `os.environ`.

    Raises ``ConfigError`` with all mistakes of the file.
    """
    path = Path(path)
    source = _read(path, environ)
    mistakes = list(source.mistakes)
    if source.root is not None and source.data is None and not mistakes:
        mistakes.append(Mistake("", "expected a mapping, not nothing", "it needs at least kafka: and lambdas:"))
    config: Config | None = None
    if source.data is not None:
        reported = {mistake.path for mistake in mistakes}
        try:
            config = Config.model_validate(
                _with_token(source.data, environ), context={"file": path, "variables": source.variables}
            )
        except ValidationError as error:
            # A value whose variable is not set is reported once, for that reason.
            found = (_from_pydantic(one, source) for one in error.errors(include_url=False))
            mistakes += [mistake for mistake in found if mistake.path not in reported]
    if config is None or mistakes:
        raise ConfigError(path, mistakes) from None
    return config


def _with_token(data: Any, environ: Mapping[str, str]) -> Any:
    """Prefer the environment's token to the file's: secrets belong into the environment."""
    token = environ.get(TOKEN_VARIABLE)
    if not token or not isinstance(data, dict):
        return data
    server = data.get("server")
    server = {} if server is None else server
    if not isinstance(server, dict):
        return data
    return {**data, "server": {**server, "token": token}}


def client_settings(path: Path | str, environ: Mapping[str, str]) -> ClientSettings:
    """How this machine can reach the sidecar that runs with this config file.

    Only `server` is read: the rest may be wrong, or need variables that the operator's shell does not have. A token
    that cannot be read is None. Raises ``ConfigError`` when the file cannot be read, or `server.listen` cannot be
    dialled.
    """
    path = Path(path)
    source = _read(path, environ)
    if source.data is None:
        raise ConfigError(path, source.mistakes)
    broken = {mistake.path: mistake for mistake in source.mistakes}
    if "server.listen" in broken:
        raise ConfigError(path, [broken["server.listen"]])
    server = source.data.get("server") if isinstance(source.data, dict) else None
    server = server if isinstance(server, dict) else {}
    listen = server.get("listen", DEFAULT_LISTEN)
    try:
        address = dial(str(listen))
    except ValueError as error:
        line = source.line(("server", "listen"))
        raise ConfigError(path, [Mistake("server.listen", str(error), line=line)]) from None

    def text(section: dict[Any, Any], prefix: str, key: str) -> str | None:
        value = section.get(key)
        return value if isinstance(value, str) and value and f"{prefix}.{key}" not in broken else None

    # A sidecar with an admin token refuses the lambdas' token to commands, even when we cannot read the admin token.
    token = text(server, "server", "token" if server.get("admin_token") is None else "admin_token")
    tls = server.get("tls")
    certificate = text(tls, "server.tls", "certificate") if isinstance(tls, dict) else None
    return ClientSettings(address, token, tls is not None, None if certificate is None else Path(certificate))


def _read(path: Path, environ: Mapping[str, str]) -> Source:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        hint = "give the config file with --config PATH or in $KAFKA_SIDECAR_CONFIG"
        raise ConfigError(path, [Mistake("", "there is no such file", hint)]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, [Mistake("", f"not UTF-8: {error.reason} at byte {error.start}")]) from None
    except OSError as error:
        raise ConfigError(path, [Mistake("", f"cannot be read: {error.strerror}")]) from None
    return read(text, environ)


def _from_pydantic(error: ErrorDetails, source: Source) -> Mistake:
    loc = tuple(error["loc"])
    if loc[-1:] == ("[key]",):
        key = loc[-2]
        loc = (*loc[:-2], str(key))
        message, hint = f"a key must be text, this is {key!r}", "put it in quotes"
        return Mistake(dotted(loc), message, hint, source.line(loc))
    if loc[-2:] == ("topic", 0):
        loc = loc[:-1]  # `topic: a` is read as `topics: [a]`
    context = error.get("ctx", {})
    if error["type"] == "mistake":
        message, hint = context["message"], context["hint"]
    else:
        message, hint = _explained(error, context, secret=is_private(loc))
    return Mistake(dotted(loc), message, hint, source.line(loc))


_KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "path_type": "a path",
}
_MAPPINGS = frozenset({"dict_type", "mapping_type", "model_type"})
_HINTS = {
    "string_type": "put it in quotes",
    "model_type": "indent its keys below it",
    "mapping_type": "indent its keys below it",
}


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}


def _explained(error: ErrorDetails, context: Mapping[str, Any], *, secret: bool) -> tuple[str, str]:
    """The message and the hint for an error of pydantic, for readers who have never seen pydantic."""
    kind, value = error["type"], error["input"]
    # A text instead of a mapping may be the whole mapping in one line, with its passwords.
    secret = secret or (kind in _MAPPINGS and isinstance(value, str) and not value.isalnum())
    shown = "the value" if secret and isinstance(value, str | int | float) else _shown(value)
    if kind == "missing":
        return "missing: this key is required", ""
    if kind in _KINDS:
        hint = _HINTS.get(kind, "") if value is not None else "give it a value, or delete the key"
        return f"expected {_KINDS[kind]}, not {shown}", hint
    if kind == "literal_error":
        choices = context["expected"]
        hint = did_you_mean(value, re.findall(r"'([^']*)'", choices)) if isinstance(value, str) else ""
        return f"expected {choices.replace(chr(39), '')}, not {shown}", hint
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"expected {words} {context[name]}, not {shown}", ""
    return error["msg"], ""


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return quoted(value)
