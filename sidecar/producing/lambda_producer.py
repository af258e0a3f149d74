"""What lambdas produce: one lambda's records on their way to Kafka.

The loop owns a lambda producer and gives the records to librdkafka, which only queues them. A thread polls
librdkafka's producer, since that is how it tells what became of them: `_Batch.report` is called in that thread. The
two share a batch's lists, and each entry is written by one of them, once.

Order: what one batch holds is queued in its order, and the producer is idempotent, so a retry changes nothing. The
caller has one batch of a lease under way at a time.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from time import monotonic
from typing import NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import NOWHERE, is_fatal
from sidecar.config.kafka_properties import Property
from sidecar.logs import get_logger

MOST_BYTES = 32 * 1024 * 1024
MOST_RECORDS = 50_000
"""Of one lambda on the way to Kafka; what comes beyond is refused until some of it has arrived. librdkafka's own
queue has room for more."""

CHUNK = 500
"""Records that are queued in one turn of the loop: about a millisecond."""

_POLL = 0.2
"""Seconds; how long the thread may take to notice that it is to end."""

_POLL_OLD = 0.01
"""Seconds between looks at old producers, until the last record has left them."""

BATCH_BYTES = 1_000_000
"""librdkafka's own limit for what goes in one batch. What is as large goes alone."""

MOST_NAME = 80
"""Characters of a topic's name in an error that may be said of many records."""

_NOT_SENT = "not sent"
_MIXED = "the topic refused a batch, for this record or others in it; produced again, each goes alone"
_ENDED = "the sidecar has ended"
_NEVER = f"more than {MOST_RECORDS} records or {MOST_BYTES} bytes in one request: it can never be on its way"

_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
_OF_ITS_BATCH = _TOO_LARGE | {
    KafkaError.INVALID_RECORD,
    KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001 - the binding names librdkafka's codes with an underscore
}
"""What is said of all records of a batch, and may be the fault of one: a size, or no key where the topic is
compacted."""

Headers: TypeAlias = "Sequence[tuple[str, bytes | None]]"


