"""``context.produce``: in order, few calls, back-pressure, and an outcome for every record."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sdk_python import IContext, Message, Produced, ProduceError, Record
from sdk_python._connection import LinkError, TooLargeError
from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._outcomes import Outcomes
from sdk_python._produce import HIGH_BYTES, HIGH_RECORDS, Producing
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing import FakeSidecar, Sent

LIMITS = Limits()


class Sidecar:
    """Answers Produce when the test says so."""

    def __init__(self) -> None:
        self.requests: list[pb.ProduceRequest] = []
        self.full: list[bool] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.asked = asyncio.Event()
        self.passed: list[int] = []
        self.failures: list[BaseException] = []

    async def call(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        self.requests.append(request)
        self.asked.set()
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        made: pb.ProduceResponse = answer(request)
        return made

    async def next_request(self) -> pb.ProduceRequest:
        async with asyncio.timeout(60):
            await self.asked.wait()
        self.asked.clear()
        return self.requests[-1]


def written(request: pb.ProduceRequest) -> pb.ProduceResponse:
    count = len(request.values)
    return pb.ProduceResponse(
        outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * count, partitions=[7] * count, offsets=range(count)
    )


def busy(request: pb.ProduceRequest) -> pb.ProduceResponse:
    count = len(request.values)
    return pb.ProduceResponse(
        outcomes=[pb.PRODUCE_OUTCOME_BUSY] * count,
        partitions=[-1] * count,
        offsets=[-1] * count,
        errors=["too much is on its way"] * count,
        retry_after_ms=1,
    )


@pytest.fixture
async def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture
async def producing(sidecar: Sidecar) -> Producing:
    return Producing(
        "lease-1",
        sidecar.call,
        sidecar.full.append,
        Outcomes(sidecar.passed.append, sidecar.failures.append),
        LIMITS,
        Counters(),
    )


def value(index: int) -> Record:
    return Record(b"%d" % index)


async def test_what_comes_while_a_call_is_under_way_goes_with_the_next(
    sidecar: Sidecar, producing: Producing
) -> None:
    first = producing.put("a", *value(0))
    assert [*(await sidecar.next_request()).values] == [b"0"]
    rest = [producing.put("ab"[index % 2], *value(index)) for index in range(1, 5)]
    sidecar.answers.put_nowait(written)
    assert await first == Produced("a", 7, 0)
    request = await sidecar.next_request()
    assert [*request.values] == [b"1", b"2", b"3", b"4"]
    assert [*request.topics] == ["b", "a"]
    assert [*request.topic_indexes] == [0, 1, 0, 1]
    sidecar.answers.put_nowait(written)
    assert await asyncio.gather(*rest) == [Produced("ab"[i % 2], 7, i - 1) for i in range(1, 5)]
    assert len(sidecar.requests) == 2


async def test_records_become_the_columns_of_a_request(sidecar: Sidecar, producing: Producing) -> None:
    for record in (
        Record(b"v", "key", [("h", b"1"), ("h", None)], 3),
        Record(None),
        Record("größer", b"", [("i", b"")]),
    ):
        producing.put("t", *record)
    request = await sidecar.next_request()
    assert request == pb.ProduceRequest(
        lease="lease-1",
        topics=["t"],
        values=[b"v", b"", "größer".encode()],
        null_values=[1],
        keys=[b"key", b"", b""],
        null_keys=[1],
        partitions=[3, -1, -1],
        header_counts=[2, 0, 1],
        header_names=[b"h", b"h", b"i"],
        header_values=[b"1", b"", b""],
        null_header_values=[1],
    )
    producing.end("over")


async def test_a_call_has_at_most_so_many_records_and_bytes(sidecar: Sidecar, producing: Producing) -> None:
    outcomes = [producing.put("t", *Record(b"")) for _ in range(LIMITS.produce_records + 1)]
    outcomes += [producing.put("t", *Record(bytes(LIMITS.produce_bytes // 2))) for _ in range(3)]
    counts = []
    while not all(outcome.done() for outcome in outcomes):
        counts.append(len((await sidecar.next_request()).values))
        assert sidecar.requests[-1].ByteSize() < LIMITS.request_bytes
        sidecar.answers.put_nowait(written)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert counts == [LIMITS.produce_records, 2, 1, 1]


async def test_records_that_a_busy_sidecar_refused_are_sent_again_in_order(
    sidecar: Sidecar, producing: Producing
) -> None:
    outcome = producing.put("t", *value(0))
    await sidecar.next_request()
    later = producing.put("t", *value(1))
    sidecar.answers.put_nowait(busy)
    assert [*(await sidecar.next_request()).values] == [b"0"]
    sidecar.answers.put_nowait(written)
    sidecar.answers.put_nowait(written)
    await asyncio.gather(outcome, later)
    assert [[*request.values] for request in sidecar.requests] == [[b"0"], [b"0"], [b"1"]]


@pytest.mark.parametrize(("bad", "calls"), [({3}, 7), (set(), 1), (set(range(8)), 15)])
async def test_what_grpc_refuses_for_its_size_is_split_and_a_record_alone_is_too_large(
    sidecar: Sidecar, producing: Producing, bad: set[int], calls: int
) -> None:
    """It says RESOURCE_EXHAUSTED, as it will again."""

    def answer(request: pb.ProduceRequest) -> pb.ProduceResponse:
        if bad & {int(value) for value in request.values}:
            raise TooLargeError("larger than max")
        return written(request)

    outcomes = [producing.put("t", *value(index)) for index in range(8)]
    for _ in range(calls):
        sidecar.answers.put_nowait(answer)
    found = await asyncio.gather(*outcomes, return_exceptions=True)
    assert {n for n, one in enumerate(found) if isinstance(one, ProduceError) and one.kind == "too_large"} == bad
    assert len(sidecar.requests) == calls
    alone = [value for request in sidecar.requests for value in request.values if len(request.values) < 8]
    assert [int(one) for one in dict.fromkeys(alone)] == (list(range(8)) if bad else [])  # none overtook another
    assert not sidecar.failures


async def test_each_record_has_its_own_outcome(sidecar: Sidecar, producing: Producing) -> None:
    outcomes = [producing.put("t", *value(index)) for index in range(4)]
    await sidecar.next_request()
    answer = pb.ProduceResponse(
        outcomes=[
            pb.PRODUCE_OUTCOME_WRITTEN,
            pb.PRODUCE_OUTCOME_TOO_LARGE,
            pb.PRODUCE_OUTCOME_STALE_LEASE,
            pb.PRODUCE_OUTCOME_FAILED,
        ],
        partitions=[1, -1, -1, -1],
        offsets=[5, -1, -1, -1],
        errors=["", "too big", "dead", "broken"],
    )
    sidecar.answers.put_nowait(lambda _: answer)
    found = await asyncio.gather(*outcomes, return_exceptions=True)
    assert found[0] == Produced("t", 1, 5)
    assert [(f.kind, str(f)) for f in found[1:] if isinstance(f, ProduceError)] == [
        ("too_large", "not written to t (too_large): too big"),
        ("stale_lease", "not written to t (stale_lease): dead"),
        ("failed", "not written to t (failed): broken"),
    ]


@pytest.mark.parametrize("answer", [LinkError("cut"), lambda _: pb.ProduceResponse()])
async def test_a_call_that_fails_fails_its_records_only(sidecar: Sidecar, producing: Producing, answer: Any) -> None:
    lost = producing.put("t", *value(0))
    await sidecar.next_request()
    later = producing.put("t", *value(1))
    sidecar.answers.put_nowait(answer)
    sidecar.answers.put_nowait(written)
    with pytest.raises(ProduceError) as caught:
        await lost
    assert caught.value.kind == "failed"
    assert await later == Produced("t", 7, 0)


async def test_the_end_fails_records_that_wait_and_records_that_come(sidecar: Sidecar, producing: Producing) -> None:
    outcomes = [producing.put("t", *value(0))]
    await sidecar.next_request()
    outcomes.append(producing.put("t", *value(1)))
    producing.end("the stream broke")
    outcomes.append(producing.put("t", *value(2)))
    found = await asyncio.gather(*outcomes, return_exceptions=True)
    assert [f.kind for f in found if isinstance(f, ProduceError)] == ["failed", "failed", "stale_lease"]
    await producing.drained()
    assert len(sidecar.requests) == 1


@pytest.mark.parametrize("many", [Record(bytes(HIGH_BYTES // 8)), Record(b"")])
async def test_pressure_begins_when_much_waits_and_ends_at_half_of_it(
    sidecar: Sidecar, producing: Producing, many: Record
) -> None:
    outcomes = []
    while not sidecar.full:
        outcomes.append(producing.put("t", *many))
    assert len(outcomes) == (8 if many.value else HIGH_RECORDS + 1)
    assert sidecar.full == [True]
    while not all(outcome.done() for outcome in outcomes):
        sidecar.answers.put_nowait(written)
        await asyncio.sleep(0)
    assert sidecar.full == [True, False]


async def test_a_record_that_is_too_large_and_one_too_many_fail(sidecar: Sidecar, producing: Producing) -> None:
    with pytest.raises(ProduceError, match="at most") as caught:
        await producing.put("t", *Record(bytes(LIMITS.record_bytes)))
    assert caught.value.kind == "too_large"
    outcomes = [producing.put("t", *Record(bytes(1_000_000))) for _ in range(68)]
    with pytest.raises(ProduceError, match="wait already"):
        await outcomes.pop()
    producing.end("over")
    ended = await asyncio.gather(*outcomes, return_exceptions=True)
    assert {type(one) for one in ended} == {ProduceError}
    assert sidecar.full == [True]


WRONG: list[tuple[type[Exception], Callable[[IContext], object]]] = [
    (TypeError, lambda c: c.produce(b"t", b"")),  # type: ignore[arg-type]
    (TypeError, lambda c: c.produce("t", 3)),  # type: ignore[arg-type]
    (TypeError, lambda c: c.produce("t", b"", 3)),  # type: ignore[arg-type]
    (TypeError, lambda c: c.produce("t", b"", headers=[("a",)])),  # type: ignore[list-item]
    (TypeError, lambda c: c.produce("t", b"", headers=[(b"a", b"")])),  # type: ignore[list-item]
    (TypeError, lambda c: c.produce("t", b"", partition=True)),
    (TypeError, lambda c: c.produce("t", b"", partition="1")),  # type: ignore[arg-type]
    (ValueError, lambda c: c.produce("t", b"", partition=-1)),
]


async def test_arguments_that_are_no_record_are_refused_at_once() -> None:
    def act(_: Message, context: IContext) -> None:
        for kind, wrong in WRONG:
            with pytest.raises(kind, match="produce"):
                wrong(context)
        context.checkpoint(0)

    async with FakeSidecar(act) as sidecar:
        await sidecar.feed(b"")
        assert sidecar.checkpoints == [0]
        assert not sidecar.sent


async def test_a_lambda_that_produces_is_tested_without_kafka() -> None:
    async def act(message: Message, context: IContext) -> None:
        one = await context.produce("out", message.value, message.key, [("n", None)])
        many = await context.produce_many("out", [Record(b"x", partition=2), Record(None)])
        assert [one, *many] == [Produced("out", 0, 0), Produced("out", 2, 0), Produced("out", 0, 1)]
        context.checkpoint(message.offset)

    async with FakeSidecar(act) as sidecar:
        await sidecar.feed(b"v", key=b"k")
        assert not sidecar.errors
        assert sidecar.checkpoints == [0]
        assert sidecar.sent == [
            Sent("out", b"v", b"k", (("n", None),), None),
            Sent("out", b"x", None, (), 2),
            Sent("out", None, None, (), None),
        ]


async def test_a_failure_is_the_lambdas_to_handle() -> None:
    seen: list[list[Any]] = []

    async def act(message: Message, context: IContext) -> None:
        try:
            await context.produce_many("out", [Record(b"x"), Record(b"y")])
        except ProduceError as error:
            seen.append([type(result) for result in error.results])
            context.error(error, restart=True)

    async with FakeSidecar(act) as sidecar:
        sidecar.produce_error = "Kafka is away"
        await sidecar.feed(b"v")
        await sidecar.ended()
        assert [error.message for error in sidecar.errors] == ["not written to out (failed): Kafka is away"]
    assert seen == [[ProduceError, ProduceError]]


async def test_what_a_close_produces_is_written() -> None:
    class Lambda:
        def __init__(self, context: IContext) -> None:
            self.context = context

        def handler(self, message: Message) -> None:
            self.context.checkpoint(message.offset)

        def close(self, _: object) -> None:
            self.context.produce("out", "bye")

    class Plugin:
        async def create(self, *args: Any) -> Any:
            return self if len(args) == 1 else Lambda(args[1])

        async def dispose(self) -> None:
            pass

    async with FakeSidecar(Plugin()) as sidecar:
        await sidecar.feed(b"v")
        await sidecar.rebalance()
        assert [sent.value for sent in sidecar.sent] == [b"bye"]


async def test_a_handler_is_not_called_while_much_waits() -> None:
    def act(message: Message, context: IContext) -> None:
        for _ in range(5):
            context.produce("out", bytes(1_000_000))
        handled.append(message.offset)
        context.checkpoint(message.offset)

    handled: list[int] = []
    async with FakeSidecar(act) as sidecar:
        await sidecar.feed(*[b""] * 5)
        assert handled == [*range(5)]
        assert len(sidecar.sent) == 25
