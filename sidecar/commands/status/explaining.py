"""The command `explain`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

import click

from sidecar.commands.failures import EXIT_NEEDS_A_PERSON, EXIT_PARTIAL
from sidecar.commands.fleet.addresses import Fleet
from sidecar.commands.reaching import asks_sidecars
from sidecar.commands.say import say
from sidecar.commands.status import terminal
from sidecar.commands.status.command import any_failed, ask, chosen_argument

if TYPE_CHECKING:  # protobuf loads only when it is needed
    from sidecar.commands.fleet.asking import Answer
    from sidecar.commands.status.selection import Chosen
    from sidecar.explain import Finding

_INDENT = 8
"""Columns of an urgency's word and the space after it."""


@click.command()
@chosen_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON: the findings, the most urgent first.")
@asks_sidecars
def explain(fleet: Fleet, chosen: tuple[Chosen, ...], as_json: bool) -> None:
    """Say in plain sentences what stands still, why, and what helps; the most urgent first.

    Each begins with how urgent it is. act: nothing but a person ends it. look: somebody should look. passes: it goes
    on by itself. well: all is as it should be.

    \b
    Exit codes: 0 if nothing needs a person (passes and well only), 4 if something does.

    \b
    Examples:
      kafka-sidecar explain
      kafka-sidecar explain deli
      kafka-sidecar explain deli/rawdeltas/3
      kafka-sidecar explain --json | jq -r '.findings[] | select(.urgency == "act").cause'
    """
    from sidecar.explain import needs_a_person  # noqa: PLC0415 - protobuf

    answers = ask(fleet, chosen)
    found = _findings(answers, UTC if as_json else datetime.now().astimezone().tzinfo)
    if as_json:
        say(json.dumps(_plain(answers, found), indent=2))
    else:
        terminal.write("\n".join(_lines(answers, found, fleet.several)))
    if needs_a_person(one for _, one in found):
        raise click.exceptions.Exit(EXIT_NEEDS_A_PERSON)
    if any_failed(answers):
        raise click.exceptions.Exit(EXIT_PARTIAL)


def _findings(answers: Sequence[Answer], zone: tzinfo | None) -> list[tuple[str, Finding]]:
    """What each sidecar's answer says, with its address; the most urgent of all first."""
    from sidecar import explain as explanation  # noqa: PLC0415 - protobuf
    from sidecar.commands.fleet.asking import Answered  # noqa: PLC0415 - gRPC

    found = [
        (one.sidecar.address, finding)
        for one in answers
        if isinstance(one, Answered)
        for finding in explanation.explain(one.status, zone)
    ]
    return sorted(found, key=lambda one: -one[1].urgency)


def _plain(answers: Sequence[Answer], found: Sequence[tuple[str, Finding]]) -> dict[str, object]:
    from sidecar.commands.fleet.asking import Failed  # noqa: PLC0415 - gRPC

    sidecars = [
        {"address": one.sidecar.address, **({"error": one.reason} if isinstance(one, Failed) else {})}
        for one in answers
    ]
    return {"sidecars": sidecars, "findings": [{"sidecar": address, **one.plain()} for address, one in found]}


def _lines(answers: Sequence[Answer], found: Sequence[tuple[str, Finding]], several: bool) -> Iterator[str]:
    from sidecar.commands.fleet.asking import Failed  # noqa: PLC0415 - gRPC
    from sidecar.commands.status.text import COLOURS  # noqa: PLC0415 - protobuf
    from sidecar.explain import Urgency  # noqa: PLC0415

    for answer in answers:
        if isinstance(answer, Failed):
            yield from _paragraph("look", COLOURS[Urgency.LOOK], f"{answer.reason[:1].upper()}{answer.reason[1:]}.")
    for address, one in found:
        where = f"At {address}: " if several else ""
        yield from _paragraph(one.urgency.name.lower(), COLOURS[one.urgency], f"{where}{one.text}")
    if not found:
        yield "there is no lambda"


def _paragraph(word: str, colour: str, text: str) -> Iterator[str]:
    """On a terminal: wrapped, and a line is left empty after it. Elsewhere it is one line, for `grep`."""
    columns = terminal.width()
    shown = click.style(word.ljust(_INDENT), fg=colour, bold=True) if terminal.has_colour() else word.ljust(_INDENT)
    if columns is None:
        yield f"{shown}{text}"
        return
    width = max(40, min(columns, 100) - _INDENT)
    first, *others = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    yield f"{shown}{first}"
    yield from (f"{' ' * _INDENT}{line}" for line in others)
    yield ""
