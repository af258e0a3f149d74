"""What a lambda writes to Kafka: records wait here, and go to the sidecar in as few calls as possible.

One call of a lease is under way at a time, so the records arrive in the order in which they were produced. Records
that come meanwhile wait and go with the next call. So a call carries more records, the longer the broker takes.

Back-pressure: while many records wait, no handler is called. A handler that runs may still produce.

Owner: the event loop. A task is made when a record waits, and sends until none does.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice, repeat
from typing import Any, Final

from ._batch import NOT_ALLOWED, Batch, Many, Produced, refused
from ._connection import LinkError, TooLargeError
from ._counters import Counters
from ._errors import ProduceError, ProduceFailure, RefusedError
from ._limits import Limits
from ._native import producing
from ._outcome import Outcome, outcome_of
from ._outcomes import Outcomes
from ._record import (
    OVERHEAD_BYTES,
    Checked,
    Columns,
    Headers,
    Record,
    WireHeaders,
    as_bytes,
    check_name,
    checked,
    checked_partition,
    checked_source,
    wire_headers,
)
from .protocol import lambda_pb2 as pb

HIGH_BYTES: Final = 4 * 1024 * 1024
HIGH_RECORDS: Final = 20_000
"""When so much waits, no handler is called until half of it is gone."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Records after this fail: they come from tasks that ignore back-pressure."""
_MIN_BUSY_WAIT_S: Final = 0.005
"""Seconds until records that a busy sidecar did not take are sent again, if it names a shorter time."""


Call = Callable[[pb.ProduceRequest], Awaitable[pb.ProduceResponse]]

_NEVER: Final = -1
_CHUNK: Final = 1000
"""Records of one `produce_many` that are looked at together."""


