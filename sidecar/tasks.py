"""Tasks that run as long as the sidecar does; if one dies, the sidecar reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.logs import get_logger

_log = get_logger(__name__)


class Tasks:
    """Makes tasks and keeps references to them, since the event loop has weak ones. Owned by the loop."""

    def __init__(self, broken: Callable[[str], None]) -> None:
        """``broken`` is called with a sentence when a task has died: a part of the sidecar no longer works."""
        self._broken = broken
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run ``work`` as a task. The log and `status` show ``name``."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            name = task.get_name()
            _log.error("a task of the sidecar died", task=name, exc_info=error)
            self._broken(f"{name} died of {type(error).__name__}: {error}; restart the sidecar, and report it")
