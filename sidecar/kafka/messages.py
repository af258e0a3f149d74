"""Records as the binding's message objects.

Used where the native extension could not be built, and slower: about a microsecond of CPU a record for the objects
and their columns.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from confluent_kafka import Message

from sidecar.kafka.encode import RECORD_OVERHEAD, SAMPLE, encode, headers_of
from sidecar.kafka.records import Failure, Frame, Record, Run, Undeliverable, UnreadableError
from sidecar.partitions.vocabulary import TopicPartition

FEW = 64
"""Records whose sizes may as well be looked at one by one: a guess from a few of them may be far off."""

MESSAGE_OVERHEAD = 300
"""Bytes of memory that a record takes beside its value: the message object, its key, its place in lists."""


class MessageRecords:
    """See `Records`. ``size`` is estimated from the sizes of some values."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def next_offset(self) -> int:
        """See `Records`."""
        return _offset(self._messages[-1]) + 1

    def extend(self, messages: list[Message]) -> None:
        """These come after the others; without errors, at least one."""
        self._messages += messages
        sample = messages[::SAMPLE]
        self.size += (sum(map(len, sample)) // len(sample) + MESSAGE_OVERHEAD) * len(messages)

    def offset(self, index: int) -> int:
        """See `Records`."""
        return _offset(self._messages[index])

    def before(self, offset: int) -> int:
        """See `Records`."""
        return bisect_left(self._messages, offset, key=_offset)

    def first(self) -> Record:
        """See `Records`."""
        message = self._messages[0]
        headers, bad = headers_of([message])
        if bad is not None:
            raise UnreadableError(bad.reason)
        kind, timestamp = message.timestamp()
        given = [(name.encode(), value) for name, value in headers[0] or ()]
        return Record(_offset(message), message.value(), message.key(), given, kind, timestamp)

    def drop(self, count: int) -> None:
        """See `Records`."""
        self._shrink(len(self._messages) - count)
        del self._messages[:count]

    def truncate(self, count: int) -> None:
        """See `Records`."""
        self._shrink(count)
        del self._messages[count:]

    def remove(self, index: int) -> None:
        """See `Records`."""
        self._shrink(len(self._messages) - 1)
        del self._messages[index]

    def frame(self, most: int, soft_limit: int, hard_limit: int) -> tuple[Frame | None, Undeliverable | None]:
        """See `Records`."""
        # The frame's size is known only when it has been made, and what does not fit then is made again: with records
        # of a kilobyte, four times over.
        most = min(most, self.fitting(min(soft_limit, hard_limit)))
        return encode(
            self._messages if len(self._messages) <= most else self._messages[:most], soft_limit, hard_limit
        )

    def fitting(self, size: int) -> int:
        """About how many take ``size`` bytes on the wire, and never fewer than `FEW`."""
        each = max(1, self.size // len(self._messages) - MESSAGE_OVERHEAD + RECORD_OVERHEAD)
        return max(FEW, size // each)

    def _shrink(self, left: int) -> None:
        self.size = self.size * left // max(1, len(self._messages))


class Sorter:
    """Sorts messages into their partitions."""

    def __init__(self) -> None:
        self._records: dict[TopicPartition, MessageRecords] = {}

    def sort(self, batch: list[Message]) -> Iterator[Run]:
        """Append a batch (without errors) to what waits for its partitions."""
        for tp, messages in self._grouped(batch):
            records = self._records.setdefault(tp, MessageRecords())
            records.extend(messages)
            yield Run(tp, records, len(messages))

    def _grouped(self, batch: list[Message]) -> Iterator[tuple[TopicPartition, list[Message]]]:
        keys = zip(map(Message.topic, batch), map(Message.partition, batch), batch, strict=True)
        for (name, partition), rows in groupby(keys, itemgetter(0, 1)):
            yield TopicPartition(name or "", partition or 0), [*map(itemgetter(2), rows)]


def failure_of(message: Message) -> Failure:
    """The error that came in the place of a record."""
    error = message.error()
    assert error is not None
    return Failure(message.topic(), message.partition(), message.offset(), error)


def _offset(record: Message) -> int:
    return record.offset() or 0
