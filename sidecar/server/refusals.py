"""Clients that keep being refused are answered late, and their refusals are counted instead of logged.

A late answer costs the sidecar nothing and slows the client down, since its calls under way are bounded
(`limits.MAX_STREAMS_PER_CONNECTION`). Only refused and useless calls are delayed, and offers on a connection that
keeps making them; honest calls never are.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, NoReturn

import grpc

from sidecar.logs import get_logger

FREE_CALLS = 50.0
"""Useless calls of a peer that are answered at once: a client that starts, or lost its leases, makes some."""

FORGIVEN_CALLS_PER_S = 20.0
"""Useless calls that a peer is forgiven in each second."""

MAX_DELAY_S = 4.0
"""The longest delay of an answer: a developer who looks for a mistake must not wait for long."""

MAX_LATE = 1_000
"""Late answers at the same time: each takes about 30 KB. Further answers are not delayed."""

MAX_DEBTS = 4_096
"""Peers that are remembered; beyond this, the one with the oldest useless call is forgotten."""

LOG_INTERVAL_S = 10.0
"""Refusals of one kind to one host within this time are one log line."""

MAX_KINDS = 256
"""Pairs of host and kind of refusal that are told apart in the log."""

Context = grpc.aio.ServicerContext[Any, Any]

_log = get_logger(__name__)


async def abort(context: Context, status: grpc.StatusCode, text: str) -> NoReturn:
    """End the call with this status."""
    await context.abort(status, text)
    raise AssertionError("abort raises")


class Refused(Exception):  # noqa: N818 - named after the outcome for the client
    """Ends the call or stream with this status."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class _Debt:
    calls: float
    since: float

    def paid(self, now: float) -> float:
        """The calls that are not forgiven yet at ``now``."""
        return max(0.0, self.calls - (now - self.since) * FORGIVEN_CALLS_PER_S)


class Refusals:
    """All refusals of one server. Owned by the loop."""

    def __init__(self) -> None:
        self._debts: dict[str, _Debt] = {}
        self._late = 0
        self._hidden: dict[tuple[str, str], int] = {}

    async def refuse(
        self,
        context: Context,
        status: grpc.StatusCode,
        text: str,
        about: Mapping[str, object] | None = None,
        *,
        peer: str = "",
    ) -> NoReturn:
        """End the call with this status, late if the peer had many refusals.

        ``about`` is for the log. ``peer``: the peer when the call began, since a call that has ended has none.
        """
        peer = peer or context.peer()
        self.note(peer, status.name, error=text, **(about or {}))
        await self.late(peer)
        await abort(context, status, text)

    async def late(self, who: str, cost: float = 1.0) -> None:
        """Delay the answer to a useless call: the first ones of ``who`` not at all, later ones longer and longer."""
        seconds = self.charge(who, cost)
        if seconds <= 0 or self._late >= MAX_LATE:
            return
        self._late += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._late -= 1

    def charge(self, who: str, cost: float = 1.0) -> float:
        """Charge ``who`` for useless work, measured in calls. Returns the seconds that an answer must wait now."""
        now = monotonic()
        debt = self._debts.pop(who, None)
        owed = min(cost + (0.0 if debt is None else debt.paid(now)), FREE_CALLS + MAX_DELAY_S * FORGIVEN_CALLS_PER_S)
        self._debts[who] = _Debt(owed, now)  # put last: the first has the oldest useless call
        if len(self._debts) > MAX_DEBTS:
            del self._debts[next(iter(self._debts))]
        return max(0.0, owed - FREE_CALLS) / FORGIVEN_CALLS_PER_S

    def note(self, peer: str, kind: str, **about: object) -> None:
        """Log a refusal, or count it if one of its kind was logged for this host within ``LOG_INTERVAL_S``."""
        host = host_of(peer)
        if len(self._hidden) >= MAX_KINDS:
            host = "many hosts"
        key = (host, kind)
        if key in self._hidden:
            self._hidden[key] += 1
            return
        _log.warning("client refused", peer=peer, status=kind, **about)
        self._hidden[key] = 0
        asyncio.get_running_loop().call_later(LOG_INTERVAL_S, self._tell_hidden, key)

    def _tell_hidden(self, key: tuple[str, str]) -> None:
        if count := self._hidden.pop(key):
            host, kind = key
            _log.warning("client refused, and more of the kind", host=host, status=kind, not_shown=count)


def is_one_connection(peer: str) -> bool:
    """Whether the peer is a single connection: gRPC gives all connections of a Unix socket the same name."""
    return peer.startswith("ipv")


def host_of(peer: str) -> str:
    """The peer without its port, which differs for each connection; for a Unix socket the peer itself."""
    return peer.rpartition(":")[0] if is_one_connection(peer) else peer
