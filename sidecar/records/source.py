"""Reads one lambda's records from Kafka's client, with the native extension or without it.

Owned by the consumer thread. Every call may run the client's callbacks, those of a rebalance included. No record may
be in a local variable only while the client is called. Otherwise: (1) The call runs a revoke callback. (2) No record
of the partition is buffered, so the callback commits the client's position. (3) That position is after the record,
which is then never delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import Consumer, KafkaError, Message

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.key_lane import lane_of
from sidecar.records.records import Failure, Run
from sidecar.records.rows import RowRecords

if TYPE_CHECKING:
    from sidecar.config.kafka_properties import Property
    from sidecar.mail.boxes import Mailbox
    from sidecar.records import _native as native

PLUGINS = "plugin.library.paths"
"""The property with which Kafka's client loads the extension, which so gets the client."""

MAX_RECORDS_PER_FETCH = 4_000
"""Records of one read. It gives a quarter more throughput than 1,000, because frames are larger."""

Arrived = Callable[[Iterable[Run], Iterable[Failure]], None]


class Source(Protocol):
    """Reads the records of one consumer."""

    def lead(self, partitions: Iterable[TopicPartition]) -> None:
        """Prepare to read these partitions, which are about to be assigned. Afterwards the client knows them, so that
        they can be paused."""

    def read(self) -> bool:
        """Give the available records and errors to ``arrived``, without waiting. Returns whether there were any.

        If there may be more of them, the next `wait` does not wait.
        """

    def serve(self) -> None:
        """Run the callbacks of the client, and read at most one record."""

    def wait(self, seconds: float) -> None:
        """Read; if nothing can be there, first wait for a record, an event or a letter, up to ``seconds``."""

    def close(self) -> None:
        """End reading; to be called before the consumer is closed."""


class RowSource:
    """With the native extension: records have a queue of their own; only events and errors go through the binding."""

    def __init__(
        self,
        consumer: Consumer,
        source: native.Source,
        mailbox: Mailbox,
        arrived: Arrived,
        misrouted: Callable[[TopicPartition, int], None],
        complained: Callable[[KafkaError], None] | None = None,
    ) -> None:
        """``misrouted`` is called with the offset of a record that arrived on the wrong queue and must be fetched
        again.

        ``complained`` replaces the consumer's `error_cb`, which must not be set: when a topic is gone, librdkafka
        calls that callback while records are read, and the binding crashes the process if it is called there.
        """
        self._consumer = consumer
        self._source = source
        self._arrived = arrived
        self._misrouted = misrouted
        self._complained = complained
        self._closed = False
        self._records: dict[tuple[str, int], tuple[TopicPartition, list[RowRecords]]] = {}
        self._mailbox = mailbox
        mailbox.bell = source.wake

    def lead(self, partitions: Iterable[TopicPartition]) -> None:
        """See `Source`. Also for partitions that were led before: a topic that was made anew has new queues."""
        if self._closed:
            return  # the assignment came while the consumer is being closed: it is not read
        for tp in partitions:
            rows = self._source.lead(tp)
            if tp not in self._records:
                self._records[tp] = tp, [*map(RowRecords, rows)]

    def serve(self) -> None:
        """See `Source`."""
        message = self._consumer.poll(0)
        if message is not None:
            self._source.wake()  # there may be more
            if message.error() is None:
                self._lead_misrouted(message.topic() or "", message.partition() or 0, message.offset() or 0)
            else:
                self._arrived([], [failure_of(message)])

    def read(self) -> bool:
        """See `Source`."""
        self.serve()
        runs, errors, misrouted = self._source.read()
        if errors and not all(topic for topic, *_ in errors):
            self._complain([KafkaError(code, text) for topic, _, _, code, text, _ in errors if not topic])
            errors = [error for error in errors if error[0]]
        if runs or errors:
            self._arrived(
                [self._run(*run) for run in runs],
                [
                    Failure(topic, at, offset, KafkaError(code, text), number)
                    for topic, at, offset, code, text, number in errors
                ],
            )
        for record in misrouted:
            self._lead_misrouted(*record)
        return bool(runs or errors or misrouted)

    def _run(self, partition: tuple[str, int], number: int, added: int) -> Run:
        tp, lanes = self._records[partition]
        return Run(tp, lanes[number], added, number)

    def wait(self, seconds: float) -> None:
        """See `Source`."""
        self._source.wait(seconds)
        self.read()

    def close(self) -> None:
        """See `Source`."""
        self._closed = True
        self._mailbox.bell = None
        self._source.close()

    def _complain(self, complaints: list[KafkaError]) -> None:
        if self._complained is not None:
            for complaint in complaints:
                self._complained(complaint)

    def _lead_misrouted(self, topic: str, partition: int, offset: int) -> None:
        """A record arrived whose partition is not led, for instance because the client has made it anew."""
        tp = TopicPartition(topic, partition)
        self.lead([tp])
        self._misrouted(tp, offset)


def failure_of(message: Message, lanes: int = 1) -> Failure:
    """The error of a message that is no record. ``lanes``: how many a partition has."""
    error, offset = message.error(), message.offset()
    assert error is not None
    number = lane_of(None, offset, lanes) if offset is not None and offset >= 0 else 0
    return Failure(message.topic(), message.partition(), offset, error, number)


def with_plugin(properties: Mapping[str, Property], extension: ModuleType | None) -> dict[str, Property]:
    """``properties``, such that a consumer that is made with them loads the extension."""
    if extension is None:
        return {**properties}
    paths = [str(properties[PLUGINS])] if properties.get(PLUGINS) else []
    return {**properties, PLUGINS: ";".join([*paths, str(extension.__file__)])}
