"""Writes the records that one lambda produces to Kafka.

Requests come as the native extension reads them, and `native_outlet.py` writes them: `LambdaProducer.write_request`.
Or they come as records, where there is no extension, and the rest of this file writes them: `LambdaProducer.write`.
Both are under the same limits and have the same outcomes; a process has one of the two.

The event loop owns a `LambdaProducer` and gives the records to librdkafka, which only queues them. A thread polls
librdkafka's producer, which then reports the result of each record: it calls `_Batch.report` in that thread. The loop
and the thread share the lists of a batch; each entry is written once, by one of them.

Order: the records of a batch are queued in order, and the producer is idempotent, so a retry does not change the
order. The caller has one batch of a lease under way at a time.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import is_fatal, kind_of
from sidecar.config.kafka_properties import Property
from sidecar.logs import get_logger
from sidecar.producing.native_outlet import NativeOutlet
from sidecar.producing.outcomes import (
    BATCH_BYTES,
    MIXED,
    NOT_SENT,
    OF_ITS_BATCH,
    FullError,
    Outcome,
    Outgoing,
    Written,
    nothing,
    why,
)
from sidecar.records.extension import extension

if TYPE_CHECKING:
    from sidecar.records import _native as native

MAX_BYTES = 32 * 1024 * 1024
MAX_RECORDS = 50_000
"""Limits for the records of one lambda that are not written yet; more are refused. librdkafka's own queue has room
for more."""

CHUNK_RECORDS = 500
"""Records that are queued in one turn of the loop, which takes about a millisecond."""

_POLL_S = 0.2
"""Seconds of one poll, and so the longest time until the thread notices that it must end."""

_POLL_OLD_S = 0.01
"""Seconds of one poll while there are old producers, which are polled in between."""

_ENDED = "the sidecar has ended"
_NEVER = f"more than {MAX_RECORDS} records or {MAX_BYTES} bytes in one request: it can never be on its way"

_WRITTEN = Outcome.WRITTEN  # an enum lookup is ten times slower in Python 3.11, and `report` runs for each record


class LambdaProducer:
    """See the module. Made and used on the event loop."""

    def __init__(self, lambda_name: str, properties: Mapping[str, Property]) -> None:
        """``properties``: of the producer."""
        self._lambda = lambda_name
        self._properties = properties
        self._log = get_logger(__name__).bind(lambda_=lambda_name)
        self._producer: Producer | None = None
        self._reports: threading.Thread | None = None
        self._old: list[Producer] = []
        """Producers that were replaced. They are polled until they are empty and no call uses them."""
        self._queueing = 0
        """Calls that are giving records to a producer; it may have been replaced in the meantime."""
        self._alone = False
        """Each record must be a batch of its own, since a topic has refused a batch. See `_Batch.report`."""
        self._is_alone = False
        """Whether the present producer makes such batches."""
        self._ending = threading.Event()
        self._under_way: set[_Batch] = set()
        self._outlet: NativeOutlet | None = None
        """Made for the first request."""
        self._bytes = 0
        self._records = 0
        self.written = 0
        """Records written since the start."""
        self.failures: Counter[str] = Counter()
        """Records that were not written, since the start, by their kind in `FAILURE_KINDS`."""

    async def write(self, records: Sequence[Outgoing], size: int) -> Written:
        """Write these records, of ``size`` bytes together; returns when the outcome of each is known.

        Raises ``FullError`` when the limits are reached.
        """
        if refused := self._refused(len(records), size):
            return refused
        batch = _Batch(len(records), self._arrived, size)
        self._under_way.add(batch)
        self._queueing += 1
        try:
            await self._queue(records, batch)
        finally:
            self._queueing -= 1
            # Also if the caller was cancelled: records that are queued are written, the others are not.
            batch.expect()
        return await asyncio.shield(batch.done)

    async def write_request(self, request: "native.Request") -> Written | bytes:
        """Write the records of a request; returns when the outcome of each is known.

        All written: the serialized response. Raises ``FullError`` when the limits are reached.
        """
        if refused := self._refused(len(request), request.size):
            return refused
        if self._outlet is None:
            module = extension()
            assert module is not None, "it has read the request"
            self._outlet = NativeOutlet(module, self._properties, self._log, self._request_arrived)
        return await self._outlet.write(request) or request.answer()

    async def stop(self, timeout: float) -> None:
        """Write the records that are under way, for at most ``timeout`` seconds. Later records fail."""
        deadline = monotonic() + timeout
        self._ending.set()
        if self._reports is not None:
            # First the thread must end: only one thread at a time may report to a batch.
            await asyncio.to_thread(self._reports.join)
        left = 0
        if self._outlet is not None:
            await self._outlet.flush(timeout)
            left += self._outlet.give_up(_ENDED)
            await self._outlet.close()
        for producer in (*self._old, self._producer):
            if producer is not None:
                left += await asyncio.to_thread(_flush, producer, max(0.0, deadline - monotonic()))
        if left:
            self._log.error("records of the lambda were not written before the end", records=left)
        for batch in [*self._under_way]:
            batch.give_up(_ENDED)

    def _refused(self, count: int, size: int) -> Written | None:
        """Why ``count`` records of ``size`` bytes are not taken; None: they are, and count from now on. Raises
        ``FullError``."""
        if size > MAX_BYTES or count > MAX_RECORDS:  # it would never fit
            self.failures["too_large"] += count
            return nothing(count, _NEVER, Outcome.TOO_LARGE)
        if self._records and (self._bytes + size > MAX_BYTES or self._records + count > MAX_RECORDS):
            raise FullError
        if self._ending.is_set():
            self.failures["not_sent"] += count
            return nothing(count, _ENDED)
        self._bytes += size
        self._records += count
        return None

    async def _queue(self, records: Sequence[Outgoing], batch: "_Batch") -> None:
        producer, mixed = None, None
        may_be_large = batch.size >= BATCH_BYTES
        for index, record in enumerate(records):
            if index and index % CHUNK_RECORDS == 0:
                await asyncio.sleep(0)
            topic, key, value, partition, headers, refusal = record
            if refusal:
                batch.refuse(index, refusal, "invalid")
                continue
            try:
                # One producer writes the whole batch, as long as it works, so that the records keep their order.
                if producer is None:
                    producer = self._opened()
                    mixed = None if self._is_alone else self._go_alone
                report = partial(batch.report, index, None if may_be_large and _is_large(record) else mixed)
                # Positional arguments: with keywords the call takes a quarter longer.
                if headers:
                    producer.produce(topic, value, key, partition, report, None, 0, [*headers])
                else:
                    producer.produce(topic, value, key, partition, report)
                batch.taken += 1
            except BufferError as full:
                batch.refuse(index, str(full), "full")
            except KafkaException as refused:  # its result is known at once
                error: KafkaError = refused.args[0]
                batch.refuse(index, why(error, topic, partition), kind_of(error))
                if is_fatal(error) and producer is not None:
                    self._renew(producer, error)
                    producer = None
            except Exception as refused:  # the binding refuses it; the other records must go on
                batch.refuse(index, f"the Kafka client does not take it: {refused}", "invalid")

    def _go_alone(self) -> None:
        """Send each record alone, from the next call on. Called in the thread."""
        self._alone = True

    def _opened(self) -> Producer:
        """The producer. It is made for the first record, since many lambdas produce none."""
        if self._alone and not self._is_alone:
            self._log.warning("a topic takes no batch as ours are: records go one by one, which is slower")
            self._is_alone = True
            if self._producer is not None:
                self._old.append(self._producer)  # it still has records of another call
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
        """Replace a producer that failed for good; the next record gets a new one."""
        if failed is not self._producer:
            return  # it was replaced already
        self._log.warning("the producer failed for good; making another", error=error.str())
        failed.purge()  # all its records are reported as failed
        self._old.append(failed)
        self._producer = None

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Poll the producers, so that librdkafka reports the results of records. Runs in the thread.

        An old producer may be removed only if no call can still give it a record. Steps: (1) The thread copies the
        list of old producers and then checks that no call is queueing. (2) A call that begins later on the loop gets
        the present producer, which is not in the copy. (3) So an old producer of the copy that is empty stays empty.
        """
        while not self._ending.is_set():
            producer = self._producer
            olds, unused = [*self._old], not self._queueing
            for old in olds:
                try:
                    old.poll(0)
                except KafkaException:
                    old.purge()
                if unused and not len(old):
                    self._old.remove(old)
            if producer is None:
                self._ending.wait(_POLL_OLD_S)
                continue
            try:
                producer.poll(_POLL_OLD_S if self._old else _POLL_S)
            except KafkaException as failure:  # the binding raises it when the producer failed for good
                loop.call_soon_threadsafe(self._renew, producer, failure.args[0])

    def _arrived(self, batch: "_Batch") -> None:
        """The outcome of each record of the batch is known. Called on the loop."""
        self._under_way.discard(batch)
        written = batch.result.outcomes.count(Outcome.WRITTEN)
        self._count(len(batch.result.outcomes), written, batch.size, batch.kinds)

    def _request_arrived(self, request: "native.Request", kinds: Mapping[int, str]) -> None:
        """The outcome of each record of the request is known."""
        self._count(len(request), request.written, request.size, kinds)

    def _count(self, count: int, written: int, size: int, kinds: Mapping[int, str]) -> None:
        """``count`` records of ``size`` bytes are no longer under way, and ``written`` of them are written.

        ``kinds``: why others are not, by their index.
        """
        self._bytes -= size
        self._records -= count
        self.written += written
        self.failures.update(kinds.values())
        self.failures["not_sent"] += count - written - len(kinds)


