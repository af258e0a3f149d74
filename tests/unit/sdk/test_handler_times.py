"""How long handlers take: what is counted for each kind of handler, and how the sidecar is told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from sdk_python import Message, _dispatch, _loop_budget
from sdk_python._checkpoints import CheckpointSender, LeaseProgress
from sdk_python._connection import LinkError
from sdk_python._dispatch import Dispatcher
from sdk_python._handler_times import BOUNDS_S, HandlerTimes
from sdk_python._handling import Handling, Kind
from sdk_python._loop_budget import LoopBudget
from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.sdk.test_dispatch import NoSink, run_until_idle


class Clock:
    """The clock, which only the handlers of a test move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in (_dispatch, _loop_budget):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)

    async def later(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


def shown(times: HandlerTimes) -> dict[float, int]:
    """How many handlers there are in each class that has some, by its upper bound."""
    taken = times.take("lease")
    counts = zip((*BOUNDS_S, float("inf")), taken.counts, strict=True)
    return {bound: count for bound, count in counts if count}


async def times_of(count: int, handler: Callable[[Message], Any]) -> HandlerTimes:
    times = HandlerTimes()
    made = Dispatcher("t", 0, LeaseProgress("lease", 1000, 0, NoSink()), LoopBudget(), times)
    made.put(pb.Batch(values=[b"x"] * count), count)
    await run_until_idle(made, handler)
    return times


async def test_sync_handlers_of_a_run_count_as_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def handle(message: Message) -> None:
        clock.now += 0.0002

    assert shown(await times_of(500, handle)) == {0.001: 500}


async def test_each_awaited_handler_counts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    taking = {0: 0.02, 1: 2.0, 2: 100.0}
    times = await times_of(3, lambda message: clock.later(taking[message.offset]))
    taken = times.take("lease")
    assert taken.sum_us == 102_020_000
    assert list(taken.counts) == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1]


async def test_a_message_that_is_not_awaited_counts_as_quick_before_a_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)

    def handle(message: Message) -> Awaitable[None] | None:
        if message.offset % 10 == 9:
            return clock.later(0.3)
        clock.now += 0.00005
        return None

    counts = shown(await times_of(25, handle))
    assert counts.pop(0.5) == 2
    assert counts[0.00001] + counts[0.0001] == sum(counts.values()) == 23


async def test_quick_awaited_handlers_of_a_run_count_as_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert shown(await times_of(100, lambda _: clock.later(0.00002))) == {0.0001: 100}


async def test_time_in_which_other_partitions_have_the_loop_is_not_the_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)

    def others() -> None:
        clock.now += 30.0

    async def handle(message: Message) -> None:
        clock.now += 0.006  # longer than a turn: the loop goes on with the others
        asyncio.get_running_loop().call_soon(others)

    assert shown(await times_of(4, handle)) == {0.01: 4}
    assert clock.now > 60.0


async def test_what_a_stop_cuts_is_not_guessed() -> None:
    times = HandlerTimes()
    made = Dispatcher("t", 0, LeaseProgress("lease", 1000, 0, NoSink()), LoopBudget(), times)
    made.put(pb.Batch(values=[b"x"] * 100), 100)
    await made.run(Handling(lambda _: made.stop(), Kind.EACH))
    assert not times


class Call:
    """The call of a sender: it keeps the requests, and fails when told."""

    def __init__(self, *outcomes: bool) -> None:
        self.requests: list[pb.CheckpointRequest] = []
        self.made = asyncio.Event()
        self._outcomes: Iterator[bool] = iter(outcomes)

    async def __call__(self, request: pb.CheckpointRequest) -> pb.CheckpointResponse:
        self.requests.append(request)
        if not next(self._outcomes, True):
            raise LinkError("no sidecar")
        self.made.set()
        results = [pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)] * len(request.entries)
        return pb.CheckpointResponse(results=results)


async def told(call: Call, times: HandlerTimes) -> pb.CheckpointRequest:
    """The first request that came through, of a sender with one lease."""
    sender = CheckpointSender(call, times, spacing=0.0, handled_interval=0.001)
    sender.add(LeaseProgress("lease", 100, 0, sender))
    running = asyncio.create_task(sender.run())
    await call.made.wait()
    running.cancel()
    return call.requests[-1]


async def test_times_are_told_without_a_checkpoint() -> None:
    times = HandlerTimes()
    times.add(2, 0.2)
    request = await told(call := Call(), times)
    assert (len(request.entries), len(call.requests)) == (0, 1)
    assert request.handler_times == pb.HandlerTimes(
        lease="lease", counts=[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0], sum_us=200_000
    )
    assert not times


async def test_times_whose_call_failed_are_told_again() -> None:
    times = HandlerTimes()
    times.add(1, 0.5)
    request = await told(call := Call(False, False), times)
    assert len(call.requests) == 3
    assert {one.handler_times.sum_us for one in call.requests} == {500_000} == {request.handler_times.sum_us}
