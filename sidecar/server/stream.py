"""One `Serve` stream: the frames to write, and its end. Runs on the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.measured import LoopMeasure
from sidecar.partitions.vocabulary import Lease, StreamId
from sidecar.server import frames
from sidecar.server.frames import InvalidFrameError, Offered
from sidecar.server.held import Held
from sidecar.server.identities import ANYBODY, Caller
from sidecar.server.memory_desk import Share
from sidecar.server.refusals import is_one_connection
from sidecar.shared_memory.memory import SharedMemory

PROBE_INTERVAL_S = 3.0
PROBE_TIMEOUT_S = 7.0
"""The time between probes of a spare stream, and the time that writing one may take.

gRPC's own pings find a frozen process, but not on a Unix socket under load:
1. The process is frozen. Each small frame takes about a kilobyte of the socket's buffer, which is full before
   HTTP/2's window is.
2. gRPC's ping waits in the queue after those frames. Its timeout starts when it is written, which never happens.
3. The probe cannot be written either, but its timeout starts at once.
A handler that blocks is not taken for a frozen process: its unread frames fill its own stream's window, not the
socket, so a probe on a spare stream passes."""

_NOTHING = pb.HostFrame().SerializeToString()

MAX_WAITING_FRAMES = 64
"""Frames for a client that does not read; only one that keeps pausing and resuming causes more."""


class Stream:
    """A stream and its queue of frames to write, in order. Owned by the loop.

    The queue has at most two batches (the partition's limit); answers to the client's own frames are bounded here.
    """

    def __init__(self, stream_id: StreamId, offer: Offered, peer: str = "", caller: Caller = ANYBODY) -> None:
        self.id = stream_id
        self.peer = peer
        self.who = peer if is_one_connection(peer) else offer.process_id
        """The client, for limits: its connection, or on a Unix socket, whose connections look alike, its process."""
        self.caller = caller
        """Who offered. Calls of others do not know its lease."""
        self.offer = offer
        self.lambda_name = offer.lambda_name
        self.process_id = offer.process_id
        self.lease: Lease | None = None
        self.seen = self.began = monotonic()
        """The time of the client's last frame, or of its last call with this lease."""
        self.fenced = False
        """The lease is dead although the stream goes on: after an error, a seek, or the partition's loss."""
        self.producing = False
        """A call Produce of this lease is under way."""
        self.share: Share | None = None
        """Memory that its process may share."""
        self.held: Held | None = None
        """With exactly-once: what its lambda produced and has not checkpointed."""
        self.ended: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        """Set when the sidecar ends the stream by itself, with the status and its text."""
        self._queue: deque[tuple[bytes | None, bool | None]] = deque()
        """Frames, and the ``written_rings`` of each. None stands for Committed with the latest offset, at most
        once."""
        self._committed: int | None = None
        self._filled = asyncio.Event()

    @property
    def about(self) -> dict[str, object]:
        """The stream's lambda, process and identity, for the log."""
        name = self.caller.identity.name
        return {"lambda_": self.lambda_name, "process": self.process_id, **({"identity": name} if name else {})}

    @property
    def alive(self) -> bool:
        """Whether the lease is alive, so that calls with it count."""
        return not (self.fenced or self.ended.done())

    def shared(self) -> SharedMemory:
        """The memory that the process says it shares. Raises ``InvalidFrameError`` when it cannot."""
        memory = None if self.share is None else self.share.take()
        if memory is None:
            raise InvalidFrameError("ready.shared_memory: the process has not fetched the memory of its Assigned")
        return memory

    def fence(self) -> None:
        """The lease is dead; what it holds is dropped."""
        self.fenced = True
        if self.held is not None:
            self.held.clear()

    def push(self, data: bytes, *, written_rings: bool | None = None) -> None:
        """Queue a frame. When a batch has been written, the consumer thread is told.

        ``written_rings``: whether that wakes the thread. None: the frame is no batch.
        """
        if len(self._queue) >= MAX_WAITING_FRAMES:
            self.end(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WAITING_FRAMES} frames wait: read ahead always")
            return
        self._queue.append((data, written_rings))
        self._filled.set()

    def committed(self, offset: int) -> None:
        """Tell a client with the capability `committed` that Kafka has its checkpoints up to this offset.

        While the frame waits to be written, a later offset takes its place. So a client that does not read costs
        nothing.
        """
        if "committed" not in self.offer.capabilities:
            return
        if self._committed is None:
            self._queue.append((None, None))
            self._filled.set()
        self._committed = offset

    def end(self, status: grpc.StatusCode, text: str) -> None:
        """End the stream with this status, unless it has ended."""
        if not self.ended.done():
            self.ended.set_result((status, text))

    async def write_all(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        written: Callable[[StreamId, bool], None],
        hung: Callable[[str], None],
        measure: LoopMeasure,
    ) -> None:
        """Write queued frames until cancelled, and count them in ``measure``.

        ``written`` is called after each batch, with its ``written_rings``; ``hung``, with the process id, when a
        probe cannot be written in time.
        """
        queue, filled = self._queue, self._filled
        while True:
            while queue:
                data, rings = queue.popleft()
                if data is None:
                    assert self._committed is not None
                    data, self._committed = frames.committed(self._committed), None
                await context.write(data)
                measure.sent(len(data))
                if rings is not None:
                    written(self.id, rings)
            filled.clear()
            if self.lease is not None:
                await filled.wait()
                continue
            try:
                async with asyncio.timeout(PROBE_INTERVAL_S):
                    await filled.wait()
            except TimeoutError:
                await self._probe(context, hung)

    async def _probe(self, context: grpc.aio.ServicerContext[bytes, bytes], hung: Callable[[str], None]) -> None:
        write = asyncio.ensure_future(context.write(_NOTHING))
        write.add_done_callback(_retrieve_error)
        await asyncio.wait([write], timeout=PROBE_TIMEOUT_S)
        if not write.done():
            hung(self.process_id)
            await write


def _retrieve_error(write: "asyncio.Future[None]") -> None:
    """Retrieve the write's exception: if the stream has ended meanwhile, nobody awaits the write."""
    if not write.cancelled():
        write.exception()
