"""The arguments and options that the commands about dead letters share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from sidecar.commands.dead_letters.session import Wanted
from sidecar.dead_letters.choice import chosen, parse_which
from sidecar.dead_letters.letter import Place


def _parsed(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Place | str, ...]:
    """A click callback: letters' places, and fingerprints."""
    try:
        return tuple(map(parse_which, texts))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def about_letters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments that name letters to a command, which gets them as one `Wanted`."""

    @functools.wraps(command)
    def with_wanted(which: tuple[Place | str, ...], lambda_name: str | None, topic: str | None, **rest: Any) -> None:
        command(Wanted(chosen(which, lambda_name), topic), **rest)

    made: Callable[..., None] = with_wanted
    made = click.option("--topic", metavar="TOPIC", help="Only this dead-letter topic; the config need not name it.")(
        made
    )
    made = click.option("--lambda", "lambda_name", metavar="NAME", help="Only the dead letters of this lambda.")(made)
    return click.argument("which", nargs=-1, callback=_parsed, metavar="[WHICH]...")(made)


yes = click.option("--yes", is_flag=True, help="Do not ask.")
"""For commands that change something."""


def confirmed(question: str, assumed: bool) -> None:
    """Ask, unless ``assumed``. Raises ``click.Abort`` when the answer is no."""
    if assumed:
        return
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        click.echo("nothing was changed; --yes does not ask", err=True)
        raise
