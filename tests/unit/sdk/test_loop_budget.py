"""How the partitions of a process share the event loop."""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, strategies as st

from sdk_python import Message, _loop_budget
from sdk_python._checkpoints import LeaseProgress
from sdk_python._dispatch import Dispatcher
from sdk_python._handler_times import HandlerTimes
from sdk_python._handling import Handling, Kind
from sdk_python._loop_budget import TURN_S, LoopBudget
from sdk_python.protocol import lambda_pb2 as pb

from .test_dispatch import NoSink

PARTITIONS = 50
FRAME = 300
WORK = TURN_S / 10
"""Seconds of one message: a slice is one or a few, and a turn about ten."""


def busy(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        pass


async def run_all(budget: LoopBudget, count: int, handler: Callable[[int], Callable[[Message], Any]]) -> None:
    """A frame of ``count`` messages for each partition, at once."""
    made = [
        Dispatcher("t", number, LeaseProgress("lease", FRAME, 0, NoSink()), budget, HandlerTimes())
        for number in range(PARTITIONS)
    ]
    for one in made:
        one.put(pb.Batch(first_offset=0, values=[b"x"] * count), count)
    tasks = [asyncio.create_task(one.run(Handling(handler(number), Kind.EACH))) for number, one in enumerate(made)]
    for one in made:
        await one.idle.wait()
        one.stop()
    await asyncio.gather(*tasks)


async def test_the_rest_of_the_loop_has_its_turn_however_many_partitions_have_messages() -> None:
    handled = 0
    seen: list[int] = []

    def handler(_: int) -> Callable[[Message], Any]:
        def handle(_: Message) -> None:
            nonlocal handled
            busy(WORK)
            handled += 1

        return handle

    async def other() -> None:
        while True:
            seen.append(handled)
            await asyncio.sleep(0)

    watch = asyncio.create_task(other())
    await run_all(LoopBudget(), 20, handler)
    watch.cancel()
    assert handled == 20 * PARTITIONS
    # Ten messages use a turn up. Before that a slice may be begun, which is of two or three messages of this length.
    assert max(later - earlier for earlier, later in pairwise(seen)) < 10 + 4, "not one turn for each partition"


async def test_waiting_dispatchers_are_served_in_order() -> None:
    budget = LoopBudget()
    order: list[int] = []

    def handler(number: int) -> Callable[[Message], Any]:
        def handle(_: Message) -> None:
            order.append(number)
            busy(TURN_S * 1.1)

        return handle

    await run_all(budget, 3, handler)
    assert len(order) == 3 * PARTITIONS
    counts = [0] * PARTITIONS
    for number in order:
        counts[number] += 1
        # The very first has its turn before the others come, and with the rest of it is the first in the line.
        assert max(counts) - min(counts) <= 2


class Clock:
    """Time that passes only where the test says so, in milliseconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self, ms: int) -> None:
        self.now += ms / 1000


Slices = list[int]
"""The milliseconds of the slices that a dispatcher handles before it has nothing more."""


@given(
    dispatchers=st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=5), min_size=1, max_size=20),
    other=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    late=st.integers(0, 3),
)
@example(dispatchers=[[6, 6], [6]], other=[6], late=0)
def test_whoever_waits_gets_a_turn_whatever_else_the_loop_does(
    dispatchers: list[Slices], other: Slices, late: int
) -> None:
    """``other``: milliseconds of other work in each round. The last ``late`` dispatchers come some rounds later."""
    clock = Clock()
    slices = sum(map(len, dispatchers))

    async def dispatch(budget: LoopBudget, mine: Slices, after: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(after):
            await asyncio.sleep(0)
        await budget.begin(loop)
        for ms in mine:
            clock.passes(ms)
            if budget.over(loop, clock()):
                await budget.wait(loop)

    async def run() -> None:
        budget = LoopBudget()
        first_late = len(dispatchers) - late
        tasks = [
            asyncio.create_task(dispatch(budget, mine, 2 if number >= first_late else 0))
            for number, mine in enumerate(dispatchers)
        ]
        rounds = 0
        while not all(task.done() for task in tasks):
            clock.passes(other[rounds % len(other)])
            rounds += 1
            # Each round lets at least one go on; to come, to begin and to end takes some rounds more.
            assert rounds < 10 + 3 * slices, "somebody waits for ever"
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    with patch.object(_loop_budget, "monotonic", clock):
        asyncio.run(run())


async def test_a_cancelled_waiter_holds_up_nobody() -> None:
    loop = asyncio.get_running_loop()
    budget = LoopBudget()
    gone = [asyncio.create_task(budget.wait(loop)) for _ in range(20)]
    last = asyncio.create_task(budget.wait(loop))
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    await last
    assert not budget.over(loop, time.monotonic())
