"""How far a lease is committed in Kafka, and who waits for it (`IContext.committed`).

Owner: the event loop.
"""

import asyncio
import heapq
from itertools import count

from ._errors import NotCommittedError


class Commits:
    """What the sidecar told of one lease's commits."""

    def __init__(self, told: bool) -> None:
        """``told``: whether the sidecar tells of commits at all."""
        self._offset = -1
        self._over = "" if told else "this sidecar does not tell of commits; a newer version does"
        self._numbers = count()  # so that the heap never compares futures
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def reach(self, offset: int) -> None:
        """Wait until everything up to ``offset`` is committed. Raises ``NotCommittedError`` when that is not told."""
        if offset <= self._offset:
            return
        if self._over:
            raise NotCommittedError(offset, self._over)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (offset, next(self._numbers), waiter))
        await waiter

    def reached(self, offset: int) -> None:
        """Note that everything up to ``offset`` is committed."""
        self._offset = max(self._offset, offset)
        while self._waiting and self._waiting[0][0] <= self._offset:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():  # its task may have been cancelled
                waiter.set_result(None)

    def end(self, why: str) -> None:
        """Nothing more is told: fail whoever waits."""
        self._over = self._over or why
        waiting, self._waiting = self._waiting, []
        for offset, _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(NotCommittedError(offset, self._over))
