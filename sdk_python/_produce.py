"""What a lambda writes to Kafka: records wait here, and go to the sidecar in as few calls as possible.

One call of a lease is under way at a time, so the records arrive in the order in which they were produced. Records
that come meanwhile wait and go with the next call. So a call carries more records, the longer the broker takes.

Back-pressure: while many records wait, no handler is called. A handler that runs may still produce.

Owner: the event loop. A task is made when a record waits, and sends until none does.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

from ._connection import LinkError, TooLargeError
from ._errors import ProduceError, ProduceFailure, RefusedError
from ._limits import Limits
from ._outcomes import Outcome, Outcomes, all_of
from .protocol import lambda_pb2 as pb
from .protocol.names import name_of

MAX_TOPIC_NAME: Final = 249
"""Characters of a topic's name; Kafka takes no longer one."""
HIGH_BYTES: Final = 4 * 1024 * 1024
HIGH_RECORDS: Final = 20_000
"""When so much waits, no handler is called until half of it is gone."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Records after this fail: they come from tasks that ignore back-pressure."""
_OVERHEAD_BYTES: Final = 32  # of a record or a header on the wire
_MIN_BUSY_WAIT_S: Final = 0.005
"""Seconds until records that a busy sidecar did not take are sent again, if it names a shorter time."""


Headers = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """A record to produce."""

    value: bytes | str | None
    key: bytes | str | None = None
    headers: Headers = ()
    partition: int | None = None
    """None: chosen by the key, as the Java client does (murmur2); without a key any."""


class Produced(NamedTuple):
    """Where a record was written."""

    topic: str
    partition: int
    offset: int


