"""Traces: each line that comes on is a part of the trace that its record brought along.

pip install opentelemetry-sdk
python -m sdk_python.serve shout examples.tracing
"""

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from sdk_python import IContext, Message, partition_lambda


def line(span: ReadableSpan) -> str:
    """A span on one line. In production: `BatchSpanProcessor(OTLPSpanExporter())` instead of the console."""
    return f"{trace.format_trace_id(span.context.trace_id)} {span.kind.name.lower():8} {span.name}\n"


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shout")


@partition_lambda
async def handle(message: Message, context: IContext) -> None:
    with tracer.start_as_current_span("shout"):
        await context.produce("loud", (message.value or b"").upper(), message.key)
    context.checkpoint(message.offset)
