"""The command line: `kafka-sidecar` runs the sidecar; `status` and `resume` ask one that runs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, cast

import click
from click.core import ParameterSource

from sidecar import logs
from sidecar.config import ClientSettings, Config, ConfigError, LambdaConfig, client_settings, describe, dial, load
from sidecar.config.model import DEFAULT_LISTEN
from sidecar.operate.target import parse_target
from sidecar.version import VERSION

EXIT_CONFIG = 2
"""The exit code of a config file or a command line that cannot be used; click uses the same."""

_EPILOG = """
\b
Examples:
  kafka-sidecar --check                      is ./config.yaml right? Nothing is started
  kafka-sidecar --config prod.yaml           run until SIGTERM or Ctrl-C
  kafka-sidecar status                       who holds which partition, and how far it is
  kafka-sidecar resume deli/rawdeltas/3      let a halted partition go on

\b
The smallest config file:
  kafka:
    bootstrap.servers: localhost:9092        # or: embedded, for a broker of its own
  lambdas:
    deli:
      topic: rawdeltas
      group: deli

\b
Exit codes:
  0  stopped in order; or the command did what it should
  1  failed while running; or the sidecar did not answer, or refused
  2  the config file or the command line is wrong; nothing was started

\b
Environment:
  KAFKA_SIDECAR_CONFIG   the config file
  KAFKA_SIDECAR_ADDRESS  where status and resume dial
  KAFKA_SIDECAR_TOKEN    the server's token, for status and resume
