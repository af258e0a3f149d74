"""The messages of one lease on their way to the handler: frames in, and the pauses that hold them.

A pause begins here at once and ends when the sidecar says Resumed for the latest one; what it says of an earlier one
crossed the latest on the way. With an offset, the messages from it on come again, so what waits here is dropped, and
so is every frame until Resumed: the sidecar wrote it before it knew. Those messages have to come again even when a
second pause replaces the first, so what is asked for again only ever grows until a Resumed.

Owner: the event loop. Pause and Resume wait in a queue, since whoever pauses does not wait for the network. At most
one of each: what was not written yet is replaced, for the sidecar would replace it too.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Final

from ._checkpoints import Place
from ._context import Pause
from ._dispatch import Dispatcher
from ._errors import clip
from ._log import PartitionLogger
from ._message import FrameError, check_batch
from .protocol import lambda_pb2 as pb

MAX_REASON_BYTES: Final = 1024
_MOST_MS: Final = 2**32 - 1


class Flow:
    """Between a stream and its dispatcher."""

    def __init__(self, place: Place, dispatcher: Dispatcher, window: int, log: PartitionLogger) -> None:
        self.paused = False
        """From `pause` until the sidecar's Resumed."""
        self.written = asyncio.Event()
        """Set while no frame waits to be written."""
        self.written.set()
        self.full = False
        """While much that the lambda produced waits to be written."""
        self._place = place
        self._dispatcher = dispatcher
        self._most_waiting = 2 * window
        self._log = log
        self._next_offset = 0
        self._highest = -1  # that ever came
        self._rewind: int | None = None  # messages from here on come again: until Resumed, frames are void
        self._number = 0
        self._frames: deque[pb.LambdaFrame] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def end(self) -> None:
        """The life is over: no handler is called any more, and `write_out` returns when all is written."""
        self._ended = True
        self._dispatcher.stop()
        self._wake.set()

    def fill(self, is_full: bool) -> None:
        """Much that the lambda produced waits to be written: call no handler while that is so."""
        self.full = is_full
        if is_full:
            self._dispatcher.hold()
        elif not self.paused:
            self._dispatcher.release()

    # ------------------------------------------------------------------------------------ from the sidecar

    async def take(self, batch: pb.Batch) -> None:
        """A frame came. Returns when there is room for the next."""
        if self._rewind is not None:
            return
        count, first, last = check_batch(batch)
        if not count:
            return
        if first < self._next_offset:
            raise FrameError(f"Batch.first_offset {first} comes after {self._next_offset - 1}")
        self._next_offset = last + 1
        self._highest = max(self._highest, last)
        self._place.delivered_to(last)
        self._dispatcher.put(batch, count)
        # The window bounds what comes. Only a lambda that checkpoints far ahead of its handler opens it wider;
        # then what waits here is bounded by not reading on. Not in a pause: its end comes after what is not read, and
        # the sidecar sends no more than it had sent.
        dispatcher = self._dispatcher
        while dispatcher.waiting > self._most_waiting and not dispatcher.held and not self._ended:
            dispatcher.room.clear()
            await dispatcher.room.wait()

    def resumed(self, resumed: pb.Resumed) -> None:
        """The sidecar says that a pause is over."""
        if not self.paused or resumed.number != self._number:
            self._log.debug("resumed from pause %d, which is not the latest", resumed.number)
            return
        self.paused = False
        if self._rewind is not None:
            self._rewind = None
            self._next_offset = resumed.from_offset
            self._place.delivered_to(resumed.from_offset - 1)
        self._log.info("resumed")
        if not self.full:
            self._dispatcher.release()

    # ------------------------------------------------------------------------------------- from the lambda

    def pause(self, pause: Pause) -> None:
        """See `IContext.pause`."""
        if pause.offset is not None:
            self._check(pause.offset)
        self._dispatcher.hold()
        if pause.offset is not None:
            self._rewind_to(pause.offset)
        self._number += 1 - sum(frame.HasField("pause") for frame in self._frames)
        self._frames.clear()
        frame = pb.Pause(reason=clip(pause.reason, MAX_REASON_BYTES), number=self._number)
        if self._rewind is not None:
            frame.offset = self._rewind
        if pause.retry_after is not None:
            frame.retry_after_ms = min(_MOST_MS, ceil(pause.retry_after * 1000))
        self.paused = True
        self._put(pb.LambdaFrame(pause=frame))
        until = "until it is resumed" if pause.retry_after is None else f"for {pause.retry_after:g} s"
        again = "" if self._rewind is None else f", then again from offset {self._rewind}"
        self._log.warning("paused %s%s: %s", until, again, pause.reason or "no reason given")

    def resume(self) -> None:
        """See `IContext.resume`."""
        if not self.paused:
            self._log.warning("resume() without a pause: ignored")
        elif not self._frames or not self._frames[-1].HasField("resume"):
            self._put(pb.LambdaFrame(resume=pb.Resume()))

    async def write_out(self, write: Callable[[pb.LambdaFrame], Awaitable[bool]]) -> None:
        """Write what is said here, in its order, until `end`, or until ``write`` answers that it cannot."""
        while True:
            while self._frames:
                if not await write(self._frames.popleft()):
                    return
            self.written.set()
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()

    def _check(self, offset: int) -> None:
        if offset > self._highest:
            came = "none came yet" if self._highest < 0 else f"the last that came has {self._highest}"
            raise ValueError(f"pause(offset={offset}): there is no such message to come again, {came}")
        if offset <= self._place.offset:
            raise ValueError(
                f"pause(offset={offset}): this lambda's checkpoint is at {self._place.offset}, and what is "
                "checkpointed does not come again"
            )

    def _rewind_to(self, offset: int) -> None:
        # What waits below the offset is dropped with the rest, so it has to come as well.
        waiting = self._dispatcher.next_offset
        first = min(offset, self._next_offset if waiting is None else waiting)
        first = max(first, self._place.offset + 1)  # the sidecar does not go lower
        if self._rewind is not None:
            first = min(first, self._rewind)
        elif first >= self._next_offset:
            return  # it is still to come, after an earlier rewind
        self._rewind = first
        self._place.delivered_to(first - 1)
        self._dispatcher.drop()

    def _put(self, frame: pb.LambdaFrame) -> None:
        self._frames.append(frame)
        self.written.clear()
        self._wake.set()
