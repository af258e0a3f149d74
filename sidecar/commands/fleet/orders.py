"""Sends an order about one partition to the sidecar that owns it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc

from sidecar.commands.failures import explained
from sidecar.commands.fleet.addresses import Fleet, Sidecar
from sidecar.commands.fleet.asking import Answer, ask_all
from sidecar.commands.fleet.owners import Owner, find_owner
from sidecar.commands.target import Target

ROUNDS = 5
"""How often all are asked for the owner while Kafka moves the partition."""

PAUSE_S = 1.0
"""Seconds between two rounds. Sidecars do not tell when a rebalance is over, so there is nothing to wait for."""

_OTHERS = "; if another sidecar of its group may own it, give all addresses, or --group: the owner gets the order"

T = TypeVar("T")


class OrderError(Exception):
    """The order was not carried out; the text says why and what helps, and is safe for a terminal."""


def send_to_owner(
    fleet: Fleet,
    target: Target,
    send: Callable[[Sidecar], T],
    note: Callable[[str], None],
    *,
    ask: Callable[[Fleet], Sequence[Answer]] = ask_all,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Sidecar, T]:
    """Find the owner of ``target`` among several sidecars, and send it the order. A lone sidecar just gets it.

    The owner may lose the partition after it was found. Then it refuses the order (NOT_FOUND), nothing has happened,
    and all are asked again, at most `ROUNDS` times. No second sidecar gets an order that a first one may have carried
    out.

    Args:
        fleet: the sidecars.
        target: the partition.
        send: sends the order to one sidecar. Raises ``grpc.RpcError``.
        note: is told why all are asked again.
        ask: asks all sidecars.
        sleep: waits for so many seconds.

    Returns the sidecar that carried it out, and its answer. Raises ``OrderError``.
    """
    if not fleet.several:
        [only] = fleet.sidecars
        try:
            return only, send(only)
        except grpc.RpcError as error:
            hint = _OTHERS if error.code() is grpc.StatusCode.NOT_FOUND else ""
            raise OrderError(explained(only.address, only.tls(fleet.tls), error) + hint) from None
    for left in range(ROUNDS - 1, -1, -1):
        found = find_owner(ask(fleet), target)
        if isinstance(found, Owner):
            try:
                return found.sidecar, send(found.sidecar)
            except grpc.RpcError as error:
                reason = explained(found.sidecar.address, found.sidecar.tls(fleet.tls), error)
                may_change = error.code() is grpc.StatusCode.NOT_FOUND
        else:
            reason, may_change = found
        if not (may_change and left):
            raise OrderError(reason)
        note(f"{reason}. Asking all of them again")
        sleep(PAUSE_S)
    raise AssertionError("unreachable: the last round returns or raises")
