"""A tracer provider that keeps the spans, for the time of a test."""

from collections.abc import Mapping

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.types import AttributeValue

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def traceparent(trace_id: str = TRACE, *, sampled: bool = True) -> tuple[str, bytes]:
    """The header of a producer's span."""
    return "traceparent", f"00-{trace_id}-{PARENT}-{'01' if sampled else '00'}".encode()


def a_trace(number: int) -> str:
    """The id of a trace, another one for each number from 1 on."""
    return f"{number:032x}"


class RecordedSpans:
    """What the code under test told OpenTelemetry."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        # A process sets its provider once. Here it is a test's own, and gone after it.
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of this name that have ended, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only span of this name that has ended."""
        (found,) = self.named(name)
        return found


def attributes_of(span: ReadableSpan) -> Mapping[str, AttributeValue]:
    """The attributes of a span, which may have none."""
    return span.attributes or {}


def trace_id(span: ReadableSpan) -> str:
    """The trace of a span as headers have it."""
    context = span.get_span_context()
    assert context is not None
    return trace.format_trace_id(context.trace_id)


def span_id(span: ReadableSpan) -> str:
    """The span as headers have it."""
    context = span.get_span_context()
    assert context is not None
    return trace.format_span_id(context.span_id)


def parent_id(span: ReadableSpan) -> str | None:
    """The parent of a span as headers have it; None: it is the root of its trace."""
    return None if span.parent is None else trace.format_span_id(span.parent.span_id)


def linked(span: ReadableSpan) -> list[str]:
    """The traces to which a span has links."""
    return [trace.format_trace_id(link.context.trace_id) for link in span.links]