class _Waiting(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int
    size: int
    outcome: Outcome[Produced]


_new: Final = tuple.__new__  # as the class does, without a Python call
_TOPIC: Final = attrgetter("topic")
_SIZE: Final = attrgetter("size")


class Producing:
    """The records of one lease on their way to the sidecar."""

    def __init__(
        self,
        lease: str,
        call: Callable[[pb.ProduceRequest], Awaitable[pb.ProduceResponse]],
        on_full: Callable[[bool], None],
        outcomes: Outcomes,
        limits: Limits,
    ) -> None:
        self.outcomes = outcomes
        self._limits = limits
        self._record_bytes = limits.record_bytes
        self._lease = lease
        self._loop = asyncio.get_running_loop()  # asked for once: Python 3.11 makes a system call of it
        self._call = call
        self._on_full = on_full
        self._queue: deque[_Waiting] = deque()
        self._under_way: list[_Waiting] = []
        self._bytes = 0
        self._records = 0
        self._is_full = False
        self._over = ""
        self._sender: asyncio.Task[None] | None = None

    def put(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Outcome[Produced]:
        """Produce a record; returns its awaitable outcome. Raises ``TypeError`` or ``ValueError`` when it is none."""
        outcome: Outcome[Produced] = Outcome(loop=self._loop)
        waiting = _checked(topic, value, key, headers, partition, outcome)
        size = waiting.size
        if self._over:
            self._refuse(waiting, self._over, "stale_lease")
        elif size > self._record_bytes:
            text = f"{size} bytes; a record has at most {self._record_bytes} on its way through the sidecar"
            self._refuse(waiting, text, "too_large")
        elif self._bytes + size > MAX_WAITING_BYTES:
            text = f"{self._bytes} bytes wait already; await what is produced before there is more"
            self._refuse(waiting, text, "failed")
        else:
            outcomes = outcome.of = self.outcomes  # as `Outcomes.add`, without a Python call
            outcomes.put = outcome.number = outcomes.put + 1
            outcomes.under_way += 1
            self._queue.append(waiting)
            self._bytes += size
            self._records += 1
            if not self._is_full and (self._bytes > HIGH_BYTES or self._records > HIGH_RECORDS):
                self._weigh()
            if self._sender is None:
                self._sender = asyncio.create_task(self._send_all())
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
        _fail_all((*self._under_way, *self._queue), why)
        self._queue.clear()
        return held

    def _refuse(self, waiting: _Waiting, text: str, kind: ProduceFailure) -> None:
        """Fail a record that was not queued."""
        error = ProduceError(text, waiting.topic, kind)
        waiting.outcome.set_exception(error)
        self.outcomes.add(waiting.outcome)
        self.outcomes.failed(waiting.outcome, error)

    async def _send_all(self) -> None:
        try:
            while self._queue:
                batch = self._under_way = self._taken()
                await self._send(batch)
                self._bytes -= sum(map(_SIZE, batch))
                self._records -= len(batch)
                self._note_known(batch)
                self._weigh()
        finally:
            self._sender = None
            if self._under_way:  # only when it was cancelled, or failed itself
                _fail_all(self._under_way, "the call was given up")
                self._note_known(self._under_way)

    def _note_known(self, batch: list[_Waiting]) -> None:
        """Note that the outcomes of these records are known."""
        known: dict[Outcomes, tuple[int, int]] = {}
        if self.outcomes.shared:
            for waiting in batch:
                outcomes = waiting.outcome.of
                known[outcomes] = (waiting.outcome.number, known.get(outcomes, (0, 0))[1] + 1)
        else:
            known[self.outcomes] = (batch[-1].outcome.number, len(batch))
        batch.clear()  # an outcome that nobody holds has to be gone before `known_to` asks whether it was received
        for outcomes, (number, count) in known.items():
            outcomes.known_to(number, count)

    def _taken(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        topics: set[str] = set()
        size = 0
        queue, limits = self._queue, self._limits
        max_bytes = limits.produce_bytes
        while queue and len(batch) < limits.produce_records:
            waiting = queue[0]
            size += waiting.size
            topics.add(waiting.topic)
            if batch and (size > max_bytes or len(topics) > limits.produce_topics):
                break
            batch.append(queue.popleft())
        return batch

    async def _send(self, batch: list[_Waiting]) -> None:
        try:
            response = await self._answer(_request(self._lease, batch))
        except TooLargeError as refused:
            await self._send_halves(batch, str(refused))
            return
        except (LinkError, RefusedError) as broken:
            _fail_all(batch, str(broken))
            return
        columns = (response.outcomes, response.partitions, response.offsets, response.errors or batch)
        if {*map(len, columns)} != {len(batch)}:
            _fail_all(batch, f"the sidecar answered for {len(response.outcomes)} of {len(batch)} records")
            return
        if len({waiting.topic for waiting in batch}) > 1 and {*response.outcomes} == {_NOT_ALLOWED}:
            # Nothing was written because of one topic. The records of the others shall not fail with it.
            by_topic: dict[str, list[_Waiting]] = {}
            for waiting in batch:
                by_topic.setdefault(waiting.topic, []).append(waiting)
            for part in by_topic.values():
                await self._send(part)
            return
        written = zip(map(_TOPIC, batch), response.partitions, response.offsets, strict=True)
        errors = response.errors or [""] * len(batch)
        for waiting, outcome, where, error in zip(batch, response.outcomes, written, errors, strict=True):
            if outcome != _WRITTEN:
                text = error or f"the sidecar's answer is {name_of(pb.ProduceOutcome, outcome)}"
                _fail(waiting, ProduceError(text, waiting.topic, _KINDS.get(outcome, "failed")))
            elif not waiting.outcome.done():  # the task that awaited it may have been cancelled
                waiting.outcome.set_result(_new(Produced, where))

    async def _send_halves(self, batch: list[_Waiting], refused: str) -> None:
        """Send a batch in parts, since it is too large as a whole. As a whole it would be refused for ever."""
        if len(batch) == 1:
            _fail(batch[0], ProduceError(refused, batch[0].topic, "too_large"))
            return
        middle = len(batch) // 2
        await self._send(batch[:middle])
        await self._send(batch[middle:])

    async def _answer(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Send a request until the sidecar is not busy, for the lease's life if need be; returns its response."""
        while True:
            response = await self._call(request)
            if not response.outcomes or response.outcomes[0] != _BUSY or {*response.outcomes} != {_BUSY}:
                return response
            await asyncio.sleep(max(_MIN_BUSY_WAIT_S, response.retry_after_ms / 1000))

    def _weigh(self) -> None:
        """Tell when so many records wait that no handler may be called, and when half of them are gone."""
        share = 0.5 if self._is_full else 1.0
        is_full = self._bytes > HIGH_BYTES * share or self._records > HIGH_RECORDS * share
        if is_full != self._is_full:
            self._is_full = is_full
            self._on_full(is_full)


def put_all(
    put: Callable[..., Awaitable[Produced]], topic: str, records: Iterable[Record], outcomes: Outcomes
) -> Outcome[list[Produced]]:
    """Produce these records in order, each by ``put``. If one of them is no record, those before it are produced."""
    return all_of(outcomes, [asyncio.ensure_future(put(topic, *record)) for record in records])


_WRITTEN: Final = pb.PRODUCE_OUTCOME_WRITTEN
_BUSY: Final = pb.PRODUCE_OUTCOME_BUSY
_NOT_ALLOWED: Final = pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED

_KINDS: "Final[Mapping[int, ProduceFailure]]" = {
    pb.PRODUCE_OUTCOME_STALE_LEASE: "stale_lease",
    _NOT_ALLOWED: "not_allowed",
    pb.PRODUCE_OUTCOME_TOO_LARGE: "too_large",
}


def _fail(waiting: _Waiting, error: ProduceError) -> None:
    outcome = waiting.outcome
    if not outcome.done():
        outcome.set_exception(error)
    outcome.of.failed(outcome, error)


def _fail_all(batch: Iterable[_Waiting], why: str) -> None:
    for waiting in batch:
        _fail(waiting, ProduceError(why, waiting.topic, "failed"))


def _checked(
    topic: object,
    value: object,
    key: object,
    headers: Headers,
    partition: object,
    outcome: Outcome[Produced],
) -> _Waiting:
    if not isinstance(topic, str):
        raise TypeError(f"produce(topic): a text, got {type(topic).__name__}")
    _check_name(topic)
    if type(value) is not bytes:
        value = _bytes("value", value)
    if type(key) is not bytes:
        key = _bytes("key", key)
    size = _OVERHEAD_BYTES + (len(value) if value else 0) + (len(key) if key else 0)
    if headers != ():
        headers = [*map(_header, headers)]  # a copy: the lambda may use its list for the next record
        for name, content in headers:
            size += _OVERHEAD_BYTES + len(_name(name)) + len(content or b"")
    number = -1 if partition is None else _number(partition)
    return _new(_Waiting, (topic, key, value, headers, number, size, outcome))


@lru_cache(maxsize=1000)
def _check_name(topic: str) -> None:
    """Check a topic's name, once while there are few: a lambda produces to the same ones all the time."""
    if not 0 < len(topic.encode()) <= MAX_TOPIC_NAME:
        raise ValueError(f"produce(topic): a name has 1 to {MAX_TOPIC_NAME} characters, got {topic[:50]!r}")


def _number(partition: object) -> int:
    if not isinstance(partition, int) or isinstance(partition, bool):
        raise TypeError(f"produce(partition): an int or None, got {type(partition).__name__}")
    if not 0 <= partition < 2**31:
        raise ValueError(f"produce(partition): 0 to 2147483647, got {partition}")
    return partition


def _bytes(what: str, value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"produce({what}): bytes, a text or None, got {type(value).__name__}")


def _header(header: Any) -> tuple[str, bytes | None]:
    match header:
        case (str() as name, bytes() | None as content):
            return name, content
    raise TypeError(f"produce(headers): pairs of a text and bytes or None, got {header!r}")


def _name(name: str) -> bytes:
    """Encode a name as `Message.headers` decodes it. The sidecar refuses a record with one that cannot be written."""
    return name.encode("utf-8", "surrogateescape")


def _request(lease: str, batch: Sequence[_Waiting]) -> pb.ProduceRequest:
    """Make the columns of these records. Columns that are all empty are left out."""
    names, keys, values, headers, partitions, _, _ = zip(*batch, strict=True)
    topics = {name: index for index, name in enumerate(dict.fromkeys(names))}
    request = pb.ProduceRequest(lease=lease, topics=topics, values=_filled(values), null_values=_nulls(values))
    if len(topics) > 1:
        request.topic_indexes.extend(map(topics.__getitem__, names))
    if keys.count(None) < len(keys):
        request.keys.extend(_filled(keys))
        request.null_keys.extend(_nulls(keys))
    if max(partitions) >= 0:
        request.partitions.extend(partitions)
    if any(headers):
        request.header_counts.extend(map(len, headers))
        contents = [value for some in headers for _, value in some]
        request.header_names.extend(_name(name) for some in headers for name, _ in some)
        request.header_values.extend(_filled(contents))
        request.null_header_values.extend(_nulls(contents))
    return request


def _filled(column: Sequence[bytes | None]) -> Sequence[bytes]:
    return [entry or b"" for entry in column] if None in column else cast("Sequence[bytes]", column)


def _nulls(column: Sequence[bytes | None]) -> Sequence[int]:
    return [index for index, entry in enumerate(column) if entry is None] if None in column else ()
