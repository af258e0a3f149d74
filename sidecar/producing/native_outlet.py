"""Writes whole requests to Kafka with the native extension: no Python object for a record, no lock held for it.

All of it runs on the event loop. librdkafka's threads write a byte into a pipe when there are reports to serve; the
loop then serves them, which counts them in C. Where a record was not written, the outcomes are made here, as the
fallback in `lambda_producer.py` makes them: a test compares the two.

Order: the records of a request are queued in order, in parts between which other work of the loop runs. librdkafka
never refuses a record because its queue is full, since the caller bounds what is under way.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import kind_of
from sidecar.config.kafka_properties import Property, as_text
from sidecar.producing.outcomes import (
    BATCH_BYTES,
    MIXED,
    NOT_SENT,
    OF_ITS_BATCH,
    Outcome,
    Written,
    no_such_partition,
    nothing,
    why,
)
from sidecar.records.header_names import HAS_NUL, NOT_UTF8
from sidecar.records.source import PLUGINS

if TYPE_CHECKING:
    from sidecar.records import _native as native

PART_RECORDS = 2_000
"""Records that are queued in one turn of the loop, which takes about a millisecond."""

CLOSE_S = 5.0
"""Longest wait for librdkafka's threads at the end: one that looks up an address cannot be interrupted."""

_DONE, _MORE, _FAILED = range(3)
"""What `Outlet.produce` returns."""

_NOT_SENT, _REFUSED, REFUSED_BY_KAFKA, _TAKEN, REPORTED = range(5)
"""The states of a record in `request.h`."""

_REFUSALS = {2: HAS_NUL, 3: NOT_UTF8}
"""The codes of refused records in `request.h`."""


def texts_of(properties: Mapping[str, Property]) -> dict[str, str]:
    """The properties of a producer as `Outlet` takes them."""
    texts = {name: as_text(value) for name, value in properties.items()}
    if PLUGINS in texts:  # librdkafka asks for it before the others
        texts = {PLUGINS: texts[PLUGINS], **texts}
    return texts


class NativeOutlet:
    """Writes the requests of one lambda. See the module. Made and used on the event loop."""

    def __init__(
        self,
        extension: ModuleType,
        properties: Mapping[str, Property],
        log: FilteringBoundLogger,
        arrived: "Callable[[native.Request, Mapping[int, str]], None]",
    ) -> None:
        """``properties``: of the producer. ``arrived`` is called when the outcome of all records of a request is
        known, also if whoever asked for it has gone away; with the reasons of records that are not written, in
        `FAILURE_KINDS`, by their index."""
        self._extension = extension
        self._properties = properties
        self._log = log
        self._arrived = arrived
        self._producer: _Producer | None = None
        self._alone = False
        """Each record must be a batch of its own from now on, since a topic has refused a batch."""
        self._under_way: dict[native.Request, _Call] = {}
        self._producers: set[_Producer] = set()
        """The present producer, and those that were replaced and are not closed."""
        self._closing: set[asyncio.Future[int]] = set()

    async def write(self, request: "native.Request") -> Written | None:
        """Write a request; returns when the outcome of each record is known. None: all are written."""
        call = self._under_way[request] = _Call()
        try:
            await self._queue(request, call)
        except Exception as refused:  # such as memory that runs out: what is queued is written, the rest is not
            call.error, call.kind = f"the Kafka client does not take it: {refused}", "invalid"
        finally:
            # Also if the caller was cancelled: records that are queued are written, the others are not.
            if request.end():
                self._finished(request)
        return await asyncio.shield(call.done)

    def give_up(self, why_not: str) -> int:
        """Complete the requests that are under way: records without a report fail with ``why_not``. Returns how many
        there are."""
        left = 0
        for request, call in [*self._under_way.items()]:
            left += sum(state == _TAKEN for state, *_ in request.results())
            call.error = why_not
            self._finished(request)
        return left

    async def flush(self, seconds: float) -> None:
        """Wait for the requests under way, at most ``seconds``."""
        if self._under_way:
            await asyncio.wait([call.done for call in self._under_way.values()], timeout=seconds)

    async def close(self) -> None:
        """End the producers, for at most `CLOSE_S`. No request may be under way."""
        for producer in [*self._producers]:
            self._close(producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_S)

    async def _queue(self, request: "native.Request", call: "_Call") -> None:
        producer = None
        while not call.done.done():
            # One producer writes the whole request, as long as it works, so that the records keep their order.
            if producer is None:
                try:
                    producer = self._opened()
                except ValueError as refused:
                    call.error, call.kind = str(refused), "other"
                    return
                call.use(producer)
            state = producer.outlet.produce(request, PART_RECORDS)
            if state == _DONE:
                return
            if state == _FAILED:
                self._renew(producer, KafkaError(KafkaError._FATAL))  # noqa: SLF001
                producer = None
            else:
                await asyncio.sleep(0)

    def _opened(self) -> "_Producer":
        """The producer. It is made for the first record, since many lambdas produce none. Raises ``ValueError``."""
        if self._alone and self._producer is not None and not self._producer.alone:
            self._log.warning("a topic takes no batch as ours are: records go one by one, which is slower")
            self._retire(self._producer)
        if self._producer is None:
            self._producer = _Producer(
                self._extension, self._properties, self._log, self._finished, self._renew, alone=self._alone
            )
            self._producers.add(self._producer)
        return self._producer

    def _renew(self, failed: "_Producer", error: KafkaError) -> None:
        """Replace a producer that failed for good; the next record gets a new one."""
        if failed is not self._producer:
            return  # it was replaced already
        self._log.warning("the producer failed for good; making another", error=error.str())
        failed.outlet.purge()  # all its records are reported as failed
        self._retire(failed)

    def _retire(self, producer: "_Producer") -> None:
        """Use the producer for no further request. It is closed after the last request that it has records of."""
        self._producer = None
        if not producer.calls:
            self._close(producer)

    def _close(self, producer: "_Producer") -> None:
        self._producers.discard(producer)
        closing = producer.close()
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _finished(self, request: "native.Request") -> None:
        """The outcome of each record of the request is known."""
        call = self._under_way.pop(request, None)
        if call is None:
            return  # it was given up
        kinds: dict[int, str] = {}
        call.done.set_result(None if request.written == len(request) else self._outcomes(request, call, kinds))
        self._arrived(request, kinds)
        for producer in call.producers:
            producer.calls.discard(call)
            if producer is not self._producer and not producer.calls:
                self._close(producer)

    def _outcomes(self, request: "native.Request", call: "_Call", kinds: dict[int, str]) -> Written:
        """The outcomes of a request of which not all records are written. Fills ``kinds``.

        Thousands of records fail for the same reason as a rule, so each reason is put into words once.
        """
        written = nothing(len(request), call.error)
        topics = request.topics
        may_be_mixed = not all(producer.alone for producer in call.producers)
        reasons: dict[tuple[int, int, int, int, bool], _Reason] = {}
        for index, (state, code, topic, partition, offset, size) in enumerate(request.results()):
            if state == REPORTED and not code:
                written.outcomes[index] = Outcome.WRITTEN
                written.partitions[index] = partition
                written.offsets[index] = offset
                written.errors[index] = ""
            elif state in (_NOT_SENT, _TAKEN):
                kinds[index] = call.kind
            else:
                key = state, code, topic, partition, may_be_mixed and size < BATCH_BYTES
                if key not in reasons:
                    reasons[key] = _reason(state, code, topics[topic], partition, may_be_mixed=key[-1])
                written.outcomes[index], written.errors[index], kinds[index] = reasons[key]
        if MIXED in written.errors:
            self._alone = True
        return written


