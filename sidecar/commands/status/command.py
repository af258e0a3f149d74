"""The command `status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from sidecar.commands.failures import EXIT_PARTIAL
from sidecar.commands.fleet.addresses import Fleet
from sidecar.commands.reaching import asks_sidecars
from sidecar.commands.say import say
from sidecar.commands.status import terminal

if TYPE_CHECKING:  # protobuf loads only when it is needed
    from sidecar.commands.fleet.asking import Answer
    from sidecar.commands.status.selection import Chosen

_STATES = ("running", "waiting", "starting", "draining", "backing-off", "halted", "paused", "resolving", "problem")

WHICH = "[LAMBDA[/TOPIC[/PARTITION]]]..."


def chosen_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument that names lambdas, topics and partitions; the command gets a tuple of `Chosen`."""

    def callback(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[Chosen, ...]:
        from sidecar.commands.status.selection import parse_chosen  # noqa: PLC0415 - protobuf

        try:
            return tuple(map(parse_chosen, value))
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    made: Callable[..., None] = click.argument("chosen", metavar=WHICH, nargs=-1, callback=callback)(command)
    return made


def ask(fleet: Fleet, chosen: Sequence[Chosen]) -> list[Answer]:
    """The answers of all sidecars, with what is chosen only. Each status has a time: the client's, if it is an old
    sidecar's.

    Raises ``ClickException`` when no sidecar answers, or none has what is chosen.
    """
    from sidecar.commands.fleet.asking import Answered, Failed, ask_all  # noqa: PLC0415 - gRPC
    from sidecar.commands.fleet.owners import no_answer  # noqa: PLC0415
    from sidecar.commands.status.selection import narrowed, not_there  # noqa: PLC0415

    answers = ask_all(fleet)
    answered = [one for one in answers if isinstance(one, Answered)]
    if not answered:
        raise click.ClickException(no_answer([one for one in answers if isinstance(one, Failed)]))
    missing = not_there(chosen, [one.status for one in answered])
    if missing:
        raise click.ClickException(missing)
    for one in answered:
        one.status.now_ms = one.status.now_ms or time.time_ns() // 1_000_000
    return [
        one._replace(status=narrowed(one.status, chosen)) if isinstance(one, Answered) else one for one in answers
    ]


@click.command()
@chosen_argument
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    help="Only partitions in this state; `problem`: only those that need a person. Several: give it again.",
)
@click.option("--wide", is_flag=True, help="All columns.")
@click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Show it again and again, until Ctrl-C; every 2 seconds by default.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the names of proto/admin.proto.")
@asks_sidecars
def status(
    fleet: Fleet,
    chosen: tuple[Chosen, ...],
    states: tuple[str, ...],
    wide: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Show each lambda's processes and partitions, and how far they are.

    \b
    Examples:
      kafka-sidecar status
      kafka-sidecar status deli --state problem
      kafka-sidecar status --watch
      kafka-sidecar status --address sidecar:50051 --tls-ca ca.pem
      kafka-sidecar status --address 10.0.0.3:50051,10.0.0.4:50051
      kafka-sidecar status --group deli
      kafka-sidecar status --json | jq '.lambdas[].partitions[] | select(.outstanding > 0)'
    """
    if seconds is not None:
        if as_json:
            raise click.UsageError("--watch does not go with --json: leave one of them out")
        terminal.watch(lambda: _text_or_failure(fleet, chosen, states, wide), seconds)
        return
    answers = _in_states(ask(fleet, chosen), states)
    if as_json:
        say(_json(answers))
    else:
        terminal.write(_text(answers, wide, fleet))
    if any_failed(answers):
        raise click.exceptions.Exit(EXIT_PARTIAL)


def any_failed(answers: Sequence[Answer]) -> bool:
    """Whether a sidecar did not answer."""
    from sidecar.commands.fleet.asking import Failed  # noqa: PLC0415 - gRPC

    return any(isinstance(one, Failed) for one in answers)


def _in_states(answers: Sequence[Answer], states: Sequence[str]) -> list[Answer]:
    from sidecar.commands.fleet.asking import Answered  # noqa: PLC0415 - gRPC
    from sidecar.commands.status.selection import in_states  # noqa: PLC0415

    return [
        one._replace(status=in_states(one.status, states)) if isinstance(one, Answered) else one for one in answers
    ]


def _json(answers: Sequence[Answer]) -> str:
    from sidecar.commands.fleet.asking import Answered  # noqa: PLC0415 - gRPC
    from sidecar.commands.fleet.merged import merged_json  # noqa: PLC0415
    from sidecar.commands.show import status_json  # noqa: PLC0415

    only = answers[0]
    return status_json(only.status) if len(answers) == 1 and isinstance(only, Answered) else merged_json(answers)


def _text(answers: Sequence[Answer], wide: bool, fleet: Fleet) -> str:
    from sidecar.commands.status.text import View, status_text  # noqa: PLC0415 - protobuf

    return status_text(answers, View(wide, terminal.has_colour(), terminal.width()), fleet.members)


def _text_or_failure(fleet: Fleet, chosen: Sequence[Chosen], states: Sequence[str], wide: bool) -> str:
    """What is watched may be away for a while: that is shown, and asked again."""
    try:
        return _text(_in_states(ask(fleet, chosen), states), wide, fleet)
    except click.ClickException as error:
        return error.format_message()
