"""Spans, and the trace context on its way from a record's headers through a handler into what it produces."""

import asyncio
from collections.abc import Awaitable
from typing import NoReturn

import pytest
from hypothesis import given, strategies as st
from opentelemetry import propagate, trace
from opentelemetry.baggage import get_baggage
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sdk_python import Columns, IContext, Message, ProduceError, Record, partition_lambda
from sdk_python._dispatch import Dispatcher
from sdk_python._errors import HandlerFailedError
from sdk_python._handling import Handling, Kind
from sdk_python._message import batch_of
from sdk_python._spans import MAX_LINKS, trace_of
from sdk_python._tracing import in_its_trace, tracing_of
from sdk_python.testing import FakeSidecar
from tests.unit.sdk.recorded_spans import (
    PARENT,
    TRACE,
    RecordedSpans,
    a_trace,
    attributes_of,
    linked,
    parent_id,
    span_id,
    trace_id,
    traceparent,
)
from tests.unit.sdk.test_dispatch import dispatcher, run_until_idle


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedSpans:
    return RecordedSpans(monkeypatch)


@partition_lambda
def working(message: Message) -> None:
    with trace.get_tracer("the author's").start_as_current_span(f"work {message.offset}"):
        pass


@partition_lambda
async def working_long(message: Message) -> None:
    await asyncio.sleep(0)
    with trace.get_tracer("the author's").start_as_current_span(f"work {message.offset}"):
        await asyncio.sleep(0)


@partition_lambda
def passing_on(message: Message, context: IContext) -> None:
    context.produce("out", message.value)
    context.checkpoint(message.offset)


def traced(*counts: int, headers: tuple[tuple[str, bytes], ...] = ()) -> Dispatcher:
    """A dispatcher with tracing, with frames of so many messages."""
    made = dispatcher()
    made._tracing = tracing_of("words", "t", 0)
    first = 0
    for count in counts:
        messages = [Message("t", 0, first + index, None, 0, None, b"x", headers) for index in range(count)]
        made.put(batch_of(messages), count)
        first += count
    return made


# ---------------------------------------------------------------------------------------------------- frames


async def test_a_frame_has_a_span_with_what_it_held(spans: RecordedSpans) -> None:
    await run_until_idle(traced(3, 2), lambda _: None)
    first, second = spans.named("process t")
    assert first.kind is SpanKind.CONSUMER
    assert dict(attributes_of(first)) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "t",
        "messaging.destination.partition.id": "0",
        "messaging.batch.message_count": 3,
        "kafka_sidecar.lambda": "words",
        "kafka_sidecar.first_offset": 0,
        "kafka_sidecar.last_offset": 2,
    }
    assert (attributes_of(second)["kafka_sidecar.first_offset"], second.status.status_code) == (3, StatusCode.UNSET)
    assert trace_id(first) != trace_id(second)


async def test_a_frame_is_linked_to_the_traces_of_its_records_each_once(spans: RecordedSpans) -> None:
    made = traced()
    headers = [(traceparent(a_trace(1)),), (), (traceparent(a_trace(2)),), (traceparent(a_trace(1)),)]
    messages = [Message("t", 0, offset, None, 0, None, b"x", one) for offset, one in enumerate(headers)]
    made.put(batch_of(messages), len(messages))
    await run_until_idle(made, lambda _: None)
    span = spans.one("process t")
    assert (linked(span), parent_id(span)) == ([a_trace(1), a_trace(2)], None)


async def test_the_links_are_bounded(spans: RecordedSpans) -> None:
    made = traced()
    count = MAX_LINKS + 10
    messages = [
        Message("t", 0, offset, None, 0, None, b"x", (traceparent(a_trace(offset + 1)),)) for offset in range(count)
    ]
    made.put(batch_of(messages), count)
    await run_until_idle(made, lambda _: None)
    assert linked(spans.one("process t")) == [a_trace(number) for number in range(1, MAX_LINKS + 1)]


async def test_a_handler_that_raises_fails_the_span_of_its_frame(spans: RecordedSpans) -> None:
    class UnreadableError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def handle(message: Message) -> None:
        if message.offset == 1:
            raise UnreadableError

    with pytest.raises(HandlerFailedError):
        await traced(3).run(Handling(handle, Kind.EACH))
    span = spans.one("process t")
    assert span.status.status_code is StatusCode.ERROR
    assert str(attributes_of(span)["error.type"]).endswith("UnreadableError")
    (event,) = span.events
    assert (event.attributes or {})["messaging.kafka.offset"] == 1


async def test_a_frame_that_is_dropped_ends_its_span(spans: RecordedSpans) -> None:
    made = traced(3)
    seen: list[int] = []

    def handle(message: Message) -> None:
        seen.append(message.offset)
        made.stop()

    await made.run(Handling(handle, Kind.EACH))
    assert (seen, len(spans.named("process t"))) == ([0], 1)


