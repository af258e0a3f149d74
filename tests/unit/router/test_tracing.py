"""A document's handler runs in the trace of its message, also when the message had to wait for it."""

import asyncio

import pytest
from opentelemetry import trace

from sdk_python import IContext, Message, partition_lambda
from sdk_python.document_router import document_router
from sdk_python.testing import FakeSidecar
from tests.unit.sdk.recorded_spans import RecordedSpans, a_trace, parent_id, trace_id, traceparent


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedSpans:
    return RecordedSpans(monkeypatch)


def boxcar(document: str) -> str:
    return f'{{"tenantId": "t", "documentId": "{document}"}}'


def work(message: Message) -> None:
    trace.get_tracer("the author's").start_span(f"work {message.offset}").end()


async def test_handlers_of_waiting_messages_run_each_in_its_own_trace(spans: RecordedSpans) -> None:
    go_on = asyncio.Event()

    @partition_lambda
    async def handle(message: Message, context: IContext) -> None:
        await go_on.wait()
        work(message)
        await context.produce("out", message.value)
        context.checkpoint(message.offset)

    async with FakeSidecar(document_router(handle)) as sidecar:
        for number, document in enumerate("aaba", 1):
            await sidecar.feed(boxcar(document), headers=[traceparent(a_trace(number))])
        await sidecar.feed(boxcar("a"))  # it carries none
        go_on.set()
        await sidecar.checkpointed(4)
    assert [trace_id(spans.one(f"work {offset}")) for offset in range(4)] == [a_trace(n) for n in range(1, 5)]
    last = spans.one("work 4")
    assert parent_id(last) is None  # the frame is over, and nobody else's trace is taken for it
    carried = {sent.headers[0][1] for sent in sidecar.sent}
    assert {(value or b"").decode().split("-")[1] for value in carried} >= {a_trace(n) for n in range(1, 5)}


async def test_a_handler_that_is_called_at_once_runs_in_its_trace(spans: RecordedSpans) -> None:
    @partition_lambda
    def handle(message: Message, context: IContext) -> None:
        work(message)
        context.checkpoint(message.offset)

    async with FakeSidecar(document_router(handle)) as sidecar:
        for number in range(1, 4):
            await sidecar.feed(boxcar("a"), headers=[traceparent(a_trace(number))])
        await sidecar.checkpointed(2)
    assert [trace_id(spans.one(f"work {offset}")) for offset in range(3)] == [a_trace(n) for n in range(1, 4)]
