"""The messages of one lease on their way to the handler: frames come in, and pauses hold them.

A pause begins here at once. It ends when the sidecar sends Resumed for the latest pause; a Resumed for an earlier one
crossed the latest pause on the way. With an offset, the sidecar sends the messages from that offset on again. So the
messages that wait here are dropped, and so is every frame until Resumed: the sidecar wrote those frames before it
knew of the pause. A second pause that replaces the first must not lose what the first one asked for, so the rewind
offset only ever moves down until a Resumed.

Pause and Resume wait in the `Outbox`, which holds at most one of each: a newer one replaces one that is not written
yet, as it would in the sidecar.

Owner: the event loop.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

from ._checkpoints import LeaseProgress
from ._decoding import AnyBatch, extent, size_of
from ._dispatch import Dispatcher
from ._errors import clip
from ._log import PartitionLogger
from ._message import FrameError
from ._outbox import Outbox
from .protocol import lambda_pb2 as pb

MAX_REASON_BYTES: Final = 1024
_MAX_RETRY_AFTER_MS: Final = 2**32 - 1  # a uint32 on the wire


@dataclass(frozen=True, slots=True)
class Pause:
    """The checked arguments of `IContext.pause`."""

    reason: str
    retry_after: float | None
    offset: int | None


class PauseGate:
    """Stands between a stream and its dispatcher, and holds the dispatcher during a pause."""

    def __init__(
        self, progress: LeaseProgress, dispatcher: Dispatcher, outbox: Outbox, window: int, log: PartitionLogger
    ) -> None:
        self.paused = False
        """True from `pause` until the sidecar's Resumed."""
        self.full = False
        """True while many records that the lambda produced wait to be written."""
        self._progress = progress
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._max_waiting = 2 * window
        self._log = log
        self._next_offset = 0
        self._highest = -1  # the highest offset that ever came
        self._rewind: int | None = None  # messages from here on come again: frames are void until Resumed
        self._number = 0
        self._ended = False

    def end(self) -> None:
        """End with the life: no handler is called any more."""
        self._ended = True
        self._dispatcher.stop()

    def fill(self, is_full: bool) -> None:
        """Call no handler while ``is_full``: many records that the lambda produced wait to be written."""
        self.full = is_full
        if is_full:
            self._dispatcher.hold()
        elif not self.paused:
            self._dispatcher.release()

    # ------------------------------------------------------------------------------------ from the sidecar

    async def take(self, batch: AnyBatch) -> None:
        """Take a frame, and return when there is room for the next. Raises ``FrameError`` when it does not fit."""
        if self._rewind is not None:
            return
        count, first, last = extent(batch)
        if not count:
            return
        if first < self._next_offset:
            raise FrameError(f"Batch.first_offset {first} comes after {self._next_offset - 1}")
        self._next_offset = last + 1
        self._highest = max(self._highest, last)
        self._progress.came(count, last, size_of(batch))
        self._dispatcher.put(batch, count)
        # The window bounds how much comes. Only a lambda that checkpoints far ahead of its handler opens it wider;
        # then not reading on bounds what waits here. During a pause reading goes on: the Resumed that ends it comes
        # after what is not read, and the sidecar sends no more than it had sent.
        dispatcher = self._dispatcher
        while dispatcher.waiting > self._max_waiting and not dispatcher.held and not self._ended:
            dispatcher.room.clear()
            await dispatcher.room.wait()

    def resumed(self, resumed: pb.Resumed) -> None:
        """End the pause that the sidecar names, if it is the latest."""
        if not self.paused or resumed.number != self._number:
            self._log.debug("resumed from pause %d, which is not the latest", resumed.number)
            return
        self.paused = False
        if self._rewind is not None:
            self._rewind = None
            self._next_offset = resumed.from_offset
            self._progress.delivered_to(resumed.from_offset - 1)
        self._log.info("resumed")
        if not self.full:
            self._dispatcher.release()

    # ------------------------------------------------------------------------------------- from the lambda

    def pause(self, pause: Pause) -> None:
        """Begin a pause, or replace the present one. Raises ``ValueError`` when its offset cannot come again."""
        if self._ended:
            self._log.debug("a pause after the end of the lease is ignored: %s", pause.reason)
            return
        if pause.offset is not None:
            self._check(pause.offset)
        self._dispatcher.hold()
        if pause.offset is not None:
            self._rewind_to(pause.offset)
        self._outbox.take_back("resume")
        self._number += 1 - self._outbox.take_back("pause")
        frame = pb.Pause(reason=clip(pause.reason, MAX_REASON_BYTES), number=self._number)
        if self._rewind is not None:
            frame.offset = self._rewind
        if pause.retry_after is not None:
            frame.retry_after_ms = min(_MAX_RETRY_AFTER_MS, ceil(pause.retry_after * 1000))
        self.paused = True
        self._outbox.put(pb.LambdaFrame(pause=frame))
        until = "until it is resumed" if pause.retry_after is None else f"for {pause.retry_after:g} s"
        again = "" if self._rewind is None else f", then again from offset {self._rewind}"
        self._log.warning("paused %s%s: %s", until, again, pause.reason or "no reason given")

    def resume(self) -> None:
        """End the pause, as `IContext.resume` describes."""
        if self._ended:
            self._log.debug("a resume after the end of the lease is ignored")
        elif not self.paused:
            self._log.warning("resume() without a pause: ignored")
        elif not self._outbox.holds("resume"):
            self._outbox.put(pb.LambdaFrame(resume=pb.Resume()))

    def _check(self, offset: int) -> None:
        if offset > self._highest:
            came = "none came yet" if self._highest < 0 else f"the last that came has {self._highest}"
            raise ValueError(f"pause(offset={offset}): there is no such message to come again, {came}")
        if offset <= self._progress.offset:
            raise ValueError(
                f"pause(offset={offset}): this lambda's checkpoint is at {self._progress.offset}, and what is "
                "checkpointed does not come again"
            )

    def _rewind_to(self, offset: int) -> None:
        # Messages below the offset may wait here. They are dropped with the rest, so they have to come again as well.
        waiting = self._dispatcher.next_offset
        first = min(offset, self._next_offset if waiting is None else waiting)
        first = max(first, self._progress.offset + 1)  # the sidecar does not go lower
        if self._rewind is not None:
            first = min(first, self._rewind)
        elif first >= self._next_offset:
            return  # it is still to come, after an earlier rewind
        self._rewind = first
        self._progress.delivered_to(first - 1)
        self._dispatcher.drop()
