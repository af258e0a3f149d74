"""Spans and trace contexts of OpenTelemetry. Imported only where the program has set a tracer provider (`_tracing`).

- A *frame* has a span of kind CONSUMER, with links to the traces of its records. It is the root of a trace: a frame
  holds records of many traces, and is a part of none.
- A *message* is handled in the trace context that its headers carry. The spans that its handler makes are children of
  its producer's span. A message that carries none is handled in the span of its frame.
- A *record* that the lambda produces has a span of kind PRODUCER, from `produce` until its outcome is known. The
  record carries this span's context on, unless the lambda has set one itself.

Which headers carry a context is for the program's propagator to say: ``traceparent``, ``tracestate`` and ``baggage``
unless it was told otherwise. The attributes are those of OpenTelemetry's conventions for messaging.

Owner: the event loop.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import metadata
from inspect import isawaitable
from typing import Any, Final, TypeVar

from opentelemetry import context as otel, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from ._batch import Produced
from ._decoding import AnyColumns
from ._errors import HandlerFailedError, ProduceError, clip, message_of, stack_of, type_of
from ._log import log
from ._message import Handler, Header, Message
from ._outcome import Outcome
from ._record import Columns as RecordColumns, Headers, Record, checked_headers
from ._tracing import Put, PutMany

MAX_LINKS: Final = 128
"""Links of a frame's span, to its first records. OpenTelemetry keeps so many by default."""
_MAX_DESCRIPTION_BYTES: Final = 1000
_MAX_VALUE_BYTES: Final = 8192  # as W3C bounds baggage, the longest of them
_MAX_KNOWN: Final = 2 * MAX_LINKS
NOWHERE: Final = Context()
"""A context without a span."""
T = TypeVar("T")


class Spans:
    """The spans of one lease."""

    def __init__(self, lambda_name: str, topic: str, partition: int) -> None:
        self._tracer = trace.get_tracer("kafka_sidecar.sdk", _version())
        self._name = f"process {topic}"
        self._attributes: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "kafka_sidecar.lambda": lambda_name,
        }

    @contextmanager
    def frame(self, columns: AnyColumns) -> Iterator[None]:
        """Return the span of a frame, which lasts while its messages are handled."""
        attributes = {
            **self._attributes,
            "messaging.batch.message_count": columns.count,
            "kafka_sidecar.first_offset": columns.offset(0),
            "kafka_sidecar.last_offset": columns.offset(columns.count - 1),
        }
        links = _links(columns.first_headers(MAX_LINKS))
        span = self._tracer.start_span(self._name, NOWHERE, SpanKind.CONSUMER, attributes, links)
        token = otel.attach(trace.set_span_in_context(span, NOWHERE))
        try:
            yield
        except HandlerFailedError as failed:
            cause = failed.__cause__ or failed
            _record(span, cause, failed.offset)
            _fail(span, cause, type_of(cause))
            raise
        finally:
            otel.detach(token)
            span.end()

    def handler(self, handler: Handler) -> Handler:
        """Return a handler that calls this one in the trace of its message, or else in the span of the frame."""
        return in_its_trace(handler)

    def put(self, put: Put) -> Put:
        """Return a function that produces as ``put`` does, each record with a span and its trace in its headers."""

        def traced(
            topic: str,
            value: bytes | str | None,
            key: bytes | str | None = None,
            headers: Headers = (),
            partition: int | None = None,
            source: int | None = None,
        ) -> Outcome[Produced]:
            carried = _Carried(self._sending(topic))
            outcome = carried.ended_by(lambda: put(topic, value, key, carried.added_to(headers), partition, source))
            outcome.add_done_callback(partial(_produced, carried.span))
            return outcome

        return traced

    def put_many(self, put_many: PutMany) -> PutMany:
        """The same for a call with several records, which have one span together."""

        def traced(
            topic: str, records: Iterable[Record] | RecordColumns, source: int | None = None
        ) -> Outcome[list[Produced]]:
            carried = _Carried(self._sending(topic))
            outcome = carried.ended_by(lambda: put_many(topic, carried.added_to_all(records), source))
            outcome.add_done_callback(partial(_produced_many, carried.span))
            return outcome

        return traced

    def _sending(self, topic: str) -> Span:
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": str(topic),  # what is no text is refused by `produce`
        }
        return self._tracer.start_span(f"send {topic}", None, SpanKind.PRODUCER, attributes)


