"""Which partition calls its handler next: all partitions of a process share one event loop.

In each *round* of the event loop, handlers may run for `TURN_S` seconds in total, however many partitions have
messages. Then the rest of the loop gets its turn: reading, checkpoints, a partition that opens, and whatever else the
lambdas run on it. Without this bound, each of hundreds of partitions would have a turn of its own in every round.

A dispatcher that finds the budget used up joins a queue. The next rounds serve the queue from its head. The first one
that has its turn in a round handles at least one slice of messages, so the queue moves whatever else the loop does.
The others do so only while the budget lasts, and else go back to the head of the queue.

Owner: the event loop.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

TURN_S: Final = 0.005
"""Seconds that sync handlers of all partitions may hold the event loop in a row."""
_SERVED_PER_ROUND: Final = 8
"""Dispatchers from the queue that one round serves at most. More than one, so that small frames share the cost of a
round."""


class LoopBudget:
    """How long handlers may still run in the present round of one event loop."""

    def __init__(self) -> None:
        self._queue: deque[asyncio.Future[None]] = deque()
        self._returned: list[asyncio.Future[None]] = []
        """Those that go back to the head of the queue, in their order."""
        self._first = True
        """Nobody from the queue has had its turn in this round."""
        self._until = 0.0
        self._counting = False
        """Whether a round has begun; its end is scheduled then."""

    async def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a turn after standing still. Returns at once unless others wait or the budget is used up."""
        if self._queue or self._returned or self.over(loop, monotonic()):
            await self.wait(loop)

    def over(self, loop: asyncio.AbstractEventLoop, now: float) -> bool:
        """Whether the budget of this round is used up ``now``, in seconds of `time.monotonic`.

        Asked after each awaited handler: `loop.time` would cost more than twice as much as that function.
        """
        if self._counting:
            return now >= self._until
        self._begin_round(loop, now)
        return False

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the rest of the loop run, and those that wait already; then have a turn."""
        turn = loop.create_future()
        self._queue.append(turn)
        if not self._counting:
            self._begin_round(loop, monotonic())
        await turn
        # `over` begins a round where none is counted: `_next_round` may have run since the one that served this task,
        # and have found nobody in the queue. Without a round nobody would serve it again.
        while not self._first and self.over(loop, monotonic()):
            turn = loop.create_future()
            self._returned.append(turn)
            await turn
        self._first = False

    def _begin_round(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._counting = True
        self._until = now + TURN_S
        # Runs in the next round: a round calls only what was scheduled before it began.
        loop.call_soon(self._next_round, loop)

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._counting = False
        self._queue.extendleft(reversed(self._returned))
        self._returned.clear()
        if not self._queue:
            return
        self._first = True
        self._begin_round(loop, monotonic())
        served = 0
        while self._queue and served < _SERVED_PER_ROUND:
            turn = self._queue.popleft()
            if not turn.done():  # it is done when its task was cancelled
                turn.set_result(None)
                served += 1
