"""The options by which a command finds the sidecars that it calls."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource

from sdk_python._tls import Files, from_files
from sidecar.commands.failures import config_mistakes
from sidecar.commands.fleet.addresses import Fleet, expanded, listed
from sidecar.config import ClientSettings, client_settings
from sidecar.config.listeners import DEFAULT_LISTEN

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HOW_TO_REACH_THEM = (
    click.option(
        "--address",
        "addresses",
        multiple=True,
        envvar="KAFKA_SIDECAR_ADDRESS",
        show_envvar=True,
        help="Where the sidecar listens: host:port or unix:///path. Several, with commas or by giving the option "
        "again: all are asked, as are all addresses of a name that has several. Default: the config file's "
        f"server.listen, else {DEFAULT_LISTEN}.",
    ),
    click.option(
        "--token",
        envvar=["KAFKA_SIDECAR_ADMIN_TOKEN", "KAFKA_SIDECAR_TOKEN"],
        show_envvar=True,
        help="The operators' token, or the lambdas' where there is no other. Default: the config file's, when the "
        "address is from there too.",
    ),
    click.option("--tls", is_flag=True, help="Encrypt, and trust the system's authorities."),
    click.option(
        "--tls-ca",
        "--ca",
        "ca",
        type=_FILE,
        envvar="KAFKA_SIDECAR_CA",
        show_envvar=True,
        metavar="FILE",
        help="Encrypt, and trust the authorities in this PEM file. Default: where the address is the config file's "
        "and server.tls is set, that very certificate.",
    ),
    click.option(
        "--tls-cert",
        "--cert",
        "certificate",
        type=_FILE,
        envvar="KAFKA_SIDECAR_CERT",
        show_envvar=True,
        metavar="FILE",
        help="Encrypt, and show this certificate (PEM). A server with client_ca asks for one.",
    ),
    click.option(
        "--tls-key",
        "--key",
        "key",
        type=_FILE,
        envvar="KAFKA_SIDECAR_KEY",
        show_envvar=True,
        metavar="FILE",
        help="The key of --tls-cert (PEM).",
    ),
)


def asks_sidecars(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name the sidecars to a command, which gets them as one `Fleet`."""

    @click.pass_context
    @functools.wraps(command)
    def with_fleet(
        context: click.Context,
        /,
        addresses: tuple[str, ...],
        token: str | None,
        tls: bool,
        ca: Path | None,
        certificate: Path | None,
        key: Path | None,
        **arguments: Any,
    ) -> None:
        # We report a failed handshake in one sentence; gRPC would log a line of its own before it.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        settings, several = _settings(context, addresses, token)
        files = Files(ca, certificate, key)
        command(_fleet(settings, several, tls, files), **arguments)

    made: Callable[..., None] = with_fleet
    for option in reversed(_HOW_TO_REACH_THEM):
        made = option(made)
    return made


def _settings(context: click.Context, given: tuple[str, ...], token: str | None) -> tuple[ClientSettings, list[str]]:
    """The settings, and all addresses. The config file's token is sent to the config file's address only."""
    try:
        addresses = listed(given)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--address") from None
    if addresses:
        return ClientSettings(addresses[0], token), addresses
    path = cast("Path", context.obj)
    parent = context.parent
    guessed = parent is not None and parent.get_parameter_source("path") is ParameterSource.DEFAULT
    if guessed and not path.exists():
        settings = ClientSettings(DEFAULT_LISTEN, token)
    else:
        with config_mistakes():
            settings = client_settings(path, os.environ)
    settings = settings._replace(token=token) if token else settings
    return settings, [settings.address]


def _fleet(settings: ClientSettings, addresses: list[str], system: bool, files: Files) -> Fleet:
    """``system``: trust the system's authorities, whatever the config file says."""
    tls = None
    if settings.tls or system or any(files):
        try:
            tls = from_files(files, None if system else settings.certificate)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    return Fleet(expanded(addresses), settings.token, tls)
