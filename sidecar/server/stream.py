"""One `Process` stream, on the loop: what is to be written, and how it ends."""

import asyncio
from collections import deque
from collections.abc import Callable

import grpc

from sidecar.partitions.vocabulary import Lease, StreamId


class Stream:
    """Frames that wait to be written, in order. Owned by the loop.

    At most two batches are ever in the queue (the partition's limit), so it needs no bound of its own.
    """

    def __init__(self, stream_id: StreamId, lambda_name: str, process_id: str) -> None:
        self.id = stream_id
        self.lambda_name = lambda_name
        self.process_id = process_id
        self.lease: Lease | None = None
        self.ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        """Set when the sidecar ends the stream by itself: with the status and its text."""
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._filled = asyncio.Event()

    def push(self, data: bytes, *, is_batch: bool = False) -> None:
        """Write this after what waits already. The writing of a batch is told to the consumer thread."""
        self._queue.append((data, is_batch))
        self._filled.set()

    def end(self, status: grpc.StatusCode, text: str) -> None:
        """End the stream with this status, unless it has ended."""
        if not self.ended.done():
            self.ended.set_result((status, text))

    async def write_all(
        self, context: grpc.aio.ServicerContext[bytes, bytes], written: Callable[[StreamId], None]
    ) -> None:
        """Write what comes until cancelled; ``written`` is called after each batch."""
        queue, filled = self._queue, self._filled
        while True:
            while queue:
                data, is_batch = queue.popleft()
                await context.write(data)
                if is_batch:
                    written(self.id)
            filled.clear()
            await filled.wait()
