"""Reads a client's frames on a `Serve` stream, checks their order, and passes them on to the consumer thread."""

import asyncio
from collections.abc import Callable
from time import monotonic

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.measured import LoopMeasure
from sidecar.partitions.vocabulary import ClosedReason
from sidecar.server import frames
from sidecar.server.frames import InvalidFrameError
from sidecar.server.refusals import Context
from sidecar.server.stream import Stream
from sidecar.server.transacting import unit_of

BURST_FRAMES = 50.0
"""Frames of a stream that are read without delay; further ones wait in the client, by HTTP/2's flow control."""

SPARE_FRAMES_PER_S = 2.0
"""The rate after the burst for a spare stream, whose client has nothing to send."""

LEASE_FRAMES_PER_S = 10.0
"""The rate after the burst with a partition. It bounds pauses and resumes, which are a log line each."""

PROGRESS_PER_S = 1.0
PROGRESS_BURST = 2.0
"""How many Progress frames are passed on. A client sends one a second at most; on their way two may come closer."""

FRAME_BYTES = 4096
"""A larger frame counts as several; no valid frame is larger."""


class _Pace:
    """Limits how fast a stream is read: reading without limit would block the event loop for all others."""

    def __init__(self) -> None:
        self._left = BURST_FRAMES
        self._since = monotonic()

    async def wait(self, rate: float, size: int) -> None:
        """Wait, after a frame of ``size`` bytes, until the next may be read. ``rate``: frames a second."""
        now = monotonic()
        self._left = min(BURST_FRAMES, self._left + (now - self._since) * rate) - 1.0 - size / FRAME_BYTES
        self._since = now
        if self._left < 0:
            await asyncio.sleep(-self._left / rate)


class _Ration:
    """Decides which Progress frames the thread is told of. To drop the others is cheap, however many come."""

    def __init__(self) -> None:
        self._left = PROGRESS_BURST
        self._since = monotonic()

    def take(self) -> bool:
        now = monotonic()
        self._left = min(PROGRESS_BURST, self._left + (now - self._since) * PROGRESS_PER_S)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Reader:
    """Reads one stream after its Offer, in the order that the contract demands."""

    def __init__(
        self,
        context: Context,
        stream: Stream,
        mailbox: Mailbox,
        on_available: Callable[[], None],
        measure: LoopMeasure,
    ) -> None:
        """``on_available`` is called when the client sends Available."""
        self._context = context
        self._on_available = on_available
        self._measure = measure
        self._stream = stream
        self._mailbox = mailbox
        self._available = False
        self._ready = False
        self._progress = _Ration()

    async def read_all(self) -> None:
        """Read until Closed or the client's end of the stream. Raises ``InvalidFrameError``."""
        pace = _Pace()
        while True:
            data = await self._context.read()
            if not isinstance(data, bytes):
                return
            size = len(data)
            self._measure.received(size)
            if self._pass_on(frames.parse(pb.LambdaFrame, data)):
                return
            del data  # it may be large, and the next frame may take long
            await pace.wait(SPARE_FRAMES_PER_S if self._stream.lease is None else LEASE_FRAMES_PER_S, size)

    def _pass_on(self, frame: pb.LambdaFrame) -> bool:
        """Pass a frame on to the thread. Returns whether it was the last one."""
        stream = self._stream
        stream.seen = monotonic()
        kind = frame.WhichOneof("frame")
        if kind == "available" and not self._available:
            self._available = True
            self._on_available()
            self._mailbox.put(letters.Available(stream.id, stream.process_id, stream.offer.max_message_bytes))
        elif kind == "ready" and stream.lease is not None and not self._ready:
            self._ready = True
            memory = stream.shared() if frame.ready.shared_memory else None
            self._mailbox.put(letters.Ready(stream.id, frame.ready.lease, memory))
        elif kind == "pause" and self._ready:
            self._mailbox.put(letters.PauseLease(stream.id, frames.pausing(frame.pause)))
        elif kind == "resume" and self._ready:
            self._mailbox.put(letters.ResumeLease(stream.id))
        elif kind == "progress" and self._ready:
            if self._progress.take():
                text = frames.cut(frame.progress.text, frames.MAX_PROGRESS_BYTES)
                self._mailbox.put(letters.LeaseProgress(stream.id, text))
        elif kind == "closed":
            last = frames.last_checkpoint(frame.closed, "closed.last_checkpoint")
            unit = unit_of(stream.held, stream.lease, last) if stream.alive else None
            self._mailbox.put(letters.Closed(stream.id, ClosedReason(frame.closed.reason), last, unit))
            return True
        elif kind is not None:
            raise InvalidFrameError(
                f"{kind}: out of order; offer, available, ready, closed come once each; "
                "pause, resume and progress come after ready"
            )
        return False