"""


@click.group(invoke_without_command=True, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="KAFKA_SIDECAR_CONFIG",
    default=Path("config.yaml"),
    show_default="./config.yaml",
    show_envvar=True,
    metavar="PATH",
    help="The config file.",
)
@click.option("--check", is_flag=True, help="Check the config file, say what would run, and stop.")
@click.option(
    "--log-format", type=click.Choice(logs.FORMATS), help="How to log. Default: console on a terminal, else json."
)
@click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True, help="What to log.")
@click.version_option(VERSION, prog_name="kafka-sidecar")
@click.pass_context
def main(context: click.Context, path: Path, check: bool, log_format: logs.Format | None, log_level: str) -> None:
    """Consume Kafka and stream each partition to a lambda: your code, in any process and any language.

    The sidecar owns group membership, rebalances, offsets and back-pressure. A lambda process dials it over gRPC,
    gets the records of one partition in order, and says from time to time how far it has got. When the process
    dies, the sidecar keeps the place and the next one goes on from the last checkpoint.

    Without a command it runs the sidecar.
    """
    context.obj = path
    if context.invoked_subcommand is not None:
        if check:
            raise click.UsageError(f"--check does not go with {context.invoked_subcommand}: leave one of them out")
        return
    with _config_mistakes():
        config = load(path, os.environ)
    if check:
        _say_what_would_run(config, path)
        return
    context.exit(_run(config, path, log_format, log_level))


def _run(config: Config, path: Path, log_format: logs.Format | None, log_level: str) -> int:
    from sidecar import app  # noqa: PLC0415 - Kafka's client and gRPC load only when something runs

    logs.configure(log_format, log_level)
    log = logs.get_logger("sidecar.cli")
    log.info("starting", version=VERSION, file=str(path), config=describe(config))
    for warning in config.warnings:
        log.warning(warning)
    return asyncio.run(app.run(config))


_ADDRESS = click.option(
    "--address",
    envvar="KAFKA_SIDECAR_ADDRESS",
    show_envvar=True,
    help="Where the sidecar listens: host:port or unix:///path. Default: the config file's server.listen, "
    f"else {DEFAULT_LISTEN}.",
)
_TOKEN = click.option(
    "--token",
    envvar="KAFKA_SIDECAR_TOKEN",
    show_envvar=True,
    help="The server's token. Default: the config file's, when the address is from there too.",
)


@main.command()
@click.argument("target", metavar="LAMBDA/TOPIC/PARTITION")
@click.option("--skip", is_flag=True, help="Leave out the record that failed.")
@_ADDRESS
@_TOKEN
@click.pass_context
def resume(context: click.Context, target: str, skip: bool, address: str | None, token: str | None) -> None:
    """Let a halted partition go on from its checkpoint.

    Example: kafka-sidecar resume deli/rawdeltas/3. The record that failed comes again, so mend its cause first, or
    give --skip: then this one record is never handled.
    """
    try:
        parsed = parse_target(target)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="LAMBDA/TOPIC/PARTITION") from None
    where = _where(context, address, token)
    from sidecar.operate import client  # noqa: PLC0415 - gRPC loads only when it is needed

    with _remote_errors(where):
        click.echo(client.resume(where.address, where.token, str(parsed), skip))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the names of proto/admin.proto.")
@_ADDRESS
@_TOKEN
@click.pass_context
def status(context: click.Context, as_json: bool, address: str | None, token: str | None) -> None:
    """Show each lambda's processes and partitions, and how far they are."""
    where = _where(context, address, token)
    from sidecar.operate import client, show  # noqa: PLC0415 - gRPC loads only when it is needed

    with _remote_errors(where):
        answer = client.status(where.address, where.token)
    click.echo(show.status_json(answer) if as_json else show.status_text(answer, time.time_ns() // 1_000_000))


def _where(context: click.Context, address: str | None, token: str | None) -> ClientSettings:
    """Where to dial, and with which token. The file's token goes to the file's address only."""
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
    with _config_mistakes():
        settings = client_settings(path, os.environ)
    return settings._replace(token=token) if token else settings


@contextmanager
def _config_mistakes() -> Iterator[None]:
    """A config file that cannot be used: all its mistakes on stderr, and the exit code for it."""
    try:
        yield
    except ConfigError as error:
        click.echo(str(error), err=True)
        count = len(error.mistakes)
        click.echo(f"{error.path}: {count} mistake{'' if count == 1 else 's'}, nothing was started", err=True)
        raise click.exceptions.Exit(EXIT_CONFIG) from None


@contextmanager
def _remote_errors(where: ClientSettings) -> Iterator[None]:
    """What the sidecar refused, or that it is not there, as one sentence and exit code 1."""
    import grpc  # noqa: PLC0415 - gRPC loads only when it is needed

    try:
        yield
    except grpc.RpcError as error:
        _fail(where, error.code(), error.details() or "no reason was given")


def _fail(where: ClientSettings, code: object, details: str) -> NoReturn:
    import grpc  # noqa: PLC0415 - gRPC loads only when it is needed

    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        text = f"no sidecar answers at {where.address} ({details}); does it run? --address says where to dial"
    elif code is grpc.StatusCode.UNAUTHENTICATED:
        text = (
            f"the sidecar at {where.address} refuses the token ({details}); --token or $KAFKA_SIDECAR_TOKEN sets it"
        )
    else:
        text = f"the sidecar at {where.address} refuses: {details}"
    raise click.ClickException(text)


def _say_what_would_run(config: Config, path: Path) -> None:
    """What `--check` prints: a line for each part of the config, without secrets; then the verdict."""
    shown = describe(config)
    click.echo(f"kafka    {', '.join(f'{name}={value}' for name, value in shown['kafka'].items())}")
    secured = [name for name in ("tls", "token") if getattr(config.server, name) is not None]
    click.echo(f"server   {config.server.listen}{' with ' + ' and '.join(secured) if secured else ''}")
    click.echo(f"operate  {config.operate.listen if config.operate else 'no HTTP endpoint'}")
    for name, one in config.lambdas.items():
        click.echo(f"lambda   {name}: {', '.join(one.topics)} in group {one.group}; {_who_runs(one)}")
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{path}: ok")


def _who_runs(one: LambdaConfig) -> str:
    if one.command is None:
        return "its process dials in"
    # The program alone: its arguments may hold a secret.
    return f"the sidecar starts {one.command[0]}{f' {one.instances} times' if one.instances > 1 else ''}"
