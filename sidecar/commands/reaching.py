"""The options by which a command finds the sidecars that it calls."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource

from sdk_python._tls import Files, Tls, from_files
from sidecar.commands.failures import config_mistakes
from sidecar.commands.fleet.addresses import Fleet, Member, expanded, listed, of_members
from sidecar.config import ClientSettings, client_settings, load
from sidecar.config.listeners import DEFAULT_LISTEN
from sidecar.visible import visible

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
        "--group",
        metavar="GROUP",
        help="Only the lambdas of this consumer group. Without --address all sidecars of the group are asked: Kafka, "
        "as the config file says, knows their hosts, and each listens on the port of the file's server.listen.",
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
        group: str | None,
        token: str | None,
        tls: bool,
        ca: Path | None,
        certificate: Path | None,
        key: Path | None,
        **arguments: Any,
    ) -> None:
        # We report a failed handshake in one sentence; gRPC would log a line of its own before it.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        files = Files(ca, certificate, key)
        try:
            given = listed(addresses)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--address") from None
        members: tuple[Member, ...] = ()
        if given:
            settings = ClientSettings(given[0], token)
        elif group is None:
            settings = _settings(context, token)
            given = [settings.address]
        else:
            settings = _for_strangers(context, token, system=tls, ca=ca)
            members, given = _of_group(context, group)
        fleet = Fleet(expanded(given), settings.token, _tls(settings, tls, files), group, members)
        command(fleet, **arguments)

    made: Callable[..., None] = with_fleet
    for option in reversed(_HOW_TO_REACH_THEM):
        made = option(made)
    return made


def _settings(context: click.Context, token: str | None) -> ClientSettings:
    """What the config file says. Its token is sent to the config file's address only."""
    path = cast("Path", context.obj)
    parent = context.parent
    guessed = parent is not None and parent.get_parameter_source("path") is ParameterSource.DEFAULT
    if guessed and not path.exists():
        return ClientSettings(DEFAULT_LISTEN, token)
    with config_mistakes():
        settings = client_settings(path, os.environ)
    return settings._replace(token=token) if token else settings


def _for_strangers(context: click.Context, token: str | None, *, system: bool, ca: Path | None) -> ClientSettings:
    """What the config file says, for hosts that Kafka names: whoever may join the group could be there.

    So the config file's token goes along only where a certificate proves that a sidecar is there: the config's own,
    or one of the operator's authority. The system's authorities sign for anybody.
    """
    settings = _settings(context, token)
    proven = ca is not None or (settings.tls and not system)
    if settings.token and not token and not proven:
        raise click.UsageError(
            "the members of a group are at the hosts that Kafka names, and nothing proves that they are sidecars: "
            "the config file's token is sent there only with server.tls or --tls-ca. Give --token (or its variable) "
            "to send it all the same"
        )
    return settings


def _of_group(context: click.Context, group: str) -> tuple[tuple[Member, ...], list[str]]:
    """The group's members, and where their sidecars listen."""
    from sidecar.commands.fleet.members import MembersError, members_of  # noqa: PLC0415 - Kafka's client

    with config_mistakes():
        config = load(cast("Path", context.obj), os.environ)
    try:
        of_members((), config.server.listen)  # before Kafka is asked
        members = members_of(config, group)
        return members, of_members(members, config.server.listen)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except MembersError as error:
        raise click.ClickException(visible(str(error))) from None


def _tls(settings: ClientSettings, system: bool, files: Files) -> Tls | None:
    """``system``: trust the system's authorities, whatever the config file says."""
    if not (settings.tls or system or any(files)):
        return None
    try:
        return from_files(files, None if system else settings.certificate)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
