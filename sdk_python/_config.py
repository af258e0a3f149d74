"""The few fields of the sidecar's config file that a lambda process needs: where the sidecar is, what to load.

All other fields are the sidecar's business, and are not looked at here. The file is read by the same rules as in the
sidecar (`_expansion`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from ._errors import SettingsError
from ._expansion import read_scalar

CONFIG_VARIABLE: Final = "KAFKA_SIDECAR_CONFIG"
ADDRESS_VARIABLE: Final = "KAFKA_SIDECAR_ADDRESS"
TOKEN_VARIABLE: Final = "KAFKA_SIDECAR_TOKEN"  # noqa: S105  a name, no secret
_Loc = tuple[object, ...]
_DEFAULT: Final = Path("config.yaml")
_MAX_LEVELS: Final = 100  # a config file has six


@dataclass(frozen=True, slots=True)
class LambdaConfig:
    """What the file says about one lambda and about how to reach the sidecar. None: it says nothing."""

    path: Path
    plugin: str | None = None
    document_lambda: str | None = None
    address: str | None = None
    token: str | None = None
    tls: bool = False
    """Whether the sidecar encrypts."""
    certificate: Path | None = None
    """The sidecar's own certificate, if it encrypts."""

    def beside(self, file: str) -> str:
        """Find a file that the config names: beside the config, or else in the working directory."""
        found = self.path.parent / file
        return str(found) if found.is_file() else file


def find_config(option: str | None, environ: Mapping[str, str]) -> Path | None:
    """Return ``--config``, or ``$KAFKA_SIDECAR_CONFIG``, or ``./config.yaml`` if it exists, or None."""
    if option or environ.get(CONFIG_VARIABLE):
        return Path(option or environ[CONFIG_VARIABLE])
    return _DEFAULT if _DEFAULT.is_file() else None


def read_config(path: Path, name: str, environ: Mapping[str, str] = os.environ) -> LambdaConfig:
    """Read what the file says about the lambda ``name``. Values of the environment come before it.

    Raises ``SettingsError`` when the file cannot be read or does not have this lambda.
    """
    document, broken = _parse(path, environ)
    lambdas = document.get("lambdas")
    if not isinstance(lambdas, dict) or name not in lambdas:
        known = ", ".join(map(str, lambdas)) if isinstance(lambdas, dict) and lambdas else "none"
        raise SettingsError(f"lambda {name!r} is not in {path}; it has: {known}")

    def text(section: object, *where: str) -> str | None:
        value = section.get(where[-1]) if isinstance(section, dict) else None
        if value is None:
            return None
        if where in broken:
            raise SettingsError(f"{path}: {'.'.join(where)}: {broken[where]}")
        if not isinstance(value, str):
            raise SettingsError(f"{path}: {'.'.join(where)}: expected text, got {type(value).__name__}")
        return value

    here, server = lambdas[name], document.get("server")
    tls = server.get("tls") if isinstance(server, dict) else None
    certificate = text(tls, "server", "tls", "certificate")
    made = LambdaConfig(
        path=path,
        plugin=text(here, "lambdas", name, "plugin"),
        document_lambda=text(here, "lambdas", name, "document_lambda"),
        address=environ.get(ADDRESS_VARIABLE) or text(server, "server", "listen"),
        token=environ.get(TOKEN_VARIABLE) or text(server, "server", "token"),
        tls=tls is not None,
    )
    if certificate is None:
        return made
    # For the sidecar, a relative path starts in its working directory. This process may have another.
    there = Path(certificate) if Path(certificate).is_file() else Path(made.beside(certificate))
    return replace(made, certificate=there)


def _parse(path: Path, environ: Mapping[str, str]) -> tuple[dict[Any, Any], dict[_Loc, str]]:
    """Return the content of the file, and by path in the document what is wrong with a variable."""
    try:
        import yaml  # noqa: PLC0415  needed only to read a config file
    except ModuleNotFoundError:
        raise SettingsError(
            f"reading {path} needs PyYAML: pip install PyYAML, or name the plugin and the address on the command line"
        ) from None
    broken: dict[_Loc, str] = {}
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        try:
            root = loader.get_single_node()
            _expand(root, (), environ, broken, set())
            document = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except FileNotFoundError:
        raise SettingsError(f"there is no config file {path} (in {Path.cwd()})") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path} is no mapping with `lambdas:` in it")
    return document, broken


def _expand(node: Any, loc: _Loc, environ: Mapping[str, str], broken: dict[_Loc, str], seen: set[int]) -> None:
    """Expand the variables in a node of YAML. Mistakes are kept: most fields are not read by this process."""
    if node is None or id(node) in seen:
        return  # it is an alias, which is expanded where its anchor is
    if len(loc) > _MAX_LEVELS:
        raise ValueError(f"it is nested more than {_MAX_LEVELS} levels deep")
    seen.add(id(node))
    if isinstance(node.value, str):
        read_scalar(node, loc, environ, partial(_note, broken, loc))
    elif node.id == "mapping":
        for key, value in node.value:
            merged = key.tag.endswith(":merge")
            _expand(value, loc if merged else (*loc, key.value), environ, broken, seen)
    else:
        for index, value in enumerate(node.value):
            _expand(value, (*loc, index), environ, broken, seen)


def _note(broken: dict[_Loc, str], loc: _Loc, _: str, message: str, hint: str) -> None:
    broken[loc] = f"{message}; {hint}"
