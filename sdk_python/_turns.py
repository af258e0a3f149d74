"""Who calls handlers next: all partitions of a process share one event loop.

A *round* of the loop has `TURN` seconds for handlers, however many partitions have messages; then the rest of the
loop has its turn: reading, checkpoints, a partition that opens, and whatever the lambdas have on it. Without that
bound each of hundreds of partitions had a turn of its own in every round.

Owner: the event loop. Who finds the time used up stands in a line, and the next rounds serve it from its head. Who
is served gets on by one slice at least, so the line moves whatever else the loop does.
"""

import asyncio
from collections import deque
from typing import Final

TURN: Final = 0.005
"""Seconds that sync handlers of all partitions may hold the event loop in a row."""
_SERVED: Final = 8
"""From the line in one round: small frames share what a round costs, and their slices are short beside a turn."""


class Turns:
    """The rounds of one event loop."""

    def __init__(self) -> None:
        self._line: deque[asyncio.Future[None]] = deque()
        self._until = 0.0
        self._counting = False
        """A round has begun, and its end is scheduled."""

    async def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before a handler is called by one that has stood still: at once, unless others wait or the time is over."""
        if self._line or self.over(loop):
            await self.wait(loop)

    def over(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the round's time is used up."""
        if self._counting:
            return loop.time() >= self._until
        self._count(loop)
        return False

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the rest of the loop have its turn, and those who wait already."""
        place = loop.create_future()
        self._line.append(place)
        if not self._counting:
            self._count(loop)
        await place

    def _count(self, loop: asyncio.AbstractEventLoop) -> None:
        self._counting = True
        self._until = loop.time() + TURN
        loop.call_soon(self._next, loop)  # runs in the next round: the loop calls what was there when its round began

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._counting = False
        if not self._line:
            return
        self._count(loop)
        served = 0
        while self._line and served < _SERVED:
            place = self._line.popleft()
            if not place.done():  # cancelled, with its task
                place.set_result(None)
                served += 1
