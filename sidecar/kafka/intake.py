"""What comes from Kafka's client: errors are told from records, and records wait for their partitions.

Owned by the consumer thread.
"""

from confluent_kafka import KafkaError, KafkaException, Message

from sidecar.kafka.connection import Connection
from sidecar.kafka.encode import Undeliverable
from sidecar.kafka.inflow import Inflow
from sidecar.kafka.places import Places
from sidecar.kafka.sender import Sender
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

UNREADABLE = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001 - the binding names librdkafka's codes with an underscore
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""Errors about one record, which librdkafka reports and then goes on behind."""


class Intake:
    """The way in of one lambda's records."""

    def __init__(
        self, table: PartitionTable, inflow: Inflow, places: Places, connection: Connection, sender: Sender
    ) -> None:
        self._table = table
        self._inflow = inflow
        self._places = places
        self._connection = connection
        self._sender = sender

    def take(self, batch: list[Message]) -> None:
        """Let what came wait for its partitions."""
        errors = [*filter(Message.error, batch)]
        spoilt: dict[TopicPartition, Undeliverable] = {}
        if errors:
            for message in errors:
                self._look_at(message, spoilt)
            batch = [m for m in batch if m.error() is None and not _comes_after(m, spoilt)]
        for tp in self._inflow.add(batch):
            if tp in self._table.partitions:
                self._sender.changed.add(tp)
            else:
                # Taken away inside this very call, after librdkafka had put the record into its answer.
                self._inflow.forget(tp)
        for tp, bad in spoilt.items():
            self._inflow.spoil(tp, bad)
            self._sender.changed.add(tp)

    def _look_at(self, message: Message, spoilt: dict[TopicPartition, Undeliverable]) -> None:
        """An error that came in the place of a record. Decided by its code, never by its text.

        A record that the client cannot read goes into ``spoilt``, the first of each partition.
        """
        error = message.error()
        assert error is not None
        topic, partition = message.topic(), message.partition()
        if error.fatal():
            raise KafkaException(error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and partition is not None:  # noqa: SLF001
            tp = TopicPartition(topic, partition)
            if tp in self._table.partitions:
                self._places.offset_gone(tp)
            return
        if error.code() in UNREADABLE and topic is not None and partition is not None:
            held = self._table.partitions.get(TopicPartition(topic, partition))
            offset = message.offset()
            if held is not None and offset is not None and offset >= 0:
                if offset not in held.skip:
                    reason = f"the Kafka client cannot read the record: {error.str()}"
                    spoilt.setdefault(held.tp, Undeliverable(0, offset, reason))
                return
        self._connection.complain(error, topic)


def _comes_after(message: Message, spoilt: dict[TopicPartition, Undeliverable]) -> bool:
    """Whether an undeliverable record of the same partition comes before this one."""
    bad = spoilt.get(TopicPartition(message.topic() or "", message.partition() or 0))
    return bad is not None and (message.offset() or 0) >= bad.offset