# -------------------------------------------------------------------------------------------------- handlers


@pytest.mark.parametrize("plugin", [working, working_long], ids=["sync", "async"])
async def test_a_handler_runs_in_the_trace_of_its_message(spans: RecordedSpans, plugin: object) -> None:
    async with FakeSidecar(plugin) as sidecar:  # type: ignore[arg-type]  # either
        await sidecar.feed(b"x", headers=[traceparent()])
        await sidecar.feed(b"x", headers=[traceparent(a_trace(7))])
        await sidecar.feed(b"x")
        assert not trace.get_current_span().get_span_context().is_valid  # nothing is left behind
    first, second, third = (spans.one(f"work {offset}") for offset in range(3))
    assert (trace_id(first), parent_id(first)) == (TRACE, PARENT)
    assert trace_id(second) == a_trace(7)
    frame = spans.named("process test")[2]
    assert (trace_id(third), parent_id(third)) == (trace_id(frame), span_id(frame))


async def test_tasks_of_a_handler_stay_in_its_trace(spans: RecordedSpans) -> None:
    tasks: list[Awaitable[None]] = []

    async def later(offset: int) -> None:
        await asyncio.sleep(0)
        trace.get_tracer("the author's").start_span(f"later {offset}").end()

    def handle(message: Message) -> None:
        tasks.append(asyncio.create_task(later(message.offset)))

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"x", headers=[traceparent()])
        await sidecar.feed(b"x", headers=[traceparent(a_trace(2))])
        await asyncio.gather(*tasks)
    assert [trace_id(spans.one(f"later {offset}")) for offset in range(2)] == [TRACE, a_trace(2)]


async def test_state_and_baggage_come_along(spans: RecordedSpans) -> None:
    seen: list[object] = []

    def handle(_: Message, context: IContext) -> None:
        seen.append(get_baggage("tenant"))
        context.produce("out", b"x")

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"x", headers=[traceparent(), ("tracestate", b"a=b"), ("baggage", b"tenant=acme")])
    assert seen == ["acme"]
    carried = dict(sidecar.sent[0].headers)
    assert (carried["tracestate"], carried["baggage"]) == (b"a=b", b"tenant=acme")


async def test_of_two_contexts_in_one_record_the_last_counts(spans: RecordedSpans) -> None:
    async with FakeSidecar(working) as sidecar:
        await sidecar.feed(b"x", headers=[traceparent(a_trace(1)), traceparent(a_trace(2))])
    assert trace_id(spans.one("work 0")) == a_trace(2)


NAMES = st.sampled_from(["traceparent", "tracestate", "baggage", "x"])
VALUES = st.one_of(
    st.none(), st.binary(max_size=80), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-.{0,20}").map(str.encode)
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple))
def test_whatever_the_headers_hold_it_is_a_context_or_none(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    context = trace_of(headers)
    assert context is None or context


async def test_a_propagator_that_raises_costs_the_context_and_not_the_partition(
    spans: RecordedSpans, request: pytest.FixtureRequest
) -> None:
    class Broken(TraceContextTextMapPropagator):
        def extract(self, *_: object, **__: object) -> NoReturn:
            raise ValueError("broken")

    before = propagate.get_global_textmap()
    request.addfinalizer(lambda: propagate.set_global_textmap(before))
    propagate.set_global_textmap(Broken())
    async with FakeSidecar(working) as sidecar:
        await sidecar.feed(b"x", headers=[traceparent()])
        assert sidecar.running
    assert trace_id(spans.one("work 0")) == trace_id(spans.one("process test"))


# --------------------------------------------------------------------------------------------------- produce


async def test_a_produced_record_carries_the_trace_on(spans: RecordedSpans) -> None:
    async with FakeSidecar(passing_on) as sidecar:
        await sidecar.feed(b"a", b"b", headers=[traceparent()])
    first, second = spans.named("send out")
    assert (trace_id(first), parent_id(first), first.kind) == (TRACE, PARENT, SpanKind.PRODUCER)
    assert [sent.headers for sent in sidecar.sent] == [
        (("traceparent", f"00-{TRACE}-{span_id(span)}-01".encode()),) for span in (first, second)
    ]
    assert dict(attributes_of(second)) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "out",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 1,
    }


async def test_a_trace_that_is_not_sampled_is_carried_on_as_such(spans: RecordedSpans) -> None:
    async with FakeSidecar(passing_on) as sidecar:
        await sidecar.feed(b"a", headers=[traceparent(sampled=False)])
    assert spans.named("send out") == []
    ((_, carried),) = sidecar.sent[0].headers
    assert carried is not None
    assert carried.decode().split("-")[1::2] == [TRACE, "00"]