class Outgoing(NamedTuple):
    """A record to write."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int
    """-1: by key."""
    headers: Headers
    refusal: str = ""
    """Why it cannot be written at all; empty: it is tried."""


class Outcome(IntEnum):
    """What became of a record; the numbers are those of the contract."""

    WRITTEN = 1
    FAILED = 2
    TOO_LARGE = 5


_WRITTEN = Outcome.WRITTEN  # Python 3.11 looks a member up ten times as slowly, and this is for each record


@dataclass(slots=True)
class Written:
    """What became of a batch: entry i of each list is of record i."""

    outcomes: list[int]
    partitions: list[int]
    offsets: list[int]
    errors: list[str]
    """Empty texts where a record was written."""


class FullError(Exception):
    """So much is on its way to Kafka that this has to wait; nothing of it was taken."""


class LambdaProducer:
    """See the module. Made and used on the loop."""

    def __init__(self, lambda_name: str, properties: Mapping[str, Property]) -> None:
        """``properties`` are a producer's."""
        self._lambda = lambda_name
        self._properties = properties
        self._log = get_logger(__name__).bind(lambda_=lambda_name)
        self._producer: Producer | None = None
        self._reports: threading.Thread | None = None
        self._old: list[Producer] = []
        """Followed by others, and polled until nobody has use for them."""
        self._queueing = 0
        """Calls that give records to a producer, which may be an old one by now."""
        self._alone = False
        """Each record is a batch of its own: a topic has a limit that batches have met. See `_Batch.report`."""
        self._is_alone = False
        """Whether the present producer does so."""
        self._ending = threading.Event()
        self._under_way: set[_Batch] = set()
        self._bytes = 0
        self._records = 0
        self.written = 0
        """Records written since the start."""
        self.failed = 0
        """Records that were not."""

    async def write(self, records: Sequence[Outgoing], size: int) -> Written:
        """Write these, of ``size`` bytes together; returns when the outcome of each is known.

        Raises:
            FullError: try again later.
        """
        if size > MOST_BYTES or len(records) > MOST_RECORDS:  # later would be never
            self.failed += len(records)
            return _nothing(len(records), _NEVER, Outcome.TOO_LARGE)
        if self._under_way and (self._bytes + size > MOST_BYTES or self._records + len(records) > MOST_RECORDS):
            raise FullError
        if self._ending.is_set():
            return _nothing(len(records), _ENDED)
        batch = _Batch(len(records), self._arrived, size)
        self._bytes += size
        self._records += len(records)
        self._under_way.add(batch)
        self._queueing += 1
        try:
            await self._queue(records, batch)
        finally:
            self._queueing -= 1
            # Also when whoever asked went away in between: what is queued is written, the rest is not.
            batch.expect()
        return await asyncio.shield(batch.done)

    async def stop(self, timeout: float) -> None:
        """Write what is under way, for ``timeout`` seconds at most; what comes from now on fails."""
        deadline = monotonic() + timeout
        self._ending.set()
        if self._reports is not None:
            # First: a batch is told of its records by one thread at a time.
            await asyncio.to_thread(self._reports.join)
        left = 0
        for producer in (*self._old, self._producer):
            if producer is not None:
                left += await asyncio.to_thread(_flush, producer, max(0.0, deadline - monotonic()))
        if left:
            self._log.error("records of the lambda were not written before the end", records=left)
        for batch in [*self._under_way]:
            batch.give_up(_ENDED)

    async def _queue(self, records: Sequence[Outgoing], batch: "_Batch") -> None:
        producer, mixed = None, None
        may_be_large = batch.size >= BATCH_BYTES
        for index, record in enumerate(records):
            if index and index % CHUNK == 0:
                await asyncio.sleep(0)
            topic, key, value, partition, headers, refusal = record
            if refusal:
                batch.refuse(index, refusal)
                continue
            try:
                # All of them by one producer, as long as that works: so they keep their order.
                if producer is None:
                    producer = self._opened()
                    mixed = None if self._is_alone else self._go_alone
                report = partial(batch.report, index, None if may_be_large and _is_large(record) else mixed)
                # By position: with names the call takes a quarter longer.
                if headers:
                    producer.produce(topic, value, key, partition, report, None, 0, [*headers])
                else:
                    producer.produce(topic, value, key, partition, report)
                batch.taken += 1
            except BufferError as full:
                batch.refuse(index, str(full))
            except KafkaException as refused:  # its outcome is known at once
                error: KafkaError = refused.args[0]
                batch.refuse(index, _why(error, topic, partition), too_large=error.code() in _TOO_LARGE)
                if is_fatal(error) and producer is not None:
                    self._renew(producer, error)
                    producer = None
            except Exception as refused:  # what the binding itself does not take; it must not stop the others
                batch.refuse(index, f"the Kafka client does not take it: {refused}")

    def _go_alone(self) -> None:
        """From the next call on. In the thread."""
        self._alone = True

    def _opened(self) -> Producer:
        """Made with the first record, since many a lambda produces none."""
        if self._alone and not self._is_alone:
            self._log.warning("a topic takes no batch as ours are: records go one by one, which is slower")
            self._is_alone = True
            if self._producer is not None:
                self._old.append(self._producer)  # what it has under way is another call's
                self._producer = None
        if self._producer is None:
            alone: dict[str, Property] = {"batch.size": 1} if self._is_alone else {}
            self._producer = Producer({**self._properties, **alone}, logger=ClientLog(self._log))
            if self._reports is None:
                loop, name = asyncio.get_running_loop(), f"produced-{self._lambda}"
                self._reports = threading.Thread(target=self._poll, args=(loop,), name=name, daemon=True)
                self._reports.start()
        return self._producer

    def _renew(self, failed: Producer, error: KafkaError) -> None:
        """A producer that failed for good takes nothing any more: the next record gets another."""
        if failed is not self._producer:
            return  # heard of it before
        self._log.warning("the producer failed for good; making another", error=error.str())
        failed.purge()  # each record in it is told to have failed
        self._old.append(failed)
        self._producer = None

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: have librdkafka tell what became of records."""
        while not self._ending.is_set():
            producer = self._producer
            # Looked at first: a call that begins later gets none of these.
            olds, unused = [*self._old], not self._queueing
            for old in olds:
                try:
                    old.poll(0)
                except KafkaException:
                    old.purge()
                if unused and not len(old):
                    self._old.remove(old)
            if producer is None:
                self._ending.wait(_POLL_OLD)
                continue
            try:
                producer.poll(_POLL_OLD if self._old else _POLL)
            except KafkaException as failure:  # the binding's way to say that it failed for good
                loop.call_soon_threadsafe(self._renew, producer, failure.args[0])

    def _arrived(self, batch: "_Batch") -> None:
        """On the loop: the outcome of each of its records is known."""
        self._under_way.discard(batch)
        self._bytes -= batch.size
        self._records -= len(batch.result.outcomes)
        written = batch.result.outcomes.count(Outcome.WRITTEN)
        self.written += written
        self.failed += len(batch.result.outcomes) - written


def _is_large(record: Outgoing) -> bool:
    """Whether librdkafka puts no other in its batch."""
    return len(record.value or b"") + len(record.key or b"") >= BATCH_BYTES


def _flush(producer: Producer, timeout: float) -> int:
    """In a thread of its own; returns how many records are left."""
    with suppress(KafkaException):
        return producer.flush(timeout)
    return len(producer)


def _nothing(count: int, why: str, outcome: Outcome = Outcome.FAILED) -> Written:
    return Written([outcome] * count, [-1] * count, [-1] * count, [why] * count)


def _why(error: KafkaError, topic: str | None, partition: int | None) -> str:
    """What is wrong with a record that is for this topic and partition (-1 or None: any)."""
    if error.code() not in NOWHERE:
        return error.str()
    name = f"the topic {(topic or '')[:MOST_NAME]!r}"
    if partition is None or partition < 0:
        return f"{name} does not exist: make it, the sidecar does not ({error.str()})"
    return f"{name} does not exist, or has no partition {partition} ({error.str()})"


class _Batch:
    """Records that were handed over together.

    It is complete when as many are reported as are expected. Whoever makes it so last sees it: the loop sets
    `_expected` and then looks at `_reported`; the thread counts up `_reported` and then looks at `_expected`.
    """

    def __init__(self, count: int, arrived: "Callable[[_Batch], None]", size: int) -> None:
        self.size = size
        self.result = _nothing(count, _NOT_SENT)
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Written] = self._loop.create_future()
        self._arrived = arrived
        self.taken = 0
        """So many of them librdkafka has."""
        self._reported = 0
        self._expected: int | None = None

    def refuse(self, index: int, error: str, *, too_large: bool = False) -> None:
        """This one is not written."""
        self.result.outcomes[index] = Outcome.TOO_LARGE if too_large else Outcome.FAILED
        self.result.errors[index] = error

    def expect(self) -> None:
        """No more are handed over. On the loop."""
        self._expected = self.taken
        self._look()

    def report(
        self, index: int, mixed: Callable[[], None] | None, error: KafkaError | None, message: Message
    ) -> None:
        """What became of a record. In the thread.

        librdkafka fails all of a batch that is too large, or that a topic does not take for one record in it, and
        splits none. So where there may have been others in it, the record may well be taken alone: that is no refusal
        of it, and ``mixed`` is called.
        """
        if error is None:
            result = self.result
            result.outcomes[index] = _WRITTEN
            # Both are there when there is no error.
            result.partitions[index] = message.partition() or 0
            result.offsets[index] = message.offset() or 0
            result.errors[index] = ""
        elif error.code() in _OF_ITS_BATCH and mixed is not None:
            mixed()
            self.refuse(index, _MIXED)
        else:
            why = _why(error, message.topic(), message.partition())
            self.refuse(index, why, too_large=error.code() in _TOO_LARGE)
        self._reported += 1
        if self._reported == self._expected:
            self._loop.call_soon_threadsafe(self._look)

    def give_up(self, why: str) -> None:
        """What is not reported by now never is. On the loop."""
        for index, error in enumerate(self.result.errors):
            if error == _NOT_SENT:
                self.result.errors[index] = why
        self._expected = self._reported
        self._look()

    def _look(self) -> None:
        if self._reported == self._expected and not self.done.done():
            self.done.set_result(self.result)
            self._arrived(self)
