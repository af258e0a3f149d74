"""The client that a lambda has now, and its replacement when it has failed for good.

Owned by the consumer thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from sidecar.consuming.client import KafkaClient
from sidecar.consuming.lambda_state import LambdaState
from sidecar.consuming.rebuild import Rebuild

if TYPE_CHECKING:
    from sidecar.consuming.letter_reader import LetterReader
    from sidecar.consuming.rebalances import Rebalances


class Clients:
    """One lambda's clients, one after the other."""

    now: KafkaClient
    """Set from ``begin`` on. A client that was given up stays here until another is made."""

    def __init__(self, state: LambdaState, make: Callable[[LambdaState], KafkaClient]) -> None:
        """``make`` raises ``KafkaException`` when no client can be made."""
        self._state = state
        self._make = make
        self.rebuild = Rebuild(state.problems, state.jitter)

    def begin(self) -> None:
        """Make the first. Raises ``KafkaException``."""
        self.now = self._make(self._state)

    def give_up(self, letters: LetterReader, rebalances: Rebalances) -> None:
        """The client has failed for good: close it and lose its partitions. Another is made after a while."""
        state, client = self._state, self.now
        error = client.faults.fatal
        assert error is not None
        self.rebuild.failed(error.str(), client.began_at)
        # First of all, so that none of its callbacks runs during the steps below.
        self.rebuild.closing(client.abandon())
        letters.in_callback = False
        state.commits.abandon()
        if state.table.partitions:
            rebalances.lose([*state.table.partitions])
        client.resolving.stop()
        client.operator.give_up()
        client.membership.leave()
        rebalances.left()
        state.outbox.flush()

    def make_another(self, now: float) -> None:
        """Try to make another client; if it cannot be made, another try is due after a while."""
        try:
            self.now = self._make(self._state)
        except KafkaException as error:  # for instance, a file named in the properties is gone
            self.rebuild.failed(error.args[0].str(), now)
        else:
            self.rebuild.done()
