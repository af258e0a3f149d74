"""What is done about clients that are refused again and again: they wait longer, and fill no log.

Answering late costs nothing, and slows a client down that floods: its calls under way are bounded
(`limits.MOST_STREAMS`). Only what is refused, or of no use, waits, and the offers of a connection that keeps making
such: an honest call never does.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, NoReturn

import grpc

from sidecar.logs import get_logger

FREE = 50.0
"""Calls without use that are answered at once, by peer: a client that starts, or lost its leases, has some."""

RATE = 20.0
"""Of these the free ones come back so many a second."""

LONGEST = 4.0
"""Seconds that a late answer takes at most: whoever looks for a mistake must not wait for long."""

MOST_LATE = 1_000
"""Answers that may be late at the same time: each keeps some 30 KB. Beyond it they are not late."""

MOST_DEBTS = 4_096
"""Peers that are remembered; beyond it the one that came first is forgotten."""

LOG_EVERY = 10.0
"""Seconds within which refusals of one kind, to one host, make one line in the log."""

MOST_KINDS = 256
"""Kinds of refusals, by host, that are told apart in the log."""

Context = grpc.aio.ServicerContext[Any, Any]

_log = get_logger(__name__)


async def abort(context: Context, status: grpc.StatusCode, text: str) -> NoReturn:
    """End the call with this status."""
    await context.abort(status, text)
    raise AssertionError("abort raises")


class Refused(Exception):  # noqa: N818 - an outcome, named as the client hears of it
    """The call or stream is to end with this status."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class _Debt:
    calls: float
    since: float

    def paid(self, now: float) -> float:
        """What is left of it."""
        return max(0.0, self.calls - (now - self.since) * RATE)


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
        """End the call with this status, later if the peer had many refusals.

        ``about`` is for the log. ``peer``: as it was when the call began; one that is over has none any more.
        """
        peer = peer or context.peer()
        self.note(peer, status.name, error=text, **(about or {}))
        await self.late(peer)
        await abort(context, status, text)

    async def late(self, who: str, cost: float = 1.0) -> None:
        """Wait before a call without use is answered: not at all for the first ones of ``who``, then longer."""
        seconds = self.charge(who, cost)
        if seconds <= 0 or self._late >= MOST_LATE:
            return
        self._late += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._late -= 1

    def charge(self, who: str, cost: float = 1.0) -> float:
        """Something of no use was done for ``who``. Returns for how many seconds an answer is to wait now."""
        now = monotonic()
        debt = self._debts.pop(who, None)
        owed = min(cost + (0.0 if debt is None else debt.paid(now)), FREE + LONGEST * RATE)
        self._debts[who] = _Debt(owed, now)  # put last: the first is the one that came longest ago
        if len(self._debts) > MOST_DEBTS:
            del self._debts[next(iter(self._debts))]
        return max(0.0, owed - FREE) / RATE

    def note(self, peer: str, kind: str, **about: object) -> None:
        """Log a refusal, unless one of its kind was logged for this host just now; then it is only counted."""
        host = host_of(peer)
        if len(self._hidden) >= MOST_KINDS:
            host = "many hosts"
        key = (host, kind)
        if key in self._hidden:
            self._hidden[key] += 1
            return
        _log.warning("client refused", peer=peer, status=kind, **about)
        self._hidden[key] = 0
        asyncio.get_running_loop().call_later(LOG_EVERY, self._tell_hidden, key)

    def _tell_hidden(self, key: tuple[str, str]) -> None:
        if count := self._hidden.pop(key):
            host, kind = key
            _log.warning("client refused, and more of the kind", host=host, status=kind, not_shown=count)


def is_one_connection(peer: str) -> bool:
    """Whether the peer is known by its port; all of a Unix socket are one to gRPC."""
    return peer.startswith("ipv")


def host_of(peer: str) -> str:
    """Without the port, which each connection has another of; of a Unix socket all are one."""
    return peer.rpartition(":")[0] if is_one_connection(peer) else peer
