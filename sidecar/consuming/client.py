"""What lives as long as one client of Kafka: it is made, and made anew when the client has failed for good.

What outlives a client is `Kept`: the partitions' state, the counters, the frames that are on their way. The leases of
a client's partitions die with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import Faults, WatchedConsumer
from sidecar.cluster.inquiries import Inquiries
from sidecar.cluster.origins import Origins
from sidecar.config.kafka_properties import Property, rebalance_protocol
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.back_pressure import BackPressure
from sidecar.consuming.commit_refusals import CommitRefusals
from sidecar.consuming.commits import Commits
from sidecar.consuming.connection import Connection
from sidecar.consuming.ends import Ends
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.in_flight import InFlight
from sidecar.consuming.intake import Intake
from sidecar.consuming.membership import Membership
from sidecar.consuming.operator import Operator
from sidecar.consuming.positions import Positions
from sidecar.consuming.problems import Problems
from sidecar.consuming.sender import Sender
from sidecar.consuming.subscription import Subscription
from sidecar.consuming.target import Target
from sidecar.mail.boxes import Mailbox, Outbox
from sidecar.partitions.table import PartitionTable
from sidecar.records.extension import extension
from sidecar.records.fallback.source import MessageSource
from sidecar.records.source import MOST_PER_FETCH, RowSource, Source, with_plugin

if TYPE_CHECKING:
    from sidecar.records import _native

Rebalanced = Callable[[list[KafkaPartition]], None]


@dataclass(frozen=True)
class Kept:
    """What a lambda has, whichever client it has at the moment."""

    config: LambdaConfig
    properties: Mapping[str, Property]
    """The consumer's."""
    table: PartitionTable
    buffer: FetchBuffer
    origins: Origins
    inquiries: Inquiries
    subscription: Subscription
    connection: Connection
    client_log: ClientLog
    commits: Commits
    refusals: CommitRefusals
    in_flight: InFlight
    sender: Sender
    problems: Problems
    mailbox: Mailbox
    outbox: Outbox
    log: FilteringBoundLogger


class Consuming:
    """One client, and all that calls it."""

    def __init__(self, kept: Kept, consumer: Consumer, native: _native.Source | None, faults: Faults) -> None:
        """``native``: the extension's end of ``consumer``; None: records come by the binding's messages."""
        self.began_at = monotonic()
        self.consumer = consumer
        self.faults = faults
        self._commits = kept.commits
        self._connection = kept.connection
        self._abandoned = False
        log = kept.log
        self.membership = Membership(consumer, kept.config.group, kept.problems, log)
        self.back_pressure = BackPressure(consumer, kept.table, kept.buffer, kept.in_flight, kept.subscription, log)
        self.positions = Positions(
            consumer,
            kept.table,
            kept.buffer,
            kept.config,
            kept.subscription,
            kept.inquiries,
            kept.origins,
            log,
            lambda tps: self.source.lead_again(tps, kept.buffer.paused),
            cooperative=rebalance_protocol(kept.properties) == "cooperative",
        )
        self.ends = Ends(consumer, kept.table, kept.buffer, kept.subscription, kept.inquiries)
        self.intake = Intake(
            kept.table,
            kept.buffer,
            self.positions,
            kept.connection,
            self.membership,
            kept.sender,
            kept.refusals,
            faults,
        )
        self.source: Source = (
            MessageSource(consumer, kept.mailbox, self.intake.take)
            if native is None
            else RowSource(consumer, native, kept.mailbox, self.intake.take, self.intake.misrouted, self.on_error)
        )
        self.operator = Operator(
            consumer,
            kept.table,
            Target(consumer, kept.buffer, kept.subscription, kept.inquiries),
            kept.commits,
            kept.outbox,
            kept.config.shutdown_drain,
        )

    def subscribe(self, topics: list[str], *, assigned: Rebalanced, revoked: Rebalanced, lost: Rebalanced) -> None:
        """Join the group; the callbacks run inside the calls of the source."""

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

        self.membership.subscribe(topics, on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """librdkafka's answer to a commit that nobody waits for. Runs inside poll, and inside close."""
        if self._abandoned:
            return
        self.faults.note(error)
        self._commits.on_commit(error, partitions)

    def on_error(self, error: KafkaError) -> None:
        """librdkafka's own callback: about connections, not about one partition."""
        if not self._abandoned and not self.faults.note(error):
            self._connection.complain(error, None)

    def close(self) -> None:
        """Leave the group, in this thread. Callbacks run. Does nothing for one that was abandoned."""
        if not self._abandoned:
            self.source.close()
            self.consumer.close()

    def abandon(self) -> threading.Thread:
        """Have nothing to do with the client any more.

        It failed for good, so nothing of it is waited for: it is closed in a thread of its own, which may take as
        long as its brokers do not answer. The callbacks that run there reach nobody.
        """
        self._abandoned = True
        self.source.close()

        def close() -> None:
            with suppress(Exception):  # of a client that is broken already
                self.consumer.close()

        closing = threading.Thread(target=close, name="closing", daemon=True)
        closing.start()
        return closing


def begin(kept: Kept) -> Consuming:
    """Make a client. Raises ``KafkaException`` when librdkafka refuses its properties."""
    native = extension()
    faults = Faults()
    made: Consuming

    # Both are called inside poll, so not before all is made.

    def on_commit(error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        made.on_commit(error, partitions)

    def on_error(error: KafkaError) -> None:
        made.on_error(error)

    callbacks: dict[str, Any] = {"on_commit": on_commit}
    if native is None:
        callbacks["error_cb"] = on_error  # else it is the source that hears of errors: see `RowSource`
    consumer = WatchedConsumer({**with_plugin(kept.properties, native), **callbacks}, faults, kept.client_log)
    made = Consuming(kept, consumer, None if native is None else native.Source(MOST_PER_FETCH), faults)
    return made
