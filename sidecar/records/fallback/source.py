"""Reads records as the binding's messages, where the extension could not be built."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.fallback.listed import ListedRecords
from sidecar.records.key_lane import lane_of
from sidecar.records.records import Failure, Record, Run
from sidecar.records.source import MAX_RECORDS_PER_FETCH, Arrived, failure_of

if TYPE_CHECKING:
    from sidecar.mail.boxes import Mailbox

POLL_SLICE_S = 0.005
"""Seconds of one poll. Kafka's client has no wake-up call, so letters are read only between two polls."""


class MessageSource:
    """See `Source`. Each message is converted when it arrives, and dropped."""

    def __init__(self, consumer: Consumer, mailbox: Mailbox, arrived: Arrived, lanes: int = 1) -> None:
        """``lanes``: how many each partition has."""
        self._lanes = lanes
        self._consumer = consumer
        self._mailbox = mailbox
        self._arrived = arrived
        self._records: dict[tuple[TopicPartition, int], ListedRecords] = {}

    def lead(self, partitions: Iterable[TopicPartition]) -> None:
        """See `Source`. The binding reads all partitions; the question makes the client know them."""
        for tp in partitions:
            with suppress(KafkaException):
                self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)

    def read(self) -> bool:
        """See `Source`."""
        batch = self._consumer.consume(MAX_RECORDS_PER_FETCH, 0)
        self._take(batch)
        return bool(batch)

    def serve(self) -> None:
        """See `Source`. The poll may return one record."""
        self._poll(0)

    def wait(self, seconds: float) -> None:
        """See `Source`. `consume(n, timeout)` waits for n records, so a single record would wait for the timeout."""
        if self.read():
            return
        until = monotonic() + seconds
        while not self._poll(max(0.0, min(POLL_SLICE_S, until - monotonic()))):
            if monotonic() >= until or not self._mailbox.empty():
                return
        self.read()

    def close(self) -> None:
        """Does nothing: no resource is held."""

    def _poll(self, seconds: float) -> bool:
        first = self._consumer.poll(seconds)
        if first is not None:
            self._take([first])
        return first is not None

    def _take(self, batch: list[Message]) -> None:
        added: dict[tuple[TopicPartition, int], int] = {}
        failures: list[Failure] = []
        for message in batch:
            record = (
                failure_of(message, self._lanes)
                if message.error() is not None
                else read_message(message, self._lanes)
            )
            if isinstance(record, Failure):
                failures.append(record)
                continue
            tp = TopicPartition(message.topic() or "", message.partition() or 0)
            lane = tp, lane_of(record.key, record.offset, self._lanes)
            self._records.setdefault(lane, ListedRecords()).append(record)
            added[lane] = added.get(lane, 0) + 1
        if batch:
            runs = [Run(tp, self._records[tp, number], count, number) for (tp, number), count in added.items()]
            self._arrived(runs, failures)


def read_message(message: Message, lanes: int = 1) -> Record | Failure:
    """The record; or an error in its place, if the binding cannot read a header's name.

    If a name is not UTF-8, the first call of ``headers()`` raises SystemError. A second call on the same message
    returns a tuple that crashes the process when it is used, and so may a first call that the interpreter has
    specialised. So it is called once, through ``map``.
    """
    offset = message.offset() or 0
    try:
        [headers] = map(Message.headers, [message])
    except (SystemError, UnicodeError):
        error = KafkaError(KafkaError._BAD_MSG, "a header's name is not UTF-8")  # noqa: SLF001 - the binding's name
        number = lane_of(message.key(), offset, lanes)
        return Failure(message.topic(), message.partition(), message.offset(), error, number)
    kind, timestamp = message.timestamp()
    pairs = cast("list[tuple[str, bytes | None]]", headers or [])
    given = [(name.encode(), value) for name, value in pairs]
    return Record(offset, message.value(), message.key(), given, kind, timestamp)
