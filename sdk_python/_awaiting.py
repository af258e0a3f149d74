"""Small helpers for waiting: user code may be sync or async, and everything that waits has an end."""

import asyncio
from inspect import isawaitable
from typing import Any


async def settle(result: Any) -> Any:
    """The value of what user code returned, awaited where it is awaitable."""
    return await result if isawaitable(result) else result


class Deadline:
    """A point in time that several steps share, each taking a part of what there was at the start."""

    def __init__(self, seconds: float) -> None:
        self._start = asyncio.get_running_loop().time()
        self._seconds = seconds

    def left(self, share: float = 1.0) -> float:
        """Seconds until ``share`` of the whole time is over; 0 when it is."""
        end = self._start + self._seconds * share
        return max(0.0, end - asyncio.get_running_loop().time())


async def finished(task: asyncio.Task[Any], timeout: float | None) -> bool:
    """Wait for a task without cancelling it; whether it is done."""
    done, _ = await asyncio.wait({task}, timeout=timeout)
    return bool(done)
