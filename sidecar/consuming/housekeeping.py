"""Regular checks of pauses, deadlines and full windows.

Owned by the consumer thread.
"""

from sidecar.consuming.clients import Clients
from sidecar.consuming.lambda_state import LambdaState

HOUSEKEEPING_INTERVAL_S = 0.01
"""Seconds between checks of pauses, deadlines and full windows."""


class Housekeeping:
    """Checks them when it is time, or sooner when records were fetched while memory is tight."""

    def __init__(self, state: LambdaState, clients: Clients) -> None:
        self._table = state.table
        self._buffer = state.buffer
        self._sender = state.sender
        self._clients = clients
        self._fetched = 0  # records fetched until the last check
        self.due = 0.0
        """When the next check is."""
        self._hurried = False
        self.enough = False
        """So much is buffered that nothing is fetched before the next check."""

    def soon(self) -> None:
        """Check in this turn, which waits for nothing before that."""
        self.due = 0.0
        self._hurried = True

    def hurried(self) -> bool:
        """Whether `soon` was called since the last call of this."""
        hurried, self._hurried = self._hurried, False
        return hurried

    def work(self, now: float) -> None:
        """Check, if it is time."""
        if now >= self.due or (self._clients.now.back_pressure.tight and self._buffer.fetched != self._fetched):
            self.due = now + HOUSEKEEPING_INTERVAL_S
            self._check(now)

    def _check(self, now: float) -> None:
        client = self._clients.now
        self._fetched = self._buffer.fetched
        self._table.tick(now)
        self._sender.look_again()
        self.enough = client.back_pressure.adjust(now)
        client.operator.work()
        client.ends.work(now)
        client.fetch_watch.work(now, reads=not self.enough)
