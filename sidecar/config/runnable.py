"""Checks of `--check` outside the config file: do the programs, plugins and sockets that it names exist here?

A start of the sidecar does not check them: a program may be installed later, and a plugin may be on another machine.
"""

from __future__ import annotations

import os
import shutil
import ssl
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from sidecar.config.base import Wrong
from sidecar.config.credentials import tokens_in
from sidecar.config.environment import with_interpreter_first
from sidecar.config.lambdas import LambdaConfig
from sidecar.config.mistakes import Mistake, dotted, key_shown
from sidecar.config.model import Config, TlsConfig
from sidecar.redact import masked

_FILE = ("file", "beside the config file or in the working directory")
_MODULE = ("module", "in the working directory or on Python's path")
SERVE = "sdk_python.serve"


def cannot_run(config: Config, environ: Mapping[str, str]) -> Iterator[Wrong]:
    """Mistakes that would keep the sidecar or its processes from running on this machine, with their lines."""
    for wrong in _found(config, environ):
        yield wrong._replace(line=config.line(wrong.loc))


def _found(config: Config, environ: Mapping[str, str]) -> Iterator[Wrong]:
    if config.server.tls is not None:
        yield from _tls(config.server.tls)
    yield from _token_files(config)
    yield from _socket(config)
    for name, one in config.lambdas.items():
        yield from _program(name, one, environ)
        if _serves(one):
            yield from _plugins(config, name, one, environ)


def doubtful(config: Config, environ: Mapping[str, str]) -> Iterator[Wrong]:
    """Plugins that are missing here, but may exist on the machine that needs them."""
    for name, one in config.lambdas.items():
        if not _serves(one):
            yield from _plugins(config, name, one, environ)


def as_mistake(wrong: Wrong) -> Mistake:
    """The mistake with its path as a text."""
    return Mistake(dotted(wrong.loc), wrong.message, wrong.hint, wrong.line)


def _serves(one: LambdaConfig) -> bool:
    """Whether the Python SDK loads the lambda's plugin on this machine."""
    return one.command is not None and SERVE in one.command


def _tls(tls: TlsConfig) -> Iterator[Wrong]:
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None)
        because = f": {reason}" if reason else ""
        message = f"the certificate {tls.certificate} and the key {tls.key} cannot be used{because}"
        yield Wrong(("server", "tls"), message, "they must be PEM, and the key the certificate's own, not encrypted")
    if tls.client_ca is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError):
            yield Wrong(
                ("server", "tls", "client_ca"), f"{tls.client_ca} has no usable certificate", "it must be PEM"
            )


def _token_files(config: Config) -> Iterator[Wrong]:
    for index, one in enumerate(config.server.identities):
        if one.token_file is None:
            continue
        try:
            tokens_in(one.token_file.read_text(errors="replace"))
        except (ValueError, OSError) as error:
            message, _, hint = (getattr(error, "strerror", None) or str(error)).partition("; ")
            yield Wrong(("server", "identities", index, "token_file"), f"{one.token_file}: {message}", hint)


def _socket(config: Config) -> Iterator[Wrong]:
    path = config.server.endpoint.path
    if not path:
        return
    where = ("server", "listen")
    if not Path(path).parent.is_dir():
        yield Wrong(where, f"there is no directory {str(Path(path).parent)!r} for the socket", "make it")
    elif Path(path).exists() and not Path(path).is_socket():
        yield Wrong(where, f"{path} is there, and no socket", "name another path, or delete it")


def _program(name: str, one: LambdaConfig, environ: Mapping[str, str]) -> Iterator[Wrong]:
    if one.command is None:
        return
    program = one.command[0]
    named = masked(key_shown(program))
    path = with_interpreter_first({**environ, **(one.env or {})})["PATH"]
    # A name with a slash is relative to the directory in which it runs.
    found = shutil.which(str((one.cwd or Path.cwd()) / program) if "/" in program else program, path=path)
    if found is None:
        hint = "is it installed, executable and in PATH?" if "/" not in program else "is it there, and executable?"
        yield Wrong(("lambdas", name, "command"), f"the program {named!r} cannot be found", hint)


def _plugins(config: Config, name: str, one: LambdaConfig, environ: Mapping[str, str]) -> Iterator[Wrong]:
    for key, text in (("plugin", one.plugin), ("document_lambda", one.document_lambda)):
        if text is not None and not _is_there(text, config, one, environ):
            kind, where = _FILE if _is_file(text) else _MODULE
            yield Wrong(("lambdas", name, key), f"the {kind} {text!r} cannot be found", f"it must be {where}")


def _is_file(text: str) -> bool:
    return text.endswith(".py")


def _is_there(text: str, config: Config, one: LambdaConfig, environ: Mapping[str, str]) -> bool:
    """Whether the Python SDK would find the plugin. Nothing is imported: that would run the plugin's code."""
    here = one.cwd or Path.cwd()
    if _is_file(text):
        beside = here if config.source is None else config.source.resolve().parent
        return any((folder / text).is_file() for folder in (beside, here))
    more = {**environ, **(one.env or {})}.get("PYTHONPATH", "").split(os.pathsep)
    folders = [str(here), *filter(None, more), *filter(None, sys.path)]
    for part in text.split("."):
        spec = PathFinder.find_spec(part, folders)
        if spec is None:
            return False
        folders = [*(spec.submodule_search_locations or ())]
    return True
