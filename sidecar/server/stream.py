"""One `Serve` stream, on the loop: what is to be written, and how it ends."""

import asyncio
from collections import deque
from collections.abc import Callable

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.partitions.vocabulary import Lease, StreamId
from sidecar.server.frames import Offered
from sidecar.server.refusals import is_one_connection

PROBE_EVERY = 3.0
PROBE_TIMEOUT = 7.0
"""Seconds between probes of a stream that waits for a partition, and that one may take to be written.

gRPC's own pings find a process that is stopped, but not behind a Unix socket under load: each small frame takes
about a kilobyte of the socket's buffer, which is full before HTTP/2's window is; the ping waits behind them, and its
time is counted only once it is written. What a lambda does not read fills its stream's window and not the socket, so
a probe on another stream passes however long a handler blocks."""

_NOTHING = pb.HostFrame().SerializeToString()

MOST_WAITING = 64
"""Frames that wait for a client that does not read; more come only from one that pauses and resumes without end."""


class Stream:
    """Frames that wait to be written, in order. Owned by the loop.

    At most two batches are ever in the queue (the partition's limit); what answers the client's own frames is
    bounded here.
    """

    def __init__(self, stream_id: StreamId, offer: Offered, peer: str = "") -> None:
        self.id = stream_id
        self.peer = peer
        self.who = peer if is_one_connection(peer) else offer.process_id
        """Whose it is as far as that can be told: of a Unix socket's connections there is nothing to tell them by."""
        self.offer = offer
        self.lambda_name = offer.lambda_name
        self.process_id = offer.process_id
        self.lease: Lease | None = None
        self.fenced = False
        """The lease is dead although the stream goes on: after an error or a seek, or lost to another member."""
        self.producing = False
        """A call Produce of this lease is under way."""
        self.ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        """Set when the sidecar ends the stream by itself: with the status and its text."""
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._filled = asyncio.Event()

    @property
    def about(self) -> dict[str, object]:
        """Whose it is, for the log."""
        return {"lambda_": self.lambda_name, "process": self.process_id}

    @property
    def alive(self) -> bool:
        """Whether the lease holds: what comes with it may change something."""
        return not (self.fenced or self.ended.done())

    def push(self, data: bytes, *, is_batch: bool = False) -> None:
        """Write this after what waits already. The writing of a batch is told to the consumer thread."""
        if len(self._queue) >= MOST_WAITING:
            self.end(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_WAITING} frames wait: read ahead always")
            return
        self._queue.append((data, is_batch))
        self._filled.set()

    def end(self, status: grpc.StatusCode, text: str) -> None:
        """End the stream with this status, unless it has ended."""
        if not self.ended.done():
            self.ended.set_result((status, text))

    async def write_all(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        written: Callable[[StreamId], None],
        hung: Callable[[str], None],
    ) -> None:
        """Write what comes until cancelled.

        ``written`` is called after each batch; ``hung``, with the process's id, when nothing can be written at all.
        """
        queue, filled = self._queue, self._filled
        while True:
            while queue:
                data, is_batch = queue.popleft()
                await context.write(data)
                if is_batch:
                    written(self.id)
            filled.clear()
            if self.lease is not None:
                await filled.wait()
                continue
            try:
                async with asyncio.timeout(PROBE_EVERY):
                    await filled.wait()
            except TimeoutError:
                await self._probe(context, hung)

    async def _probe(self, context: grpc.aio.ServicerContext[bytes, bytes], hung: Callable[[str], None]) -> None:
        write = asyncio.ensure_future(context.write(_NOTHING))
        write.add_done_callback(_look_at)
        await asyncio.wait([write], timeout=PROBE_TIMEOUT)
        if not write.done():
            hung(self.process_id)
            await write


def _look_at(write: "asyncio.Future[None]") -> None:
    """When the stream is over by then, the write fails, and nobody waits for it any more."""
    if not write.cancelled():
        write.exception()
