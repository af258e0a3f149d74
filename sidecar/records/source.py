"""Where one lambda's records come from: Kafka's client, by the way that is built.

Owned by the consumer thread. All calls run its callbacks, those of a rebalance included, and none keeps a record to
itself while the client is called: a revoke inside that call commits the client's position where nothing waits, and a
record that is only in a local variable would be passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.records import Failure, Run
from sidecar.records.rows import RowRecords

if TYPE_CHECKING:
    from sidecar.config.kafka_properties import Property
    from sidecar.mail.boxes import Mailbox
    from sidecar.records import _native as native

PLUGINS = "plugin.library.paths"
"""The property by which Kafka's client is told of the extension, and the extension of the client."""

MOST_PER_FETCH = 4_000
"""Records of one read: a quarter more throughput than 1,000, because frames grow with it."""

Arrived = Callable[[Iterable[Run], Iterable[Failure]], None]


class Source(Protocol):
    """The records of one consumer."""

    def lead(self, partitions: Iterable[TopicPartition]) -> None:
        """These are about to be assigned, by Kafka."""

    def lead_again(self, partitions: Collection[TopicPartition], paused: Collection[TopicPartition]) -> None:
        """These were unassigned, by us, and are about to be assigned again; of them these are paused."""

    def read(self) -> bool:
        """Give what is there to ``arrived``. Returns whether anything was."""

    def serve(self) -> None:
        """Run the callbacks of the client, and read nothing, or next to nothing."""

    def wait(self, seconds: float) -> None:
        """Until there is something to read or a letter, up to ``seconds``; then read."""

    def close(self) -> None:
        """Before the consumer is closed."""


class RowSource:
    """By the native extension: records have a queue of their own, and only what is rare comes by the binding."""

    def __init__(
        self,
        consumer: Consumer,
        source: native.Source,
        mailbox: Mailbox,
        arrived: Arrived,
        misrouted: Callable[[TopicPartition, int], None],
        complained: Callable[[KafkaError], None] | None = None,
    ) -> None:
        """``misrouted`` is told of a record, by its offset, that came by another way and must be fetched again.

        ``complained`` takes the place of the consumer's `error_cb`, which must not be set: a partition whose topic is
        gone complains where the records are read, and the binding ends the process when its own is called there.
        """
        self._consumer = consumer
        self._source = source
        self._arrived = arrived
        self._misrouted = misrouted
        self._complained = complained
        self._closed = False
        self._records: dict[tuple[str, int], tuple[TopicPartition, RowRecords]] = {}
        self._mailbox = mailbox
        mailbox.bell = source.wake

    def lead(self, partitions: Iterable[TopicPartition]) -> None:
        """See `Source`. Also of one that was here before: a topic made anew has new queues."""
        if self._closed:
            return  # an assignment that came while the consumer is closed: nothing of it is read
        for tp in partitions:
            rows = self._source.lead(tp)
            if tp not in self._records:
                self._records[tp] = tp, RowRecords(rows)

    def lead_again(self, partitions: Collection[TopicPartition], paused: Collection[TopicPartition]) -> None:
        """See `Source`.

        A partition stops in a thread of the client's, and forgets with it where its records were to go. So it is led
        only when it has stopped: a pause is answered by the same thread, after that (and a resume of what is not
        paused by nobody, at once). And before it starts again: meanwhile a topic that was made anew may get a new
        partition in the client, which would be led then and not the one that is read.
        """
        every = [KafkaPartition(tp.topic, tp.partition) for tp in partitions]
        with suppress(KafkaException):  # the client has forgotten it, and with it where its records were to go
            self._consumer.pause(every)
        self.lead(partitions)
        with suppress(KafkaException):
            self._consumer.resume([one for one in every if (one.topic, one.partition) not in paused])

    def serve(self) -> None:
        """See `Source`."""
        message = self._consumer.poll(0)
        if message is not None:
            if message.error() is None:
                self._stray(message.topic() or "", message.partition() or 0, message.offset() or 0)
            else:
                self._arrived([], [failure_of(message)])

    def read(self) -> bool:
        """See `Source`."""
        self.serve()
        runs, errors, strays = self._source.read()
        if errors and not all(topic for topic, *_ in errors):
            self._complain([KafkaError(code, text) for topic, _, _, code, text in errors if not topic])
            errors = [error for error in errors if error[0]]
        if runs or errors:
            self._arrived(
                [Run(*self._records[tp], added) for tp, added in runs],
                [Failure(topic, at, offset, KafkaError(code, text)) for topic, at, offset, code, text in errors],
            )
        for stray in strays:
            self._stray(*stray)
        return bool(runs or errors or strays)

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

    def _stray(self, topic: str, partition: int, offset: int) -> None:
        """A record of a partition that nobody has led: the client has made it anew, for one."""
        tp = TopicPartition(topic, partition)
        self.lead([tp])
        self._misrouted(tp, offset)


def failure_of(message: Message) -> Failure:
    """The error that came in the place of a record."""
    error = message.error()
    assert error is not None
    return Failure(message.topic(), message.partition(), message.offset(), error)


def with_plugin(properties: Mapping[str, Property], extension: ModuleType | None) -> dict[str, Property]:
    """``properties``, such that the extension is told of the consumer that is made with them."""
    if extension is None:
        return {**properties}
    paths = [str(properties[PLUGINS])] if properties.get(PLUGINS) else []
    return {**properties, PLUGINS: ";".join([*paths, str(extension.__file__)])}