def _is_large(record: Outgoing) -> bool:
    """Whether librdkafka sends the record in a batch of its own."""
    return len(record.value or b"") + len(record.key or b"") >= BATCH_BYTES


def _flush(producer: Producer, timeout: float) -> int:
    """Flush in a thread of its own, at most ``timeout`` seconds. Returns how many records are left."""
    with suppress(KafkaException):
        return producer.flush(timeout)
    return len(producer)


class _Batch:
    """Records that were produced together.

    It is complete when `_reported` equals `_expected`. No completion is missed: the loop owns `_expected`, sets it,
    and then compares; the thread owns `_reported`, increments it, and then compares. Whichever of them writes last
    sees the value of the other, so it finds them equal.
    """

    def __init__(self, count: int, arrived: "Callable[[_Batch], None]", size: int) -> None:
        self.size = size
        self.result = nothing(count, NOT_SENT)
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Written] = self._loop.create_future()
        self._arrived = arrived
        self.kinds: dict[int, str] = {}
        """Why records were not written, by their index; one that was not sent is missing here."""
        self.taken = 0
        """How many of its records librdkafka has taken."""
        self._reported = 0
        self._expected: int | None = None

    def refuse(self, index: int, error: str, kind: str) -> None:
        """The record at ``index`` is not written. ``kind``: one of `FAILURE_KINDS`."""
        self.kinds[index] = kind
        self.result.outcomes[index] = Outcome.TOO_LARGE if kind == "too_large" else Outcome.FAILED
        self.result.errors[index] = error

    def expect(self) -> None:
        """No more records are given to librdkafka. Called on the loop."""
        self._expected = self.taken
        self._look()

    def report(
        self, index: int, mixed: Callable[[], None] | None, error: KafkaError | None, message: Message
    ) -> None:
        """librdkafka reports the result of a record. Called in the thread.

        If a batch is too large, or the topic refuses one of its records, librdkafka fails the whole batch and does
        not split it. The record may be accepted if it is sent alone. So if other records may have been in its batch
        (``mixed`` is not None), the record does not count as refused, and ``mixed`` is called.
        """
        if error is None:
            result = self.result
            result.outcomes[index] = _WRITTEN
            # Both are set when there is no error.
            result.partitions[index] = message.partition() or 0
            result.offsets[index] = message.offset() or 0
            result.errors[index] = ""
        elif error.code() in OF_ITS_BATCH and mixed is not None:
            mixed()
            self.refuse(index, MIXED, "mixed")
        else:
            self.refuse(index, why(error, message.topic(), message.partition()), kind_of(error))
        self._reported += 1
        if self._reported == self._expected:
            self._loop.call_soon_threadsafe(self._look)

    def give_up(self, reason: str) -> None:
        """Complete the batch; records without a report fail with ``reason``. Called on the loop."""
        for index, error in enumerate(self.result.errors):
            if error == NOT_SENT:
                self.result.errors[index] = reason
        self._expected = self._reported
        self._look()

    def _look(self) -> None:
        if self._reported == self._expected and not self.done.done():
            self.done.set_result(self.result)
            self._arrived(self)
