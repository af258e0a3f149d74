"""Whether there is tracing, decided once for each lease: without it, no code of tracing runs per record.

There is tracing when the program has set a tracer provider of OpenTelemetry. Who sets one imports OpenTelemetry; so
the SDK itself never imports it, and a process that only has it installed pays nothing.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ._batch import Produced
from ._decoding import AnyColumns
from ._message import Handler
from ._outcome import Outcome

Put = Callable[..., Outcome[Produced]]
PutMany = Callable[..., Outcome[list[Produced]]]


class Tracing(Protocol):
    """The spans of one lease. `Spans` of `_spans` is the one there is."""

    def frame(self, columns: AnyColumns) -> AbstractContextManager[None]:
        """Return the span of a frame, which lasts while its messages are handled."""
        ...

    def handler(self, handler: Handler, /) -> Handler:
        """Return a handler that calls this one in the trace of its message, or else in the span of the frame."""
        ...

    def put(self, put: Put, /) -> Put:
        """Return a function that produces as this one does, each record with a span and its trace in the headers."""
        ...

    def put_many(self, put_many: PutMany, /) -> PutMany:
        """The same for a call with several records, which have one span together."""
        ...


def tracing_of(lambda_name: str, topic: str, partition: int) -> Tracing | None:
    """Return the tracing of a lease; None: the program has set no tracer provider."""
    if not _is_configured():
        return None
    from ._spans import Spans  # noqa: PLC0415  it imports OpenTelemetry

    return Spans(lambda_name, topic, partition)


def in_its_trace(handler: Handler) -> Handler:
    """Return a handler that calls this one in the trace of its message, or in none, at any time and in any task.

    Without tracing it is the same handler.
    """
    if not _is_configured():
        return handler
    from ._spans import NOWHERE, in_its_trace as wrapped  # noqa: PLC0415

    return wrapped(handler, NOWHERE)


def _is_configured() -> bool:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
