"""Joining and leaving the group, and the partitions that Kafka assigns, revokes and loses.

Owned by the consumer thread. The callbacks run inside calls of the client.
"""

import math
from time import monotonic

from confluent_kafka import TopicPartition as KafkaPartition

from sidecar.config.kafka_properties import rebalance_protocol
from sidecar.consuming.clients import Clients
from sidecar.consuming.commits import DRAIN_COMMIT_INTERVAL_S
from sidecar.consuming.lambda_state import LambdaState
from sidecar.consuming.letter_reader import LetterReader
from sidecar.consuming.unowned_watch import UnownedWatch, may_stay_unowned, patience_for
from sidecar.partitions.vocabulary import RebalanceKind, RevokeReason, TopicPartition, short

DRAIN_WAIT_S = 0.05
"""Longest wait for a letter during a drain without a deadline."""


class Rebalances:
    """The partitions of one lambda follow the group."""

    def __init__(self, state: LambdaState, clients: Clients, letters: LetterReader) -> None:
        self._state = state
        self._table = state.table
        self._clients = clients
        self._letters = letters
        self._stood_still: list[TopicPartition] = []
        self.subscribed: list[str] = []
        """The topics that the client was asked to subscribe to."""
        self._unowned: UnownedWatch | None = None
        if may_stay_unowned(state.properties):
            patience = patience_for(state.properties, state.config.rebalance_drain)
            self._unowned = UnownedWatch(
                state.config.group, state.subscription, state.inquiries, patience, state.jitter
            )

    def keep_membership(self, now: float) -> None:
        """Join with the first lambda process, leave some time after the last one; subscribe to new topics."""
        client, connection = self._clients.now, self._state.connection
        topics = self._state.subscription.topics
        client.membership.work(now, waits=connection.connected and self._state.subscription.something_there)
        if not self._table.wants_group(now):
            if client.membership.subscribed:
                self._leave("no lambda process: leaving the group")
            elif connection.connected:
                self._clients.rebuild.works()  # without lambda processes it has nothing else to do
            return
        if topics == self.subscribed:
            self._mind_unowned(now)
            return
        if not connection.connected:
            return
        if not topics:
            self._leave("no topic matches: leaving the group")
            return
        self.subscribed = topics
        client.subscribe(topics, assigned=self.on_assign, revoked=self.on_revoke, lost=self.on_lost)

    def left(self) -> None:
        """We are no member any more."""
        self.subscribed = []
        if self._unowned is not None:
            self._unowned.left()

    def _leave(self, event: str) -> None:
        self.left()
        self._note(RebalanceKind.LEFT, len(self._table.partitions), event)
        self._clients.now.membership.leave()
        self._state.log.info(event, group=self._state.config.group)
        self._release([*self._table.partitions], RevokeReason.SHUTDOWN, 0.0)
        self._clients.now.consumer.unsubscribe()

    def _mind_unowned(self, now: float) -> None:
        """Ask the group for a rebalance if partitions have no owner and nobody will take them."""
        watch, client = self._unowned, self._clients.now
        if watch is None or not client.membership.joined:
            return
        tps = watch.work(now)
        if tps:
            event = "partitions that no member of the group owns: asking the group for a rebalance"
            self._state.log.warning(event, group=self._state.config.group, partitions=short(tps))
            self._note(RebalanceKind.ASKED, len(tps), f"no member of the group owned {short(tps)}")
            client.ask_for_rebalance(self.subscribed)
        elif watch.settled and client.membership.asks:
            client.ask_no_more(self.subscribed)

    def _rebalanced(self) -> None:
        if self._unowned is not None:
            self._unowned.rebalanced(monotonic())

    def on_assign(self, partitions: list[KafkaPartition]) -> None:
        """Kafka assigned these."""
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._state.log.info("partitions assigned", partitions=short(tps))
        self._note(RebalanceKind.ASSIGNED, len(tps))
        self._rebalanced()
        self._stood_still = [*self._table.partitions]
        self._clients.now.positions.assigned(tps)
        self._table.assigned(tps, monotonic())
        self._clients.now.resolving.assigned(tps)
        self._state.subscription.assigned(tps)

    def on_revoke(self, partitions: list[KafkaPartition]) -> None:
        """Kafka revokes these; it waits until this returns, so they are drained and committed first."""
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        if any(tp in self._table.partitions for tp in tps):
            self._state.log.info("partitions revoked", partitions=short(tps))
            self._note(RebalanceKind.REVOKED, len(tps))
            self._release(tps, RevokeReason.REBALANCE, self._state.config.rebalance_drain)
            self._stood_still = [*self._table.partitions]
        self._rebalanced()

    def wake_kept(self) -> None:
        """After a rebalance, wake the partitions that stay: the client had paused them too."""
        if self._stood_still:
            kept, self._stood_still = self._stood_still, []
            self._clients.now.back_pressure.wake(kept)

    def on_lost(self, partitions: list[KafkaPartition]) -> None:
        """Kafka may have assigned these to another member already."""
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._state.log.warning("partitions lost", partitions=short(tps))
        self._note(RebalanceKind.LOST, len(tps), "the group went on without this sidecar")
        self._rebalanced()
        self.lose(tps)

    def lose(self, tps: list[TopicPartition]) -> None:
        """These partitions are lost: tell the lambdas that hold them, without a drain or a commit."""
        self.forget(tps)
        self._table.lost(tps, monotonic())
        self._stood_still = []
        self._letters.in_callback = True
        self._letters.carry_out()
        self._letters.in_callback = False
        self._state.outbox.flush()

    def _release(self, tps: list[TopicPartition], reason: RevokeReason, seconds: float) -> None:
        """Drain these partitions, commit them, forget them.

        Runs inside a rebalance callback, in which records cannot be fetched: only letters are read.
        """
        eager = rebalance_protocol(self._state.properties) == "eager"
        may_return = reason is RevokeReason.REBALANCE and eager
        self._table.revoke(tps, reason, seconds, monotonic(), may_return=may_return)
        self._letters.in_callback = True
        self._drain(tps)
        self._state.commits.release(self._clients.now.consumer, tps, self._state.config.rebalance_drain, self._read)
        self._letters.in_callback = False
        self.forget(tps)
        self._table.forget(tps)

    def _drain(self, tps: list[TopicPartition]) -> None:
        """Wait until no lambda holds any of these partitions; the table's deadlines bound the wait.

        A lambda may wait for its checkpoint to be committed before it closes. So new checkpoints are committed
        meanwhile: synchronously, since no other answer arrives inside a callback. If Kafka refuses, that is not tried
        again before the end of the drain: it would take the drain's time.
        """
        commits = self._state.commits
        next_commit = monotonic() + DRAIN_COMMIT_INTERVAL_S
        while True:
            self._letters.carry_out()
            self._state.outbox.flush()
            if not self._table.held(tps):
                return
            due = self._table.next_due(monotonic())
            until = monotonic() + DRAIN_WAIT_S if due is None else min(due, max(next_commit, monotonic()))
            until = min(until, commits.work_in_callback(self._clients.now.consumer, monotonic()))
            self._read(max(0.0, until - monotonic()))
            now = monotonic()
            self._table.tick(now)
            if now >= next_commit:
                next_commit = now + DRAIN_COMMIT_INTERVAL_S
                if commits.waits(tps):
                    commits.now(self._clients.now.consumer, tps)
                    next_commit = math.inf if commits.waits(tps) else next_commit

    def _read(self, seconds: float) -> None:
        """Read a letter, waiting at most so many seconds for it."""
        letter = self._state.mailbox.take(seconds)
        if letter is not None:
            self._letters.read(letter)
            self._letters.carry_out()
            self._state.outbox.flush()

    def _note(self, kind: RebalanceKind, partitions: int, reason: str = "") -> None:
        self._state.rebalances.note(kind, partitions, monotonic(), reason)

    def forget(self, tps: list[TopicPartition]) -> None:
        """Forget these partitions, in all objects but the table."""
        state = self._state
        self._clients.now.resolving.forget(tps)
        state.refusals.forget(tps)
        state.commits.withdraw(tps)
        for tp in tps:
            state.fetching.forget(tp)
            self._clients.now.ends.forget(tp)
            self._clients.now.fetch_watch.forget(tp)
            for lane in self._table.lanes_of(tp):
                state.buffer.drop(lane)
                state.sender.forget(lane)
                state.in_flight.forget(lane)