class _Reason(NamedTuple):
    """Why a record was not written; ``kind`` is one of `FAILURE_KINDS`."""

    outcome: Outcome
    text: str
    kind: str


def _reason(state: int, code: int, topic: str, partition: int, *, may_be_mixed: bool) -> _Reason:
    """The reason of a record that was refused, or reported with an error."""
    if state == _REFUSED:
        return _Reason(Outcome.FAILED, _REFUSALS.get(code) or no_such_partition(partition), "invalid")
    if state == REPORTED and code in OF_ITS_BATCH and may_be_mixed:
        return _Reason(Outcome.FAILED, MIXED, "mixed")
    error = error_of(state, code)
    kind = "full" if code == KafkaError._QUEUE_FULL else kind_of(error)  # noqa: SLF001
    outcome = Outcome.TOO_LARGE if kind == "too_large" else Outcome.FAILED
    return _Reason(outcome, why(error, topic, partition), kind)


def error_of(state: int, code: int) -> KafkaError:
    """The error with this code, with the text that it has in the binding."""
    error = KafkaError(code)
    if state == REFUSED_BY_KAFKA and code != KafkaError._QUEUE_FULL:  # noqa: SLF001
        return KafkaError(code, f"Unable to produce message: {error.str()}")
    return error


class _Call:
    """A request that is under way."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Written | None] = asyncio.get_running_loop().create_future()
        self.producers: list[_Producer] = []
        """Those that got records of it: more than one, if the first failed for good meanwhile."""
        self.error = NOT_SENT
        """Why the records without a report are not written, and as one of `FAILURE_KINDS`:"""
        self.kind = "not_sent"

    def use(self, producer: "_Producer") -> None:
        """The producer gets records of the request."""
        self.producers.append(producer)
        producer.calls.add(self)


class _Producer:
    """A producer of librdkafka, with the pipe by which it rings."""

    def __init__(
        self,
        extension: ModuleType,
        properties: Mapping[str, Property],
        log: FilteringBoundLogger,
        finished: "Callable[[native.Request], None]",
        failed: "Callable[[_Producer, KafkaError], None]",
        *,
        alone: bool,
    ) -> None:
        """``alone``: each record is a batch of its own. Raises ``ValueError`` when librdkafka refuses."""
        self.alone = alone
        self.calls: set[_Call] = set()
        """The requests of which it has records."""
        self._finished = finished
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._client_log = ClientLog(log)
        texts = texts_of({**properties, **({"batch.size": 1} if alone else {})})
        self._bell, self._rings = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rings, False)
        try:
            self.outlet: native.Outlet = extension.Outlet(texts, self._rings)
        except ValueError:
            self._close_pipe()
            raise
        self._name = self.outlet.name
        self._loop.add_reader(self._bell, self._ring)
        self._loop.call_soon(self._serve)  # what it has logged before it could ring
        self._closed = False

    def _ring(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, 4096)
        self._serve()

    def _serve(self) -> None:
        if self._closed:
            return
        finished, lines, failure, again = self.outlet.serve()
        for request in finished:
            self._finished(request)
        for level, facility, text in lines:
            self._client_log.log(level, "%s [%s] %s", facility, self._name, text)
        if failure is not None:
            code, text = failure
            self._failed(self, KafkaError(code, text))
        if again:
            self._loop.call_soon(self._serve)

    def close(self) -> "asyncio.Future[int]":
        """End it, in a thread, since that waits for librdkafka's threads. The future gives the number of records
        without a report."""
        self._closed = True
        self._loop.remove_reader(self._bell)
        closing = self._loop.run_in_executor(None, self.outlet.close)
        closing.add_done_callback(lambda _: self._close_pipe())
        return closing

    def _close_pipe(self) -> None:
        os.close(self._bell)
        os.close(self._rings)
