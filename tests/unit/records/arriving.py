"""Records that come, as Python objects."""

from itertools import groupby

from confluent_kafka import Message

from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.fallback.listed import ListedRecords
from sidecar.records.fallback.source import read_message
from sidecar.records.records import Failure, Record, Run


def read(message: Message) -> Record:
    """One that can be read."""
    record = read_message(message)
    assert not isinstance(record, Failure)
    return record


class Arriving:
    """Where messages come from that wait in ``buffer``."""

    def __init__(self, buffer: FetchBuffer) -> None:
        self._buffer = buffer
        self._records: dict[TopicPartition, ListedRecords] = {}

    def come(self, messages: list[Message]) -> list[TopicPartition]:
        """They come. Returns the partitions of which any wait, once for each run of messages."""
        waiting = []
        for tp, group in groupby(messages, lambda one: TopicPartition(one.topic() or "", one.partition() or 0)):
            records = self._records.setdefault(tp, ListedRecords())
            run = [*map(read, group)]
            for record in run:
                records.append(record)
            if self._buffer.add(Run(tp, records, len(run))):
                waiting.append(tp)
        return waiting
