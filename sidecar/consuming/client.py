"""One client of Kafka and the objects that live as long as it does. All are made anew when the client fails for good.

`LambdaState` has the objects that outlive a client: the partitions' state, the counters, the frames in flight. The
leases of a client's partitions end with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, TopicPartition as KafkaPartition

from sidecar.cluster.errors import Faults, WatchedConsumer
from sidecar.config.kafka_properties import rebalance_protocol
from sidecar.consuming.back_pressure import BackPressure
from sidecar.consuming.ends import Ends
from sidecar.consuming.fetch_watch import FetchWatch
from sidecar.consuming.history import History
from sidecar.consuming.intake import Intake
from sidecar.consuming.lambda_state import LambdaState
from sidecar.consuming.lost_offsets import LostOffsets
from sidecar.consuming.membership import Membership
from sidecar.consuming.operator import Operator
from sidecar.consuming.pauses import Pauses
from sidecar.consuming.positions import Positions
from sidecar.consuming.resolving import Resolving
from sidecar.consuming.target import Target
from sidecar.records.extension import extension
from sidecar.records.fallback.source import MessageSource
from sidecar.records.source import MAX_RECORDS_PER_FETCH, RowSource, Source, with_plugin

if TYPE_CHECKING:
    from sidecar.records import _native

Rebalanced = Callable[[list[KafkaPartition]], None]


class KafkaClient:
    """One client, and all objects that call it."""

    def __init__(self, state: LambdaState, consumer: Consumer, native: _native.Source | None, faults: Faults) -> None:
        """``native``: the extension's source of ``consumer``; None: records are read as the binding's messages."""
        self.began_at = monotonic()
        self.consumer = consumer
        self.faults = faults
        self._commits = state.commits
        self._connection = state.connection
        self._abandoned = False
        self._callbacks: dict[str, Callable[[Consumer, list[KafkaPartition]], None]] = {}
        self._cooperative = rebalance_protocol(state.properties) == "cooperative"
        log = state.log
        self.membership = Membership(consumer, state.config.group, state.problems, log)
        self.pauses = Pauses(consumer, state.fetching, log)
        self.positions = Positions(
            consumer,
            state.table,
            state.buffer,
            state.fetching,
            self.pauses,
            log,
            lambda tps: self.source.lead(tps),  # noqa: PLW0108 - the source is made later
            cooperative=self._cooperative,
        )
        self.back_pressure = BackPressure(
            consumer,
            self.positions,
            self.pauses,
            state.table,
            state.buffer,
            state.fetching,
            state.in_flight,
            state.subscription,
        )
        self.resolving = Resolving(
            state.table,
            self.positions,
            state.fetching,
            History(state.origins, state.subscription, state.config),
            state.subscription,
            state.inquiries,
            LostOffsets(state.table, state.config.on_offset_lost, log, state.measure),
            log,
        )
        self.ends = Ends(consumer, state.table, state.buffer, state.fetching, state.subscription, state.inquiries)
        self.fetch_watch = FetchWatch(
            state.table,
            state.fetching,
            self.ends,
            self.positions,
            state.subscription,
            state.inquiries,
            state.measure,
            log,
            int(state.properties.get("fetch.wait.max.ms", 500)) / 1_000,
        )
        self.intake = Intake(
            state.table,
            state.buffer,
            state.fetching,
            self.pauses,
            self.resolving,
            state.connection,
            self.membership,
            state.sender,
            state.refusals,
            faults,
            state.measure,
        )
        self.source: Source = (
            MessageSource(consumer, state.mailbox, self.intake.take, state.config.lanes)
            if native is None
            else RowSource(consumer, native, state.mailbox, self.intake.take, self.intake.misrouted, self.on_error)
        )
        self.operator = Operator(
            consumer,
            state.table,
            Target(consumer, state.fetching, state.subscription, state.inquiries),
            state.commits,
            state.outbox,
            state.config.shutdown_drain,
        )

    def subscribe(self, topics: list[str], *, assigned: Rebalanced, revoked: Rebalanced, lost: Rebalanced) -> None:
        """Join the group. The callbacks run inside calls of the source, in the consumer thread."""

        def on_assign(_: Consumer, partitions: list[KafkaPartition]) -> None:
            if not self._abandoned:
                self.membership.assigned()
                assigned(partitions)

        def on_revoke(_: Consumer, partitions: list[KafkaPartition]) -> None:
            if not self._abandoned:
                revoked(partitions)

        def on_lost(_: Consumer, partitions: list[KafkaPartition]) -> None:
            if not self._abandoned:
                self.membership.lost()
                lost(partitions)

        self._callbacks = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}
        self.membership.subscribe(topics, **self._callbacks)

    def ask_for_rebalance(self, topics: list[str]) -> None:
        """Ask the group for a rebalance. We have subscribed to these topics; the same callbacks run."""
        self.membership.ask_for_rebalance(topics, cooperative=self._cooperative, **self._callbacks)

    def ask_no_more(self, topics: list[str]) -> None:
        """The rebalance that we asked for is over."""
        self.membership.ask_no_more(topics, **self._callbacks)

    def on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """librdkafka's answer to an asynchronous commit. Runs inside poll and close, in the consumer thread."""
        if self._abandoned:
            return
        self.faults.note(error)
        self._commits.on_commit(error, partitions)

    def on_error(self, error: KafkaError) -> None:
        """librdkafka's error callback: errors of connections, not of one partition."""
        if not self._abandoned and not self.faults.note(error):
            self._connection.complain(error, None)

    def close(self) -> None:
        """Leave the group, in this thread; callbacks run. Does nothing if the client was abandoned."""
        if not self._abandoned:
            self.source.close()
            self.consumer.close()

    def abandon(self) -> threading.Thread:
        """Close a client that failed for good, in a thread of its own, and ignore its callbacks from now on.

        The close may last as long as the brokers do not answer. Returns the thread.
        """
        self._abandoned = True
        self.source.close()

        def close() -> None:
            with suppress(Exception):  # the client has failed already
                self.consumer.close()

        closing = threading.Thread(target=close, name="closing", daemon=True)
        closing.start()
        return closing


def new_client(state: LambdaState) -> KafkaClient:
    """Make a client. Raises ``KafkaException`` when librdkafka refuses the properties."""
    native = extension()
    faults = Faults()
    made: KafkaClient

    # Both callbacks run inside poll, so never before `made` is set.

    def on_commit(error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        made.on_commit(error, partitions)

    def on_error(error: KafkaError) -> None:
        made.on_error(error)

    callbacks: dict[str, Any] = {"on_commit": on_commit}
    if native is None:
        callbacks["error_cb"] = on_error  # otherwise the source hears of errors: see `RowSource`
    consumer = WatchedConsumer({**with_plugin(state.properties, native), **callbacks}, faults, state.client_log)
    source = None if native is None else native.Source(MAX_RECORDS_PER_FETCH, state.config.lanes)
    made = KafkaClient(state, consumer, source, faults)
    return made
