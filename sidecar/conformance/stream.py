"""One Serve stream, as a script plays it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Kind
from sidecar.conformance.lives import Life
from sidecar.conformance.records import Rec, batch_of
from sidecar.conformance.rules import BrokenError
from sidecar.conformance.trace import Trace


class Stream:
    """A stream of the client. Frames that it sends wait here until the script takes them."""

    def __init__(self, number: int, connection: int, trace: Trace, write: Callable[[bytes], Awaitable[None]]) -> None:
        self.number = number
        self.connection = connection
        self.ending: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        self.came: Callable[[pb.LambdaFrame], None] = self.put
        """Is called with each frame of the client."""
        self._trace = trace
        self._write = write
        self._writing = asyncio.Lock()
        self._inbox: deque[pb.LambdaFrame] = deque()

    def __repr__(self) -> str:
        return f"stream {self.number}"

    @property
    def life(self) -> Life:
        """What is true of it."""
        return self._trace.lives.streams[self.number]

    @property
    def lease(self) -> str:
        """The lease; empty: it is a spare stream."""
        return self.life.lease

    def put(self, frame: pb.LambdaFrame) -> None:
        """Keep a frame for the script."""
        self._inbox.append(frame)

    # --- what the sidecar says --------------------------------------------------------------------------------

    async def send(self, frame: pb.HostFrame | None = None, **arm: Any) -> None:
        """Send a frame, as in ``send(resumed=pb.Resumed(...))``."""
        frame = pb.HostFrame(**arm) if frame is None else frame
        await self.send_bytes(frame.SerializeToString(), frame)

    async def send_bytes(self, data: bytes, shown: pb.HostFrame | None = None) -> None:
        """Send bytes that may be no frame which this kit knows. After the stream's end nothing happens."""
        async with self._writing:
            await self._send(data, shown)

    async def _send(self, data: bytes, shown: pb.HostFrame | None) -> None:
        if self.life.over:
            return
        note = "" if shown is not None else f"({len(data)} bytes)"
        self._trace.add(Kind.SENT, stream=self.number, message=shown, note=note)
        with suppress(grpc.aio.BaseError, asyncio.InvalidStateError, grpc.RpcError):  # the client has left meanwhile
            await self._write(data)

    async def records(self, *records: Rec | int, **fields: Any) -> None:
        """Send one Batch of these records; a number is an ordinary record with this offset."""
        rows = [Rec(one) if isinstance(one, int) else one for one in records]
        await self.send(batch=batch_of(rows, **fields))

    async def revoke(self, reason: pb.RevokeReason, deadline_ms: int = 10_000) -> None:
        """Send Revoked."""
        await self.send(revoked=pb.Revoked(reason=reason, deadline_ms=deadline_ms))

    async def resumed(self, number: int, from_offset: int) -> None:
        """Send Resumed."""
        await self.send(resumed=pb.Resumed(number=number, from_offset=from_offset))

    async def committed(self, offset: int) -> None:
        """Send Committed."""
        await self.send(committed=pb.Committed(offset=offset))

    def end(self, status: grpc.StatusCode = grpc.StatusCode.OK, text: str = "by the script of the case") -> None:
        """End the stream with this status."""
        if not self.ending.done():
            self.ending.set_result((status, text))

    # --- what the client says ---------------------------------------------------------------------------------

    async def frame(self, rule: int, what: str, timeout: float) -> pb.LambdaFrame:
        """The next frame of the client that the script has not taken. Raises ``BrokenError`` when none comes."""
        await self._trace.until(lambda: self._inbox or self.life.over, timeout)
        if self._inbox:
            return self._inbox.popleft()
        why = "the stream is over" if self.life.over else f"not within {timeout:g} s"
        raise BrokenError(rule, f"{what} does not come on stream {self.number}: {why}")

    async def expect(self, kind: str, rule: int, timeout: float) -> Any:
        """The next frame, which has to be of this kind."""
        frame = await self.frame(rule, kind.capitalize(), timeout)
        came = frame.WhichOneof("frame")
        if came != kind:
            raise BrokenError(
                rule, f"{(came or 'an empty frame').capitalize()} came on stream {self.number}, not {kind}"
            )
        return getattr(frame, kind)

    @property
    def waiting(self) -> Sequence[pb.LambdaFrame]:
        """The frames that the script has not taken yet."""
        return [*self._inbox]
