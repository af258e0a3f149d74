"""What a life is connected to in a test, instead of gRPC: the stream, and what takes checkpoints and other calls."""

import asyncio
from collections.abc import Awaitable, Callable

from sdk_python._checkpoints import LeaseProgress
from sdk_python._connection import LinkError
from sdk_python._life import Life
from sdk_python.protocol import lambda_pb2 as pb


class Stream:
    """A stream that is two queues."""

    def __init__(self, take: Callable[[pb.LambdaFrame], None]) -> None:
        """``take``: gets each frame of the lambda after Ready."""
        self.ready = asyncio.Event()
        self._take = take
        self._frames: asyncio.Queue[pb.HostFrame | Exception | None] = asyncio.Queue()

    def send(self, frame: pb.HostFrame) -> None:
        self._frames.put_nowait(frame)

    def break_off(self) -> None:
        self._frames.put_nowait(LinkError("the test broke the stream"))

    async def drained(self, life: Life) -> None:
        """Wait until every frame is written and read, and the dispatcher is idle."""
        await life.outbox.written.wait()
        await self._frames.join()
        await life.dispatcher.idle.wait()

    async def read(self) -> pb.HostFrame | None:
        frame = await self._frames.get()
        # `read` is called again only when the dispatcher has the frame before. It gets this frame a step later, in
        # the same round of the loop, so code that waits for `join` finds it there.
        self._frames.task_done()
        if isinstance(frame, Exception):
            raise frame
        return frame

    async def write(self, frame: pb.LambdaFrame) -> None:
        if frame.HasField("ready"):
            self.ready.set()
        else:
            self._take(frame)

    async def half_close(self) -> None:
        self._frames.put_nowait(None)

    def close(self) -> None:
        pass


class Sink:
    """Takes each checkpoint at once, so that a test sees them all."""

    def __init__(self, accept: Callable[[pb.CheckpointEntry], None]) -> None:
        self._accept = accept

    def changed(self, progress: LeaseProgress) -> None:
        entry = progress.take()
        if entry is not None:
            self._accept(entry)
            progress.answered(entry, pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED))

    def hurry(self) -> None:
        """Do nothing: nothing waits here."""

    def forget(self, progress: LeaseProgress) -> None:
        """Do nothing: nothing is kept here."""


class Calls:
    """The calls beside the stream."""

    def __init__(
        self,
        error: Callable[[pb.ErrorRequest], pb.ErrorResponse],
        produce: Callable[[pb.ProduceRequest], Awaitable[pb.ProduceResponse]],
    ) -> None:
        self._error = error
        self._produce = produce

    async def error(self, request: pb.ErrorRequest) -> pb.ErrorResponse:
        return self._error(request)

    async def produce(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        return await self._produce(request)
