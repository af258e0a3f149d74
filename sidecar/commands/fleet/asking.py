"""Asks all sidecars for their status at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import grpc

from sdk_python.protocol import admin_pb2
from sidecar.commands import client
from sidecar.commands.failures import explained
from sidecar.commands.fleet.addresses import MAX_AT_ONCE, Fleet, Sidecar


class Answered(NamedTuple):
    """A sidecar that answered."""

    sidecar: Sidecar
    status: admin_pb2.StatusResponse


class Failed(NamedTuple):
    """A sidecar that did not answer, or refused."""

    sidecar: Sidecar
    reason: str
    """The address, the cause and the remedy, in one sentence without a full stop; safe for a terminal."""


Answer: TypeAlias = Answered | Failed


def ask_all(fleet: Fleet) -> list[Answer]:
    """Ask all sidecars of ``fleet`` at the same time.

    Each has `client.TIMEOUT_S` seconds: one that hangs delays the others' answers by no more than that. Never raises
    for what a sidecar does. A sidecar that answers at two addresses is in the result once.

    Returns the answers in the order of ``fleet.sidecars``.
    """
    with ThreadPoolExecutor(min(len(fleet.sidecars), MAX_AT_ONCE)) as pool:
        return once_each(pool.map(lambda one: _ask(fleet, one), fleet.sidecars))


def once_each(answers: Iterable[Answer]) -> list[Answer]:
    """Leave out the further answers of a sidecar that was asked at several addresses."""
    seen: set[tuple[str, int, int]] = set()
    kept: list[Answer] = []
    for answer in answers:
        if isinstance(answer, Answered) and answer.status.pid:  # an older sidecar does not say which process it is
            run = (answer.status.host, answer.status.pid, answer.status.started_at_ms)
            if run in seen:
                continue
            seen.add(run)
        kept.append(answer)
    return kept


def _ask(fleet: Fleet, one: Sidecar) -> Answer:
    tls = one.tls(fleet.tls)
    try:
        status = client.status(one.address, fleet.token, tls)
    except grpc.RpcError as error:
        return Failed(one, explained(one.address, tls, error))
    return Answered(one, _of_group(status, fleet.group))


def _of_group(status: admin_pb2.StatusResponse, group: str | None) -> admin_pb2.StatusResponse:
    """The status with the lambdas of ``group`` only; None: with all."""
    if group is None:
        return status
    mine = [one for one in status.lambdas if one.group == group]
    del status.lambdas[:]
    status.lambdas.extend(mine)
    return status
