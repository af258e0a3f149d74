"""Signs of life of long work (`IContext.progress`): the first at once, then one a second with the latest text.

Owner: the event loop.
"""

import asyncio
from typing import Final

from ._errors import clip
from ._outbox import Outbox
from .protocol import lambda_pb2 as pb

SPACING_S: Final = 1.0
"""Seconds between two frames, at least."""
MAX_TEXT_BYTES: Final = 256


class LifeSigns:
    """What a lambda says of the work that it does. `end` it with the lease."""

    def __init__(self, outbox: Outbox, spacing: float = SPACING_S) -> None:
        self._outbox = outbox
        self._spacing = spacing
        self._loop = asyncio.get_running_loop()
        self._next: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def say(self, text: str = "") -> None:
        """Tell the sidecar that work goes on, as `IContext.progress` describes."""
        if not isinstance(text, str):
            raise TypeError(f"progress(text): a text, got {type(text).__name__}")
        if self._ended:
            return
        self._next = text
        if self._timer is None:
            self._tell()

    def end(self) -> None:
        """Tell nothing more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        text, self._next, self._timer = self._next, None, None
        if text is None:
            return
        self._timer = self._loop.call_later(self._spacing, self._tell)
        self._outbox.take_back("progress")  # it was not written for a second: this text replaces it
        self._outbox.put(pb.LambdaFrame(progress=pb.Progress(text=clip(text, MAX_TEXT_BYTES))))
