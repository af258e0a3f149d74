"""The end of a consumer thread: a shutdown, or the end after an unexpected error.

Owned by the consumer thread.
"""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from sidecar.consuming.clients import Clients
from sidecar.consuming.commits import DRAIN_COMMIT_INTERVAL_S
from sidecar.consuming.housekeeping import Housekeeping
from sidecar.consuming.lambda_state import LambdaState
from sidecar.consuming.letter_reader import LetterReader
from sidecar.consuming.rebalances import Rebalances
from sidecar.partitions.vocabulary import RevokeReason

CLOSE_TIMEOUT_S = 2.0
"""Seconds at the end to wait for failed clients to be closed."""

FINISH_TIMEOUT_S = 5.0
"""Seconds that the last commit may take. While the broker is away it would take a whole session timeout."""


class Leaving:
    """Drains all partitions, commits, and leaves the group."""

    def __init__(
        self,
        state: LambdaState,
        clients: Clients,
        housekeeping: Housekeeping,
        letters: LetterReader,
        rebalances: Rebalances,
    ) -> None:
        self._state = state
        self._table = state.table
        self._clients = clients
        self._housekeeping = housekeeping
        self._letters = letters
        self._rebalances = rebalances

    def shut_down(self, fetch: Callable[[], None], stop_helpers: Callable[[], None]) -> None:
        """1. Drain all partitions, while polling. 2. Commit. 3. Leave the group.

        ``fetch`` reads the records that the client has, or waits for one; ``stop_helpers`` ends the threads that work
        for this one.
        """
        state, client = self._state, self._clients.now
        seconds = state.config.shutdown_drain
        tps = [*self._table.partitions]
        state.log.info("draining", partitions=len(tps), seconds=seconds)
        client.resolving.stop()
        self._table.revoke_all(RevokeReason.SHUTDOWN, seconds, monotonic())
        client.pauses.pause(tps)
        self._housekeeping.enough = False  # `adjust` is not called any more
        state.commits.sooner(DRAIN_COMMIT_INTERVAL_S)
        while self._table.held():
            self._letters.read_all()
            self._table.tick(monotonic())
            self._letters.carry_out()
            state.outbox.flush()
            # Polling keeps the membership alive (`max.poll.interval.ms`). Records that still arrive are buffered, so
            # that no position after them is committed.
            state.sender.changed.clear()  # nothing is sent any more; while something may be, `fetch` does not wait
            fetch()
            state.commits.work(client.consumer, monotonic())  # a lambda may wait for it before it closes
        tps = [*self._table.partitions]
        state.commits.finish(client.consumer, tps, FINISH_TIMEOUT_S, self._letters.read_all)
        self._rebalances.forget(tps)
        self._table.forget(tps)
        client.close()
        self._clients.rebuild.wait_for_closed(CLOSE_TIMEOUT_S)
        stop_helpers()
        client.operator.work()
        self._letters.read_all()  # later calls of lambdas are answered: stale lease
        state.outbox.flush()
        state.log.info("left the group", group=state.config.group)

    def leave_broken(self, stop_helpers: Callable[[], None]) -> None:
        """Commit the resume offsets and leave the group, if that still works."""
        state = self._state
        # Records that were in local variables when the thread broke are lost: no position may be committed.
        self._table.dropped([*self._table.partitions])
        with suppress(Exception):
            state.commits.now(self._clients.now.consumer, [*self._table.partitions])
        with suppress(Exception):
            self._clients.now.close()
        for order in self._letters.postponed:
            state.mailbox.put(order)  # it is answered with the other letters when the mailbox is closed
        self._table.forget([*self._table.partitions])
        stop_helpers()
        with suppress(Exception):  # the thread may have broken before there was a client
            self._clients.now.operator.work()
        state.outbox.flush()
