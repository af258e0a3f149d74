"""Connects the program of `top` with the sidecars."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sidecar.commands import answers, client
from sidecar.commands.fleet.addresses import Fleet, Sidecar
from sidecar.commands.fleet.asking import Answer
from sidecar.commands.fleet.orders import OrderError, send_to_owner
from sidecar.commands.status.command import ask
from sidecar.commands.status.rows import Row
from sidecar.commands.status.selection import Chosen
from sidecar.commands.target import Target
from sidecar.commands.top.app import Deed, Top, TopError


def run(fleet: Fleet, chosen: Sequence[Chosen], seconds: float) -> None:
    """Show what is chosen of the sidecars' partitions until the user ends it; ask again every ``seconds``."""

    def asked() -> list[Answer]:
        try:
            return ask(fleet, chosen)
        except click.ClickException as error:
            raise TopError(error.format_message()) from None

    def act(deed: Deed, row: Row) -> str:
        try:
            return _carry_out(fleet, deed, row)
        except OrderError as error:
            raise TopError(str(error)) from None

    Top(asked, act, seconds, several=fleet.several).run()


def _carry_out(fleet: Fleet, deed: Deed, row: Row) -> str:
    """Pause or resume a partition at its owner. Returns what it answered. Raises ``OrderError``."""
    target = Target(row.of.name, row.place.topic, row.place.partition, row.lane)

    def pause(one: Sidecar) -> str:
        return answers.paused(target, client.pause(one.address, fleet.token, target, "", one.tls(fleet.tls)))

    def resume(one: Sidecar) -> str:
        return answers.resumed(target, client.resume(one.address, fleet.token, target, False, one.tls(fleet.tls)))

    _, told = send_to_owner(fleet, target, pause if deed == "pause" else resume, lambda _: None)
    return told
