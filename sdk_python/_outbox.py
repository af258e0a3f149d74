"""The frames that a lambda's calls have made, until the stream's writer has written them.

The callers do not wait for the network. The queue stays short: a caller takes back what its newer frame replaces.

Owner: the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .protocol import lambda_pb2 as pb


class Outbox:
    """The frames between Ready and Closed, in their order."""

    def __init__(self) -> None:
        self.written = asyncio.Event()
        """Set while no frame waits to be written."""
        self.written.set()
        self._frames: deque[pb.LambdaFrame] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, frame: pb.LambdaFrame) -> None:
        """Write this frame after those that wait. After `end` it is dropped."""
        if not self._ended:
            self._frames.append(frame)
            self.written.clear()
            self._wake.set()

    def holds(self, kind: str) -> bool:
        """Whether a frame of this kind, such as ``"pause"``, waits to be written."""
        return any(frame.HasField(kind) for frame in self._frames)

    def take_back(self, *kinds: str) -> int:
        """Remove the frames of these kinds that are not written yet; returns how many there were."""
        kept = [frame for frame in self._frames if frame.WhichOneof("frame") not in kinds]
        count = len(self._frames) - len(kept)
        self._frames = deque(kept)
        return count

    def end(self) -> None:
        """Take no more frames: `write_out` returns when it has written those that wait."""
        self._ended = True
        self._wake.set()

    async def write_out(self, write: Callable[[pb.LambdaFrame], Awaitable[bool]]) -> None:
        """Write the frames in order, until `end`, or until ``write`` returns False."""
        while True:
            while self._frames:
                if not await write(self._frames.popleft()):
                    return
            self.written.set()
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()
