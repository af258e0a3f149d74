"""The command line: `kafka-sidecar` runs the sidecar; its commands call a running one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from sidecar import logs
from sidecar.commands.dead_letters import dead_letters
from sidecar.commands.failures import config_mistakes
from sidecar.commands.operator import COMMANDS
from sidecar.commands.say import say
from sidecar.config import Config, ConfigError, LambdaConfig, describe, load
from sidecar.config.lambdas import default_dead_letter_topic
from sidecar.config.runnable import as_mistake, cannot_run, doubtful
from sidecar.conformance.command import conformance
from sidecar.logs.capture import reserve_descriptors
from sidecar.version import VERSION

_EPILOG = """
\b
Examples:
  kafka-sidecar --check                      is ./config.yaml right? Nothing is started
  kafka-sidecar --config prod.yaml           run until SIGTERM or Ctrl-C
  kafka-sidecar status                       who holds which partition, and how far it is
  kafka-sidecar explain                      what stands still, why, and what helps
  kafka-sidecar top                          the same table live; pause and resume by a key
  kafka-sidecar resume deli/rawdeltas/3      let a halted or paused partition go on
  kafka-sidecar pause deli/rawdeltas/3       let a partition stand still
  kafka-sidecar seek deli/rawdeltas/3 --to 2026-11-24T14:05:00Z
                                             go on from another offset: handle again, or leave out

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
  3  some of several sidecars did not answer; what the others said is shown
  4  explain: something needs a person

\b
Environment:
  KAFKA_SIDECAR_CONFIG       the config file
  KAFKA_SIDECAR_ADDRESS      where the commands dial; several with commas
  KAFKA_SIDECAR_ADMIN_TOKEN  the operators' token, for the commands
  KAFKA_SIDECAR_TOKEN        ... the lambdas' token, where there is no other
  KAFKA_SIDECAR_CA           PEM file with what the commands trust; with it they speak TLS
  KAFKA_SIDECAR_CERT         PEM file with the certificate that they show
  KAFKA_SIDECAR_KEY          ... and its key
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
    dies, the sidecar keeps the partition, and the next process goes on from the last checkpoint.

    Without a command it runs the sidecar.
    """
    reserve_descriptors()
    context.obj = path
    if context.invoked_subcommand is not None:
        if check:
            raise click.UsageError(f"--check does not go with {context.invoked_subcommand}: leave one of them out")
        return
    with config_mistakes():
        config = load(path, os.environ)
        if check:
            _check_this_machine(config, path)
    if check:
        _say_what_would_run(config, path)
        return
    context.exit(_run(config, path, log_format, log_level))


def _run(config: Config, path: Path, log_format: logs.Format | None, log_level: str) -> int:
    # Kafka's client and gRPC load only when something runs.
    from sdk_python._event_loop import new_event_loop  # noqa: PLC0415
    from sidecar import app  # noqa: PLC0415

    logs.configure(log_format, log_level)
    with logs.own_stderr():
        log = logs.get_logger("sidecar.cli")
        log.info("starting", version=VERSION, file=str(path), config=describe(config))
        for warning in (*config.warnings, *map(as_mistake, cannot_run(config, os.environ))):
            log.warning(str(warning))
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(app.run(config))


for _command in (*COMMANDS, conformance, dead_letters):
    main.add_command(_command)


def _check_this_machine(config: Config, path: Path) -> None:
    """Check that this machine has everything that the config names. Raises ``ConfigError``."""
    found = [*map(as_mistake, cannot_run(config, os.environ))]
    if found:
        raise ConfigError(path, found)
    for one in map(as_mistake, doubtful(config, os.environ)):
        say(f"warning: {one}, unless its process runs elsewhere", err=True)


def _say_what_would_run(config: Config, path: Path) -> None:
    """Print the output of `--check`: a line for each part of the config, without secrets; then the verdict."""
    shown = describe(config)
    say(f"kafka    {', '.join(f'{name}={value}' for name, value in shown['kafka'].items())}")
    server = config.server
    secrets = {"tls": server.tls, "token": server.token, "admin token": server.admin_token}
    secured = [name for name, value in secrets.items() if value is not None]
    secured += [f"the identity {one.name}" for one in server.identities]
    say(f"server   {server.listen}{' with ' + ' and '.join(secured) if secured else ''}")
    say(f"operate  {config.operate.listen if config.operate else 'no HTTP endpoint'}")
    for name, one in config.lambdas.items():
        does = f"{_who_runs(one)}{_on_critical(name, one)}"
        say(f"lambda   {name}: {', '.join(one.topics)} in group {one.group}; {does}")
    for warning in config.warnings:
        say(f"warning: {warning}", err=True)
    say(f"{path}: ok")


def _who_runs(one: LambdaConfig) -> str:
    if one.command is None:
        return "its process dials in"
    # Only the program: its arguments may hold a secret.
    return f"the sidecar starts {one.command[0]}{f' {one.instances} times' if one.instances > 1 else ''}"


def _on_critical(name: str, one: LambdaConfig) -> str:
    """The text about `on_critical`; empty for the default."""
    if one.on_critical == "dead-letter":
        return f"; dead letters go to {one.dead_letter_topic or default_dead_letter_topic(name, 'TOPIC')}"
    return "; a critical error ends the sidecar" if one.on_critical == "exit" else ""
