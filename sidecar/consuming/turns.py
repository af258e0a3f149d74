"""The turns of one lambda's consumer thread, and the wiring of the objects that work in them.

A turn: read the letters of the event loop, fetch records, encode frames, hand them to the loop, then check pauses and
deadlines and commit. All calls on the Consumer are made in these turns, so in one thread; rebalance callbacks run
inside poll and consume, so in that thread too. When there is nothing to do, the `Source` waits for records, events
and letters. Without the extension it waits inside librdkafka, where a letter cannot wake it, so those waits are
short.

Owned by the consumer thread.
"""

from collections.abc import Callable
from time import monotonic

from confluent_kafka import KafkaException

from sidecar.consuming.client import KafkaClient, new_client
from sidecar.consuming.clients import Clients
from sidecar.consuming.housekeeping import HOUSEKEEPING_INTERVAL_S, Housekeeping
from sidecar.consuming.lambda_state import LambdaState
from sidecar.consuming.leaving import Leaving
from sidecar.consuming.letter_reader import LetterReader
from sidecar.consuming.rebalances import Rebalances
from sidecar.mail import letters
from sidecar.records.source import MAX_RECORDS_PER_FETCH

WAIT_IDLE_S = 0.05
"""Longest wait for records or a letter when no records are buffered."""

MAX_READS = 16
MAX_READ_BYTES = 8 * 1024 * 1024
"""With lanes, a turn reads up to so many times, and until lanes have so many bytes to send."""


class Turns:
    """The work of one lambda, turn by turn. It starts no thread: a test may call the turns itself."""

    def __init__(self, state: LambdaState, make_client: Callable[[LambdaState], KafkaClient] = new_client) -> None:
        """``make_client`` raises ``KafkaException`` when no client can be made."""
        self.state = state
        self.clients = Clients(state, make_client)
        self.housekeeping = Housekeeping(state, self.clients)
        self.letters = LetterReader(state, self.clients, self.housekeeping)
        self.rebalances = Rebalances(state, self.clients, self.letters)
        self._leaving = Leaving(state, self.clients, self.housekeeping, self.letters, self.rebalances)
        self._reported_ready = False

    def begin(self) -> None:
        """Make a client. Raises ``KafkaException``."""
        self.clients.begin()

    def run(self) -> None:
        """Turn after turn, until a letter stops the lambda."""
        while not self.letters.stopping:
            if self.clients.rebuild.waits:
                self.rest()
            else:
                self.turn_or_fail()

    def turn_or_fail(self) -> None:
        """One turn; afterwards, give up a client that has failed for good."""
        faults = self.clients.now.faults
        try:
            self._turn()
        except KafkaException as error:
            if not faults.note(error.args[0]):
                raise
        if faults.fatal is not None:
            self.clients.give_up(self.letters, self.rebalances)
            self.housekeeping.enough = False

    def _turn(self) -> None:
        state = self.state
        self.letters.read_all()
        now = monotonic()
        state.connection.work(now)
        self._tell_readiness()
        self.rebalances.keep_membership(now)
        self.start_partitions()
        self.fetch()
        self.rebalances.wake_kept()
        # A rebalance callback inside the fetch may have left rewinds. They are carried out before anything is sent:
        # records that the fetch brought for such a partition are from its old position, and the rewind drops them.
        self.letters.carry_out()
        now = monotonic()
        state.sender.work(now)
        state.outbox.flush()  # records must not wait for the housekeeping
        self.housekeeping.work(now)
        state.commits.work(self.clients.now.consumer, now)
        self.letters.carry_out()
        state.outbox.flush()

    def rest(self) -> None:
        """A turn without a client: read letters; lambda processes that join have to wait."""
        state = self.state
        self.letters.read_all()
        now = monotonic()
        state.connection.work(now)
        self._tell_readiness()
        state.table.tick(now)
        self.letters.carry_out()
        state.outbox.flush()
        due = self.clients.rebuild.due
        if now >= due:
            self.clients.make_another(now)
        else:
            state.mailbox.wait(min(WAIT_IDLE_S, due - now))

    def start_partitions(self) -> None:
        """Resolve partitions, and start those that the client begins to read from a new position."""
        client, partitions = self.clients.now, self.state.table.partitions
        client.resolving.work()
        begun = client.positions.take_begun()
        if any(partitions[tp].resolving for tp in begun):
            self.state.commits.hurry()  # their resume offsets must be committed before a lambda gets them
        client.back_pressure.wake(begun)

    def _tell_readiness(self) -> None:
        ready = self.state.problems.ready
        if ready != self._reported_ready:
            self._reported_ready = ready
            self.state.outbox.post(letters.Readiness(self.state.name, ready))

    def fetch(self) -> None:
        """Read the records that Kafka's client has; if it has none, wait for one."""
        source, outbox, mailbox = self.clients.now.source, self.state.outbox, self.state.mailbox
        if self.housekeeping.enough:
            source.serve()  # rebalances go on while nothing is fetched
            outbox.flush()
            mailbox.wait(max(0.0, self.housekeeping.due - monotonic()))
            return
        fetched = self.state.buffer.fetched
        if mailbox.empty():
            outbox.flush()  # answers must not wait with us
            source.wait(self._patience())
        else:
            source.wait(0.0)
        if self.state.config.lanes > 1:
            self._read_on(fetched)

    def _read_on(self, fetched: int) -> None:
        """With lanes, read again while a read brings all that it can take. ``fetched``: records before the first one.

        The lanes of a partition share the records of a read, and each frame costs as much as some hundred records. So
        a lane that got an eighth of a read would be sent small frames. While the client has more, a turn has nearly
        twice as many reads as there are lanes. Records that come one by one are not held up: they fill no read.
        """
        source, buffer = self.clients.now.source, self.state.buffer
        for _ in range(min(2 * self.state.config.lanes - 2, MAX_READS - 1)):
            if buffer.fetched - fetched < MAX_RECORDS_PER_FETCH:
                return
            if sum(map(buffer.bytes, self.state.sender.changed)) >= MAX_READ_BYTES:
                return
            fetched = buffer.fetched
            source.read()

    def _patience(self) -> float:
        if self.housekeeping.hurried() or self.state.sender.has_work:
            return 0.0
        longest = HOUSEKEEPING_INTERVAL_S if len(self.state.buffer) else WAIT_IDLE_S
        return max(0.0, min(longest, self.state.commits.round_begins_at - monotonic()))

    def shut_down(self, stop_helpers: Callable[[], None]) -> None:
        """Stop: drain, commit, leave the group. ``stop_helpers`` ends the threads that work for this one."""
        self._leaving.shut_down(self.fetch, stop_helpers)

    def leave_broken(self, stop_helpers: Callable[[], None]) -> None:
        """End after an unexpected error."""
        self._leaving.leave_broken(stop_helpers)
