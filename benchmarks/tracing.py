"""What tracing costs: `benchmarks.counting` or `benchmarks.producing` with and without a tracer provider.

As a plugin. Every trace is sampled; spans are made, batched and exported to nowhere.

Settings: ``tracing`` (whether there is a provider), ``of`` (the module of the lambda), and that lambda's.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks import producing, throughput

PARTITIONS = 8
TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
Figures = dict[str, float]


def run(broker: str, topic: str, total: int, *, tracing: bool, headers: int) -> Figures:
    """One run of the whole path; each record of the topic has so many headers."""
    settings = {"tracing": tracing, "headers": headers}
    return throughput.measure(broker, topic, total, PARTITIONS, "benchmarks.tracing", settings)[0]


def copy(broker: str, topic: str, total: int, *, tracing: bool) -> Figures:
    """One run of the whole path in which each record is produced again."""
    settings = {"tracing": tracing, "of": "benchmarks.producing"}
    return producing.path(broker, topic, total, "benchmarks.tracing", settings, looks=True)


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


async def create(config: Mapping[str, Any]) -> Any:
    """The plugin is this module."""
    if config["tracing"]:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
        trace.set_tracer_provider(provider)
    inner = importlib.import_module(config.get("of", "benchmarks.counting"))
    return await getattr(inner, "plugin", inner).create(config)