class _Carried:
    """The span of what is produced, and the headers that carry its context on."""

    def __init__(self, span: Span) -> None:
        self.span = span
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))
        self._headers: list[Header] = [(field, text.encode()) for field, text in carrier.items()]
        self._fields = _fields(propagate.get_global_textmap())

    def added_to(self, headers: Headers) -> Headers:
        """Return a record's headers with those of the context, unless the lambda has given some of these itself."""
        own = checked_headers(headers)
        return own + self._headers if self._fields.isdisjoint(name for name, _ in own) else own

    def added_to_all(self, records: Iterable[Record] | RecordColumns) -> Iterable[Record] | RecordColumns:
        """The same for several records."""
        if isinstance(records, RecordColumns):
            headers = [()] * len(records.values) if records.headers is None else records.headers
            return records._replace(headers=[*map(self.added_to, headers)])
        rows = (Record(*row) for row in records)
        return (row._replace(headers=self.added_to(row.headers)) for row in rows)

    def ended_by(self, put: Callable[[], Outcome[T]]) -> Outcome[T]:
        """Call ``put``. If it raises, the span ends with its error."""
        try:
            return put()
        except BaseException as error:
            _fail(self.span, error, type_of(error))
            self.span.end()
            raise


def in_its_trace(handler: Handler, otherwise: Context | None = None) -> Handler:
    """Return a handler that calls this one in the trace context of its message.

    ``otherwise``: the context for messages that carry none; None: it stays what it is.
    """

    def in_context(message: Message) -> Any:
        context = trace_of(message.headers) or otherwise
        if context is None:
            return handler(message)
        token = otel.attach(context)
        try:
            result = handler(message)
        finally:
            otel.detach(token)
        # Awaited later, maybe by another task: there the context is attached anew.
        return _awaited(result, context) if result is not None and isawaitable(result) else result

    return in_context


async def _awaited(pending: Awaitable[object], context: Context) -> object:
    token = otel.attach(context)
    try:
        return await pending
    finally:
        otel.detach(token)


def trace_of(headers: Sequence[Header]) -> Context | None:
    """Return the context that these headers carry; None: they carry none."""
    if not headers:
        return None
    known = _known.get(id(headers))
    if known is None or known[0] is not headers:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        known = _known[id(headers)] = (headers, _extracted(headers))
    return known[1]


_known: dict[int, tuple[Sequence[Header], Context | None]] = {}
"""The contexts of the headers that were looked at lately, by their identity. They are looked at for the links of a
frame, for the handler, and for the handler of a document, and reading them is what costs most."""


def _extracted(headers: Sequence[Header]) -> Context | None:
    """Read the context out of the headers. Of a name that is there twice, the last one counts."""
    propagator = propagate.get_global_textmap()
    fields = _fields(propagator)
    carrier = {name: value.decode() for name, value in headers if name in fields and value and _is_readable(value)}
    if not carrier:
        return None
    try:
        context = propagator.extract(carrier, NOWHERE)
    except Exception as error:  # noqa: BLE001, RUF100  whoever writes to the topic must not stop its partition
        log.debug("the trace context of a message cannot be read: %s", message_of(error))
        return None
    return context or None


def _is_readable(value: bytes) -> bool:
    """Whether it may hold a context. OpenTelemetry writes what it cannot read to the log as it is."""
    return len(value) <= _MAX_VALUE_BYTES and value.isascii() and value.decode().isprintable()


@lru_cache(maxsize=8)
def _fields(propagator: TextMapPropagator) -> frozenset[str]:
    """The names of the headers that this propagator reads and writes. Some make the set anew each time."""
    return frozenset(propagator.fields)


def _links(headers: Sequence[Sequence[Header]]) -> list[Link]:
    """Make a link to each trace context that these records carry."""
    contexts = [trace.get_current_span(context).get_span_context() for one in headers if (context := trace_of(one))]
    distinct = {(one.trace_id, one.span_id): one for one in contexts if one.is_valid}
    return [Link(one) for one in distinct.values()]


def _produced(span: Span, outcome: Outcome[Produced]) -> None:
    """End the span of a record whose outcome is there."""
    if _is_written(span, outcome):
        written = outcome.result()
        if written.offset >= 0:  # held until a checkpoint, it has neither
            span.set_attribute("messaging.destination.partition.id", str(written.partition))
            span.set_attribute("messaging.kafka.offset", written.offset)
    span.end()


def _produced_many(span: Span, outcome: Outcome[list[Produced]]) -> None:
    """The same for several records."""
    if _is_written(span, outcome):
        span.set_attribute("messaging.batch.message_count", len(outcome.result()))
    span.end()


def _is_written(span: Span, outcome: Outcome[Any]) -> bool:
    error = outcome.failure
    if error is not None:
        _fail(span, error, error.kind if isinstance(error, ProduceError) else type_of(error))
    return error is None and not outcome.cancelled()


def _record(span: Span, error: BaseException, offset: int | None) -> None:
    # As `Span.record_exception` does, which raises where the exception's ``__str__`` does.
    attributes: dict[str, AttributeValue] = {
        "exception.type": type_of(error),
        "exception.message": message_of(error),
        "exception.stacktrace": stack_of(error),
    }
    if offset is not None:
        attributes["messaging.kafka.offset"] = offset
    span.add_event("exception", attributes)


def _fail(span: Span, error: BaseException, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, clip(message_of(error), _MAX_DESCRIPTION_BYTES)))


def _version() -> str | None:
    try:
        return metadata.version("kafka-sidecar-sdk")
    except metadata.PackageNotFoundError:  # run from a source tree
        return None
