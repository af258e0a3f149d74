"""The few fields of the sidecar's config file that a lambda process needs: where the sidecar is, what to load.

Everything else in the file is the sidecar's business, and is not looked at here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ._errors import SettingsError

CONFIG_VARIABLE: Final = "KAFKA_SIDECAR_CONFIG"
_DEFAULT: Final = Path("config.yaml")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class LambdaConfig:
    """What the file says about one lambda and the way to the sidecar; None: nothing."""

    path: Path
    plugin: str | None = None
    document_lambda: str | None = None
    address: str | None = None
    token: str | None = None


def find_config(option: str | None, environ: Mapping[str, str]) -> Path | None:
    """``--config``, or ``$KAFKA_SIDECAR_CONFIG``, or ``./config.yaml`` when it exists."""
    if option or environ.get(CONFIG_VARIABLE):
        return Path(option or environ[CONFIG_VARIABLE])
    return _DEFAULT if _DEFAULT.is_file() else None


def read_config(path: Path, name: str, environ: Mapping[str, str] = os.environ) -> LambdaConfig:
    """What the file says about the lambda ``name``.

    Raises:
        SettingsError: the file cannot be read, or does not have this lambda.
    """
    document = _parse(path)
    lambdas = document.get("lambdas")
    if not isinstance(lambdas, dict) or name not in lambdas:
        known = ", ".join(map(str, lambdas)) if isinstance(lambdas, dict) and lambdas else "none"
        raise SettingsError(f"lambda {name!r} is not in {path}; it has: {known}")

    def text(section: object, where: str, key: str) -> str | None:
        value = section.get(key) if isinstance(section, dict) else None
        if value is None:
            return None
        if not isinstance(value, str):
            raise SettingsError(f"{path}: {where}.{key}: expected text, got {type(value).__name__}")
        return expand(value, f"{path}: {where}.{key}", environ)

    here, server = lambdas[name], document.get("server")
    return LambdaConfig(
        path=path,
        plugin=text(here, f"lambdas.{name}", "plugin"),
        document_lambda=text(here, f"lambdas.{name}", "document_lambda"),
        address=text(server, "server", "listen"),
        token=text(server, "server", "token"),
    )


def expand(value: str, where: str, environ: Mapping[str, str]) -> str:
    """``${VAR}`` and ``${VAR:-default}``; a default is used where the variable is absent or empty.

    Raises:
        SettingsError: a variable without a default is not set.
    """

    def found(match: re.Match[str]) -> str:
        variable, default = match.groups()
        result = environ.get(variable) or default
        if result is None and variable not in environ:
            raise SettingsError(f"{where}: environment variable {variable} is not set")
        return result or ""

    return _VARIABLE.sub(found, value)


def _parse(path: Path) -> dict[Any, Any]:
    try:
        import yaml  # noqa: PLC0415  only who reads a config file needs it
    except ModuleNotFoundError:
        raise SettingsError(
            f"reading {path} needs PyYAML: pip install PyYAML, or name the plugin and the address on the command line"
        ) from None
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no config file {path} (in {Path.cwd()})") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path} is no mapping with `lambdas:` in it")
    return document
