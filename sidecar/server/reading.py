"""What a lambda sends on its `Serve` stream, frame by frame: checked for its order, and told to the thread."""

import asyncio
from collections.abc import Callable
from time import monotonic

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.partitions.vocabulary import ClosedReason
from sidecar.server import frames
from sidecar.server.frames import InvalidFrameError
from sidecar.server.refusals import Context
from sidecar.server.stream import Stream

BURST = 50.0
"""Frames of a stream that are read at once; what comes beyond it waits in the client, by HTTP/2's flow control."""

SPARE_RATE = 2.0
"""Frames a second beyond it while the stream waits for a partition: there is nothing to say."""

LEASE_RATE = 10.0
"""Frames a second beyond it with a partition: as often as it may pause and resume, each of which is a line of log."""

FRAME_BYTES = 4096
"""A frame that is larger counts as several: none that means something is."""


class _Pace:
    """How fast a stream is read. A read in a loop of its own would take the event loop from all others."""

    def __init__(self) -> None:
        self._left = BURST
        self._since = monotonic()

    async def wait(self, rate: float, size: int) -> None:
        """A frame of ``size`` bytes came: wait until the next may be read."""
        now = monotonic()
        self._left = min(BURST, self._left + (now - self._since) * rate) - 1.0 - size / FRAME_BYTES
        self._since = now
        if self._left < 0:
            await asyncio.sleep(-self._left / rate)


class Reader:
    """Reads one stream after its Offer, in the order that the contract asks for."""

    def __init__(self, context: Context, stream: Stream, mailbox: Mailbox, on_available: Callable[[], None]) -> None:
        """``on_available`` is called when the stream is."""
        self._context = context
        self._on_available = on_available
        self._stream = stream
        self._mailbox = mailbox
        self._available = False
        self._ready = False

    async def read_all(self) -> None:
        """Read until Closed or the client's end. Raises ``InvalidFrameError``."""
        pace = _Pace()
        while True:
            data = await self._context.read()
            if not isinstance(data, bytes):
                return
            if self._told(frames.parse(pb.LambdaFrame, data)):
                return
            size = len(data)
            del data  # it may be large, and the next one late
            await pace.wait(SPARE_RATE if self._stream.lease is None else LEASE_RATE, size)

    def _told(self, frame: pb.LambdaFrame) -> bool:
        """Tell the thread what a frame says; returns whether it was the last one."""
        stream = self._stream
        kind = frame.WhichOneof("frame")
        if kind == "available" and not self._available:
            self._available = True
            self._on_available()
            self._mailbox.put(letters.Available(stream.id, stream.process_id, stream.offer.max_message_bytes))
        elif kind == "ready" and stream.lease is not None and not self._ready:
            self._ready = True
            self._mailbox.put(letters.Ready(stream.id, frame.ready.lease))
        elif kind == "pause" and self._ready:
            self._mailbox.put(letters.PauseLease(stream.id, frames.pausing(frame.pause)))
        elif kind == "resume" and self._ready:
            self._mailbox.put(letters.ResumeLease(stream.id))
        elif kind == "closed":
            last = frames.last_checkpoint(frame.closed, "closed.last_checkpoint")
            self._mailbox.put(letters.Closed(stream.id, ClosedReason(frame.closed.reason), last))
            return True
        elif kind is not None:
            raise InvalidFrameError(
                f"{kind}: out of order; offer, available, ready, closed come once each, pause and resume after ready"
            )
        return False
