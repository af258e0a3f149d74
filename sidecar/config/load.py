"""Reading a config file. All its mistakes are reported at once, each with its line and a remedy."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sidecar.config.address import dial
from sidecar.config.explain import from_pydantic
from sidecar.config.listeners import DEFAULT_LISTEN
from sidecar.config.mistakes import Mistake
from sidecar.config.model import Config
from sidecar.config.source import Source, read

SMALLEST = "it needs at least kafka: and lambdas:"
"""The remedy for a file that has nothing in it."""

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
        mistakes.append(Mistake("", "expected a mapping, not nothing", SMALLEST))
    config: Config | None = None
    if source.data is not None:
        reported = {mistake.path for mistake in mistakes}
        context = {"file": path, "variables": source.variables, "line": source.line}
        try:
            config = Config.model_validate(_with_token(source.data, environ), context=context)
        except ValidationError as error:
            # A value whose variable is not set is reported once, for that reason.
            found = from_pydantic(error.errors(include_url=False), source)
            mistakes += [mistake for mistake in found if mistake.path not in reported]
    if config is None or mistakes:
        secrets = source.secrets(environ)
        raise ConfigError(path, [one.without(secrets) for one in mistakes]) from None
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
        raise ConfigError(path, [_not_utf8(error)]) from None
    except OSError as error:
        raise ConfigError(path, [Mistake("", f"cannot be read: {error.strerror}")]) from None
    return read(text, environ)


def _not_utf8(error: UnicodeDecodeError) -> Mistake:
    if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Mistake("", "the file is in UTF-16", "save it as UTF-8")
    line = error.object.count(b"\n", 0, error.start) + 1
    byte = error.object[error.start]
    return Mistake("", f"not UTF-8: the byte 0x{byte:02x} cannot be here", "save the file as UTF-8", line)