class Producing(producing.Queue):
    """The records of one lease on their way to the sidecar."""

    def __init__(
        self,
        lease: str,
        call: Call,
        on_full: Callable[[bool], None],
        outcomes: Outcomes,
        limits: Limits,
        counters: Counters,
        on_first: Callable[[], None] = lambda: None,
        *,
        keeps_sources: bool = False,
    ) -> None:
        """``on_full``: whether no handler may be called. ``on_first``: ``outcomes`` count records from now on.

        ``keeps_sources``: the sidecar is told from which message each record was made.
        """
        self.outcomes = outcomes
        self._limits = limits
        self._counters = counters
        self._lease = lease
        self._loop = asyncio.get_running_loop()  # asked for once: Python 3.11 makes a system call of it
        self._call = call
        self._on_full = on_full
        self._on_first = on_first
        self.counting = outcomes  # or those of a document while its lambda produces
        self._kind = Outcome
        self._keeps_sources = keeps_sources
        self._queue: deque[Batch] = deque()
        self._open: Batch | None = None
        """The last one of the queue, which takes more records."""
        self._under_way: Batch | None = None
        self._bytes = 0
        self._records = 0
        self._is_full = False
        self._over = ""
        self._sender: asyncio.Task[None] | None = None
        # `put` is quick for a record whose topic the open batch has already, while no more than so many bytes and
        # records wait. Everything else is looked at when that is not so.
        self._usual_bytes = _NEVER
        self._usual_records = _NEVER

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Headers = (),
        partition: int | None = None,
        source: int | None = None,
    ) -> Outcome[Produced]:
        """Write a record to Kafka, as `IContext.produce` describes. A lambda calls `put`, which is quicker."""
        made_from = _NEVER if source is None else checked_source(source)
        if type(value) is not bytes:
            value = as_bytes("value", value)
        if type(key) is not bytes:
            key = as_bytes("key", key)
        size = OVERHEAD_BYTES + (len(value) if value else 0) + (len(key) if key else 0)
        number = _NEVER if partition is None else checked_partition(partition)
        wired: WireHeaders = ()
        if headers != ():
            wired, more = wire_headers(headers)
            size += more
        waiting = self._bytes + size
        batch = self._open
        is_usual = waiting <= self._usual_bytes and self._records < self._usual_records
        if batch is None or not is_usual or (topic != batch.topic and not batch.knows(topic)):
            is_usual = False
            check_name(topic)
            error = self._refusal(topic, size)
            if error is not None:
                self._close()  # the numbers of a batch have no gaps
                return refused(self._loop, self.counting, error)
            batch = self._batch_for(topic, size)
        self._bytes = waiting
        self._records += 1
        batch.size += size
        batch.values.append(value)
        batch.keys.append(key)
        if key is not None:
            batch.keyed = True
        if batch.sources is not None:
            batch.sources.append(made_from)
        if batch.is_wide or wired or number >= 0 or topic != batch.topic:
            batch.fill(topic, wired, number)
        counting = self.counting
        counting.put += 1
        counting.under_way += 1
        if batch.counting is not None or counting is not batch.owner:
            batch.count_in(counting)
        outcome: Outcome[Produced] = outcome_of(batch, len(batch.outcomes))
        batch.outcomes.append(outcome)
        if not is_usual:
            self._look()
        return outcome

    def put_many(
        self, topic: str, records: Iterable[Record] | Columns, source: int | None = None
    ) -> Outcome[list[Produced]]:
        """Write these records to Kafka, as `IContext.produce_many` describes."""
        made_from = _NEVER if source is None else checked_source(source)
        many = Many(self._loop, self.counting)
        outcome = outcome_of(many, 0)
        try:
            if isinstance(records, Columns):
                self._put_columns(topic, records, made_from, many, outcome)
            else:
                self._put_rows(topic, records, made_from, many, outcome)
        finally:
            many.whole()  # when one of them is no record, those before it are produced
        return outcome

    async def drained(self) -> None:
        """Wait until the outcome of all that was produced is known."""
        while self._sender is not None:
            await asyncio.wait({self._sender})

    def end(self, why: str) -> list[int]:
        """Take no more records, and fail those without an outcome. Returns the checkpoints that waited for them."""
        held = self.outcomes.end()
        if self._over:
            return held
        self._over = why
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None  # a task that has not begun never runs its `finally`
        self._close()
        left = [*self._queue]
        if self._under_way is not None:
            left.insert(0, self._under_way)
            self._under_way = None
        self._queue.clear()
        while left:
            self._finish_failed(left.pop(0), why)
        return held

    # ----------------------------------------------------------------------------------------- records come

    def _put_each(
        self, topic: str, records: Iterable[Record], source: int, many: Many, outcome: Outcome[list[Produced]]
    ) -> None:
        """Records that are looked at one by one."""
        batch: Batch | None = None
        first = 0
        try:
            for row in records:
                record = checked(topic, *row)
                error = self._refusal(topic, record.size)
                taken_by = None if error is not None else self._batch_for(topic, record.size)
                if batch is not None and taken_by is not batch:
                    batch.belongs_to(many, first)
                if error is not None or taken_by is None:
                    assert error is not None
                    self._close()
                    many.part_refused(outcome, error)
                elif taken_by is not batch:
                    first = len(taken_by)
                batch = taken_by
                if batch is not None:
                    self._add(batch, topic, record, source, outcome)
        finally:
            if batch is not None:
                batch.belongs_to(many, first)

    def _put_columns(
        self, topic: str, columns: Columns, source: int, many: Many, outcome: Outcome[list[Produced]]
    ) -> None:
        values, keys, headers, partitions = columns
        for name, column in (("keys", keys), ("headers", headers), ("partitions", partitions)):
            if column is not None and len(column) != len(values):
                raise ValueError(f"produce_many({name}): {len(column)} for {len(values)} values")
        for at in range(0, len(values), _CHUNK):
            end = at + _CHUNK
            some_keys = None if keys is None else keys[at:end]
            plain = headers is None and partitions is None
            if plain and self._extend(topic, values[at:end], some_keys, source, many, outcome):
                continue
            rows = zip(
                values[at:end],
                repeat(None) if some_keys is None else some_keys,
                repeat(()) if headers is None else headers[at:end],
                repeat(None) if partitions is None else partitions[at:end],
                strict=False,
            )
            self._put_each(topic, (Record(*row) for row in rows), source, many, outcome)

    def _put_rows(
        self, topic: str, records: Iterable[Record], source: int, many: Many, outcome: Outcome[list[Produced]]
    ) -> None:
        left = iter(records)
        more = True
        while more:
            rows: list[Record] = []
            try:
                rows.extend(islice(left, _CHUNK))
                more = len(rows) == _CHUNK
            finally:  # those before an exception of the iterator are produced
                if not self._extend_rows(topic, rows, source, many, outcome):
                    self._put_each(topic, rows, source, many, outcome)

    def _extend_rows(
        self, topic: str, rows: Sequence[Record], source: int, many: Many, outcome: Outcome[list[Produced]]
    ) -> bool:
        """Add records of key and value to a batch at once. Returns False if each has to be looked at."""
        if {*map(type, rows)} != {Record}:
            return False
        values, keys, headers, partitions = zip(*rows, strict=True)
        if headers.count(()) != len(rows) or partitions.count(None) != len(rows):
            return False
        return self._extend(topic, values, None if keys.count(None) == len(rows) else keys, source, many, outcome)

    def _extend(
        self,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None,
        source: int,
        many: Many,
        outcome: Outcome[list[Produced]],
    ) -> bool:
        """The same for columns."""
        if self._over or not isinstance(topic, str):
            return False
        if {*map(type, values)} != {bytes} or (keys is not None and {*map(type, keys)} != {bytes}):
            return False
        count = len(values)
        size = count * OVERHEAD_BYTES + sum(map(len, values)) + (0 if keys is None else sum(map(len, keys)))
        limits = self._limits
        if size > limits.produce_bytes or count > limits.produce_records or self._bytes + size > MAX_WAITING_BYTES:
            return False
        check_name(topic)
        batch = self._batch_for(topic, size, count)
        if batch.is_wide or topic != batch.topic:
            return False
        first = len(batch)
        batch.values.extend(values)
        batch.keys.extend(repeat(None, count) if keys is None else keys)
        batch.keyed = batch.keyed or keys is not None
        if batch.sources is not None:
            batch.sources.extend(repeat(source, count))
        batch.outcomes.extend(repeat(outcome, count))
        self._counted(batch, size, count)
        batch.belongs_to(many, first)
        return True

    def _refusal(self, topic: str, size: int) -> ProduceError | None:
        """Why a record of this size fails before it is queued; None: it does not."""
        why, kind = "", _FAILED
        if self._over:
            why, kind = self._over, "stale_lease"
        elif size > self._limits.record_bytes:
            most = self._limits.record_bytes
            why = f"{size} bytes; a record has at most {most} on its way through the sidecar"
            kind = "too_large"
        elif self._bytes + size > MAX_WAITING_BYTES:
            why = f"{self._bytes} bytes wait already; await what is produced before there is more"
        if not why:
            return None
        self._on_first()
        self._counters.produce_failures[kind] += 1
        return ProduceError(why, topic, kind)

    def _batch_for(self, topic: str, size: int, count: int = 1) -> Batch:
        """The batch that takes so many records of this topic next."""
        limits, batch = self._limits, self._open
        if (
            batch is None
            or (len(batch) and batch.size + size > limits.produce_bytes)
            or len(batch) + count > limits.produce_records
            or (topic not in batch.topics and len(batch.topics) >= limits.produce_topics)
        ):
            self._on_first()
            batch = self._open = Batch(self._loop, self.outcomes, topic, keeps_sources=self._keeps_sources)
            self._queue.append(batch)
        return batch

    def _add(
        self,
        batch: Batch,
        topic: str,
        record: Checked,
        source: int,
        outcome: Outcome[Produced] | Outcome[list[Produced]],
    ) -> None:
        batch.values.append(record.value)
        batch.keys.append(record.key)
        batch.keyed = batch.keyed or record.key is not None
        batch.outcomes.append(outcome)
        if batch.sources is not None:
            batch.sources.append(source)
        if batch.is_wide or topic != batch.topic or record.headers or record.partition >= 0:
            batch.fill(topic, record.headers, record.partition)
        self._counted(batch, record.size, 1)

    def _counted(self, batch: Batch, size: int, count: int) -> None:
        """Count records that were just added to the batch."""
        counting = self.counting
        counting.put += count
        counting.under_way += count
        if batch.counting is not None or counting is not batch.owner:
            batch.count_in(counting, count)
        batch.size += size
        self._bytes += size
        self._records += count
        self._look()

    def _look(self) -> None:
        """Look at what a record of the open batch changes: who must be told, and what the next one may leave out."""
        self._weigh()
        self._note_usual()
        self._begin()

    def _begin(self) -> None:
        """Have the queue sent."""
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())

    def _close(self) -> None:
        """The open batch takes no more records."""
        self._open = None

    def _note_usual(self) -> None:
        """Note for which records nothing has to be looked at."""
        batch = self._open
        if batch is None:
            return
        limits = self._limits
        room = self._bytes - batch.size + limits.produce_bytes
        self._usual_bytes = min(room, MAX_WAITING_BYTES if self._is_full else HIGH_BYTES)
        room = self._records - len(batch) + limits.produce_records
        self._usual_records = room if self._is_full else min(room, HIGH_RECORDS)

    def _weigh(self) -> None:
        """Tell when so many records wait that no handler may be called, and when half of them are gone."""
        share = 0.5 if self._is_full else 1.0
        is_full = self._bytes > HIGH_BYTES * share or self._records > HIGH_RECORDS * share
        if is_full != self._is_full:
            self._is_full = is_full
            self._on_full(is_full)

    # ---------------------------------------------------------------------------------------------- records go

    async def _send_all(self) -> None:
        try:
            await self._send_queue()
        finally:
            self._sender = None
            failed, self._under_way = self._under_way, None
            if failed is not None:  # only when it was cancelled, or failed itself
                self._finish_failed(failed, "the call was given up")

    async def _send_queue(self) -> None:
        while self._queue:
            batch = self._take_batch()
            await self._send(batch, range(len(batch)))
            self._gone(batch)

    def _take_batch(self) -> Batch:
        """The next batch of the queue is under way, and takes no more records."""
        batch = self._under_way = self._queue.popleft()
        if batch is self._open:
            self._close()
        return batch

    def _gone(self, batch: Batch) -> None:
        """The outcomes of this batch are known."""
        self._under_way = None
        self._bytes -= batch.size
        self._records -= len(batch)
        self._finish(batch)
        self._weigh()
        self._note_usual()

    def _finish_failed(self, batch: Batch, why: str) -> None:
        batch.fail_all(range(len(batch)), why)
        self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        failures = batch.failures
        self._counters.produced += len(batch) - len(failures)
        self._counters.produce_failures.update(failures)
        batch.finish()

    async def _send(self, batch: Batch, places: Sequence[int]) -> None:
        """Send the records at these places, and let the batch have their outcomes."""
        try:
            response = await self._answer(batch.request(self._lease, places))
        except TooLargeError as refusal:
            await self._send_halves(batch, places, str(refusal))
            return
        except (LinkError, RefusedError) as broken:
            self._broke(batch, places, str(broken))
            return
        await self._take_outcomes(batch, places, response)

    async def _take_outcomes(self, batch: Batch, places: Sequence[int], response: pb.ProduceResponse) -> None:
        """Take the sidecar's answer for the records at these places."""
        count = len(places)
        columns = (response.outcomes, response.partitions, response.offsets, response.errors or places)
        if {*map(len, columns)} != {count}:
            self._broke(batch, places, f"the sidecar answered for {len(response.outcomes)} of {count} records")
            return
        if {*response.outcomes} == {NOT_ALLOWED} and len(parts := batch.by_topic(places)) > 1:
            # Nothing was written because of one topic. The records of the others shall not fail with it.
            for part in parts:
                await self._send(batch, part)
            return
        batch.answered(places, response)

    def _broke(self, batch: Batch, places: Sequence[int], why: str) -> None:
        """A call ended without an answer: nobody knows what became of its records."""
        batch.fail_all(places, why)

    async def _send_halves(self, batch: Batch, places: Sequence[int], why: str) -> None:
        """Send records in parts, since they are too large as a whole. As a whole they would be refused for ever."""
        if len(places) == 1:
            batch.fail(places[0], why, "too_large")
            return
        middle = len(places) // 2
        await self._send(batch, places[:middle])
        await self._send(batch, places[middle:])

    async def _answer(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Send a request until the sidecar is not busy, for the lease's life if need be; returns its response."""
        while True:
            response = await self._call(request)
            if not is_busy(response):
                return response
            await asyncio.sleep(max(_MIN_BUSY_WAIT_S, response.retry_after_ms / 1000))


def is_busy(response: pb.ProduceResponse) -> bool:
    """Whether the same request is to be sent again. One without records is told so by the time to wait alone."""
    if not response.outcomes:
        return response.retry_after_ms > 0 and not response.HasField("commit")
    return response.outcomes[0] == _BUSY and {*response.outcomes} == {_BUSY}


_BUSY: Final = pb.PRODUCE_OUTCOME_BUSY
_FAILED: Final[ProduceFailure] = "failed"
