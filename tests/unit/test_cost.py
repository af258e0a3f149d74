"""The cost of a record in the SDK, in interpreter instructions: the path must stay one of columns.

The tests count the instructions in this project's own files for 1,000 more records, without C code.
"""

import asyncio
from collections.abc import Callable

import sdk_python
from sdk_python import Message
from sdk_python._checkpoints import LeaseProgress
from sdk_python._counters import Counters
from sdk_python._dispatch import Dispatcher
from sdk_python._handler_times import HandlerTimes
from sdk_python._handling import Handling, Kind
from sdk_python._limits import Limits
from sdk_python._loop_budget import LoopBudget
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.tracing import steps

PACKAGES = (sdk_python,)


def each(work: Callable[[int], Callable[[], object]]) -> float:
    """The instructions for one more record; ``work`` prepares a number of records."""
    few, many = work(1_000), work(2_000)
    return (steps("opcode", PACKAGES, many) - steps("opcode", PACKAGES, few)) / 1_000


def test_the_sdk_calls_a_handler() -> None:
    """From a frame to a handler call: the loop around the call, and nothing else."""

    def work(count: int) -> Callable[[], object]:
        batch = pb.Batch(values=[b"x"] * count, keys=[b"k"] * count, timestamps=[1] * count)
        return lambda: asyncio.run(_dispatch(batch, count))

    assert each(work) < 25


def test_the_sdk_takes_a_record_to_produce() -> None:
    """With exactly-once, one that says from which message it was made costs hardly more than one that does not."""

    def with_sources(count: int) -> Callable[[], object]:
        return lambda: asyncio.run(_produce(count, keeps_sources=True, source=1))

    def without(count: int) -> Callable[[], object]:
        return lambda: asyncio.run(_produce(count, keeps_sources=False, source=None))

    assert each(without) < 200
    assert each(with_sources) < each(without) + 40


def test_an_unusual_record_is_one_of_columns_too() -> None:
    """With a partition, of two topics, or of a document, it goes the same way as a plain one does without C."""

    def with_partitions(count: int) -> Callable[[], object]:
        return lambda: asyncio.run(_produce(count, keeps_sources=False, source=None, partition=3))

    def of_two_topics(count: int) -> Callable[[], object]:
        return lambda: asyncio.run(_produce(count, keeps_sources=False, source=None, topics=("t", "u")))

    def of_documents(count: int) -> Callable[[], object]:
        return lambda: asyncio.run(_produce(count, keeps_sources=False, source=None, documents=10))

    assert each(with_partitions) < 300
    assert each(of_two_topics) < 300
    assert each(of_documents) < 300


async def _produce(
    count: int,
    *,
    keeps_sources: bool,
    source: int | None,
    partition: int | None = None,
    topics: tuple[str, ...] = ("t",),
    documents: int = 0,
) -> None:
    async def call(request: pb.ProduceRequest) -> pb.ProduceResponse:
        there = len(request.values)
        written = [pb.PRODUCE_OUTCOME_WRITTEN] * there
        return pb.ProduceResponse(outcomes=written, partitions=[0] * there, offsets=range(there))

    outcomes = Outcomes(lambda _: None, lambda _: None)
    producing = Producing("L", call, lambda _: None, outcomes, Limits(), Counters(), keeps_sources=keeps_sources)
    countings = [Outcomes(lambda _: None, lambda _: None) for _ in range(documents)] or [outcomes]
    for number in range(count):
        producing.counting = countings[number % len(countings)]
        producing.put(topics[number % len(topics)], b"v", b"k", (), partition, source)
    await producing.drained()


class _NoSink:
    def changed(self, progress: LeaseProgress) -> None: ...
    def hurry(self) -> None: ...
    def forget(self, progress: LeaseProgress) -> None: ...


async def _dispatch(batch: pb.Batch, count: int) -> None:
    dispatcher = Dispatcher("t", 0, LeaseProgress("lease", 10_000, 0, _NoSink()), LoopBudget(), HandlerTimes())
    seen: list[Message] = []
    dispatcher.put(batch, count)
    running = asyncio.create_task(dispatcher.run(Handling(seen.append, Kind.EACH)))
    await dispatcher.idle.wait()
    dispatcher.stop()
    await running
    assert len(seen) == count