async def test_the_context_that_the_lambda_sets_itself_is_kept(spans: RecordedSpans) -> None:
    own = [("a", b"1"), traceparent(a_trace(5))]

    def handle(message: Message, context: IContext) -> None:
        context.produce("out", message.value, headers=own)

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a", headers=[traceparent()])
    assert list(sidecar.sent[0].headers) == own
    assert trace_id(spans.one("send out")) == TRACE


async def test_produce_many_and_headers_of_the_lambda(spans: RecordedSpans) -> None:
    headers = [("a", b"1")]

    async def handle(_: Message, context: IContext) -> None:
        await context.produce_many("out", [Record(b"x", headers=headers), Record(None)])

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a", headers=[traceparent()])
    assert [[name for name, _ in sent.headers] for sent in sidecar.sent] == [["a", "traceparent"], ["traceparent"]]
    span = spans.one("send out")  # of the call
    assert {dict(sent.headers)["traceparent"] for sent in sidecar.sent} == {f"00-{TRACE}-{span_id(span)}-01".encode()}
    assert (attributes_of(span)["messaging.batch.message_count"], headers) == (2, [("a", b"1")])


async def test_columns_and_records_that_a_generator_makes_carry_the_trace_too(spans: RecordedSpans) -> None:
    async def handle(_: Message, context: IContext) -> None:
        columns = Columns([b"1", b"2"], headers=[(), [traceparent(a_trace(9))]])
        await context.produce_many("out", columns)
        await context.produce_many("out", Columns([b"3"]))
        await context.produce_many("out", (Record(b"%d" % number) for number in (4, 5)))

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a", headers=[traceparent()])
    carried = [(dict(sent.headers)["traceparent"] or b"").decode().split("-")[1] for sent in sidecar.sent]
    assert carried == [TRACE, a_trace(9), TRACE, TRACE, TRACE]
    assert [attributes_of(span)["messaging.batch.message_count"] for span in spans.named("send out")] == [2, 1, 2]


async def test_records_before_one_that_is_none_are_produced_and_the_span_has_the_error(spans: RecordedSpans) -> None:
    def handle(_: Message, context: IContext) -> None:
        with pytest.raises(TypeError, match="headers"):
            context.produce_many("out", [Record(b"1"), Record(b"2", headers=[1])])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="2 for 1 values"):
            context.produce_many("out", Columns([b"3"], headers=[(), ()]))

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a")
    assert [sent.value for sent in sidecar.sent] == [b"1"]
    kinds = [attributes_of(span)["error.type"] for span in spans.named("send out")]
    assert kinds == ["TypeError", "ValueError"]


async def test_a_failure_is_in_the_span_and_not_received_by_it(spans: RecordedSpans) -> None:
    async with FakeSidecar(passing_on) as sidecar:
        sidecar.produce_error = "the broker is away"
        await sidecar.feed(b"a")
        await sidecar.ended()
    span = spans.one("send out")
    assert (span.status.status_code, attributes_of(span)["error.type"]) == (StatusCode.ERROR, "failed")
    assert "the broker is away" in (span.status.description or "")
    assert ([error.code for error in sidecar.errors], sidecar.checkpoints) == (["produce_failed"], [])


async def test_a_failure_that_is_awaited_is_the_lambdas_own_affair(spans: RecordedSpans) -> None:
    async def handle(message: Message, context: IContext) -> None:
        with pytest.raises(ProduceError):
            await context.produce("out", b"x")
        context.checkpoint(message.offset)

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        sidecar.produce_error = "the broker is away"
        await sidecar.feed(b"a")
    assert (sidecar.errors, sidecar.checkpoints) == ([], [0])
    assert spans.one("send out").status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("out", 1), "value"), ((1, b"x"), "topic"), (("out", b"x", None, [1]), "headers"), (("out", b"x", 1), "key")],
)
async def test_arguments_that_are_no_record_are_refused_as_without_tracing(
    spans: RecordedSpans, arguments: tuple[object, ...], words: str
) -> None:
    def handle(_: Message, context: IContext) -> None:
        with pytest.raises(TypeError, match=words):
            context.produce(*arguments)  # type: ignore[arg-type]  # on purpose

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a")
    assert (sidecar.errors, sidecar.sent) == ([], [])


# -------------------------------------------------------------------------------------------- without tracing


def test_without_a_tracer_provider_nothing_is_in_between() -> None:
    def handle(_: Message) -> None: ...

    assert tracing_of("words", "t", 0) is None
    assert in_its_trace(handle) is handle


async def test_without_a_tracer_provider_headers_stay_as_they_are() -> None:
    async with FakeSidecar(passing_on) as sidecar:
        await sidecar.feed(b"a", headers=[traceparent()])
    assert sidecar.sent[0].headers == ()
