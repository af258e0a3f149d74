"""The operator's commands `status`, `resume`, `pause` and `seek`, which call a running sidecar."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
from click.core import ParameterSource

from sdk_python._tls import Files, Tls, from_files
from sidecar.commands.failures import config_mistakes, remote_errors
from sidecar.commands.offset_spec import OffsetSpec, parse_offset_spec
from sidecar.commands.say import say
from sidecar.commands.target import Target, parse_target
from sidecar.config import ClientSettings, client_settings, dial
from sidecar.config.listeners import DEFAULT_LISTEN


class Remote(NamedTuple):
    """The sidecar that a command calls."""

    address: str
    token: str | None
    tls: Tls | None


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str], Any]:
    """A click callback that parses a value with ``parse``, whose ``ValueError`` says what was expected."""

    def callback(context: click.Context, parameter: click.Parameter, value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return callback


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HOW_TO_REACH_IT = (
    click.option(
        "--address",
        envvar="KAFKA_SIDECAR_ADDRESS",
        show_envvar=True,
        help="Where the sidecar listens: host:port or unix:///path. Default: the config file's server.listen, "
        f"else {DEFAULT_LISTEN}.",
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


def _asks_a_sidecar(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name the sidecar to a command, which gets them as one `Remote`."""

    @click.pass_context
    @functools.wraps(command)
    def with_remote(
        context: click.Context,
        /,
        address: str | None,
        token: str | None,
        tls: bool,
        ca: Path | None,
        certificate: Path | None,
        key: Path | None,
        **arguments: Any,
    ) -> None:
        # We report a failed handshake in one sentence; gRPC would log a line of its own before it.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        settings = _settings(context, address, token)
        files = Files(ca, certificate, key)
        command(_remote(settings, tls, files), **arguments)

    made: Callable[..., None] = with_remote
    for option in reversed(_HOW_TO_REACH_IT):
        made = option(made)
    return made


def _settings(context: click.Context, address: str | None, token: str | None) -> ClientSettings:
    """The address and the token. The config file's token is sent to the config file's address only."""
    if address:
        try:
            return ClientSettings(dial(address), token)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--address") from None
    path = cast("Path", context.obj)
    parent = context.parent
    guessed = parent is not None and parent.get_parameter_source("path") is ParameterSource.DEFAULT
    if guessed and not path.exists():
        return ClientSettings(DEFAULT_LISTEN, token)
    with config_mistakes():
        settings = client_settings(path, os.environ)
    return settings._replace(token=token) if token else settings


def _remote(settings: ClientSettings, system: bool, files: Files) -> Remote:
    """``system``: trust the system's authorities, whatever the config file says."""
    if not (settings.tls or system or any(files)):
        return Remote(settings.address, settings.token, None)
    try:
        made = from_files(files, None if system else settings.certificate)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Remote(settings.address, settings.token, made)


_target = click.argument("target", metavar="LAMBDA/TOPIC/PARTITION", callback=_parsed(parse_target))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the names of proto/admin.proto.")
@_asks_a_sidecar
def status(remote: Remote, as_json: bool) -> None:
    """Show each lambda's processes and partitions, and how far they are.

    \b
    Examples:
      kafka-sidecar status
      kafka-sidecar status --address sidecar:50051 --tls-ca ca.pem
      kafka-sidecar status --json | jq '.lambdas[].partitions[] | select(.outstanding > 0)'
    """
    from sidecar.commands import client, show  # noqa: PLC0415 - gRPC loads only when it is needed

    with remote_errors(remote.address, remote.tls):
        answer = client.status(remote.address, remote.token, remote.tls)
    say(show.status_json(answer) if as_json else show.status_text(answer, time.time_ns() // 1_000_000))


@click.command()
@_target
@click.option("--skip", is_flag=True, help="Leave out the record that failed.")
@_asks_a_sidecar
def resume(remote: Remote, target: Target, skip: bool) -> None:
    """Let a halted or paused partition go on.

    It goes on after its last checkpoint. The record that halted it comes again, so mend the cause first, or give
    --skip: then this one record is never handled.

    \b
    Examples:
      kafka-sidecar resume deli/rawdeltas/3
      kafka-sidecar resume deli/rawdeltas/3 --skip
    """
    from sidecar.commands import answers, client  # noqa: PLC0415 - gRPC loads only when it is needed

    with remote_errors(remote.address, remote.tls):
        answer = client.resume(remote.address, remote.token, target, skip, remote.tls)
    say(answers.resumed(target, answer))


@click.command()
@_target
@click.option("--reason", metavar="TEXT", default="", help="Why; `status` shows it.")
@_asks_a_sidecar
def pause(remote: Remote, target: Target, reason: str) -> None:
    """Let a partition stand still until `resume`.

    Its lambda may finish what it has in hand; when the command ends, nothing of the partition is in work. The pause
    holds as long as this sidecar owns the partition.

    \b
    Example:
      kafka-sidecar pause deli/rawdeltas/3 --reason "database migration"
    """
    from sidecar.commands import answers, client  # noqa: PLC0415 - gRPC loads only when it is needed

    with remote_errors(remote.address, remote.tls):
        answer = client.pause(remote.address, remote.token, target, reason, remote.tls)
    say(answers.paused(target, answer))


@click.command()
@_target
@click.option(
    "--to",
    required=True,
    callback=_parsed(parse_offset_spec),
    metavar="OFFSET|TIMESTAMP|earliest|latest",
    help="An offset; a time in ISO 8601, which is local time without a zone; @ and milliseconds since the epoch; "
    "earliest: the oldest record that is left; latest: after the newest.",
)
@_asks_a_sidecar
def seek(remote: Remote, target: Target, to: OffsetSpec) -> None:
    """Move a partition to another offset, back or forth.

    Back: records are handled again. Forth: records are left out, and handled by nobody. What its lambda has in hand
    no longer counts, and the new offset is committed when the command ends. To a time: the first record that is not
    older. A halted or paused partition stays so until `resume`.

    \b
    Examples:
      kafka-sidecar seek deli/rawdeltas/3 --to 1234
      kafka-sidecar seek deli/rawdeltas/3 --to 2026-11-24T14:05:00Z
      kafka-sidecar seek deli/rawdeltas/3 --to @1790000000000
      kafka-sidecar seek deli/rawdeltas/3 --to earliest
    """
    from sidecar.commands import answers, client  # noqa: PLC0415 - gRPC loads only when it is needed

    with remote_errors(remote.address, remote.tls):
        answer = client.seek(remote.address, remote.token, target, to, remote.tls)
    say(answers.sought(target, to, answer))


COMMANDS: tuple[click.Command, ...] = (status, resume, pause, seek)
