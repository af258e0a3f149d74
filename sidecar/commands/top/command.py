"""The command `top`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from sidecar.commands.fleet.addresses import Fleet
from sidecar.commands.reaching import asks_sidecars
from sidecar.commands.status.command import chosen_argument

if TYPE_CHECKING:  # protobuf loads only when it is needed
    from sidecar.commands.status.selection import Chosen


@click.command()
@chosen_argument
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the sidecars are asked.",
)
@asks_sidecars
def top(fleet: Fleet, chosen: tuple[Chosen, ...], seconds: float) -> None:
    """Show the partitions live. Keys: e or Enter explains the row, s sorts, / filters, p pauses, r resumes, q quits.

    Before a partition is paused or resumed, a question has to be answered. What needs a person comes first.

    \b
    Examples:
      kafka-sidecar top
      kafka-sidecar top deli --every 0.5
    """
    if find_spec("textual") is None:
        raise click.ClickException("top needs Textual, which is not installed: pip install 'kafka-sidecar[top]'")
    from sidecar.commands.top.live import run  # noqa: PLC0415 - Textual

    run(fleet, chosen, seconds)
