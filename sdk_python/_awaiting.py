"""Small helpers for waiting: a lambda's code may be sync or async, and every wait has an end."""

import asyncio
from inspect import isawaitable
from typing import Any


async def awaited(result: Any) -> Any:
    """Return what a lambda's code returned, awaited where it is awaitable."""
    return await result if isawaitable(result) else result


class Deadline:
    """A point in time that several steps share. Each step gets a share of the whole time."""

    def __init__(self, seconds: float) -> None:
        self._start = asyncio.get_running_loop().time()
        self._seconds = seconds

    def left(self, share: float = 1.0) -> float:
        """Seconds until ``share`` (0 to 1) of the whole time is over; 0 when it is."""
        end = self._start + self._seconds * share
        return max(0.0, end - asyncio.get_running_loop().time())


async def finished(task: asyncio.Task[Any], timeout: float | None) -> bool:
    """Wait for a task without cancelling it; returns whether it is done. ``timeout`` in seconds."""
    done, _ = await asyncio.wait({task}, timeout=timeout)
    return bool(done)
