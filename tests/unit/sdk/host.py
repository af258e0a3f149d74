"""A sidecar for tests of the SDK: a real gRPC server that speaks the contract, one step at a time as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio

from sdk_python._client import Client, Options
from sdk_python._connection import Endpoint
from sdk_python._function import partition_lambda
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.protocol.lambda_pb2_grpc import LambdaHostServicer, add_LambdaHostServicer_to_server

PATIENCE = 60.0
"""Seconds until a test that waits for something fails; nothing takes that long."""


class HostStream:
    """One Serve call, seen from the sidecar."""

    def __init__(self, offer: pb.Offer, end: Callable[[grpc.StatusCode, str], None]) -> None:
        self.offer = offer
        self.end = end
        self.frames: asyncio.Queue[pb.LambdaFrame | None] = asyncio.Queue()
        self.outgoing: asyncio.Queue[pb.HostFrame | None] = asyncio.Queue()
        self.lease = ""

    async def expect(self, kind: str) -> Any:
        """The next frame of the lambda, which is of this kind; "end" for the end of its side."""
        async with asyncio.timeout(PATIENCE):
            frame = await self.frames.get()
        came = "end" if frame is None else frame.WhichOneof("frame")
        assert came == kind, f"expected {kind}, got {came}: {frame}"
        return None if frame is None else getattr(frame, kind)

    def send(self, **frame: Any) -> None:
        self.outgoing.put_nowait(pb.HostFrame(**frame))

    async def welcome(
        self, settings_json: str = "{}", window: int = 1000, limits: pb.Limits | None = None, **others: Any
    ) -> None:
        self.send(
            welcome=pb.Welcome(
                settings_json=settings_json,
                protocol_version=1,
                window_messages=window,
                sidecar_version="test",
                limits=limits,
                **others,
            )
        )
        await self.expect("available")

    async def assign(
        self,
        partition: int = 0,
        start: int = 0,
        ready: bool = True,
        window: int = 1000,
        limits: pb.Limits | None = None,
        lane: int = 0,
        lanes: int = 0,
        state: bytes = b"",
        **welcome: Any,
    ) -> None:
        """Welcome and assign; waits for Ready. ``welcome``: other fields of Welcome."""
        await self.welcome(window=window, limits=limits, **welcome)
        self.lease = f"lease-of-partition-{partition}-{id(self)}"
        self.send(
            assigned=pb.Assigned(
                lease=self.lease,
                topic="words",
                partition=partition,
                start_offset=start,
                attempt=1,
                lane=lane,
                lanes=lanes,
                state=state,
            )
        )
        if ready:
            assert (await self.expect("ready")).lease == self.lease

    def batch(self, values: Sequence[bytes], first: int = 0) -> None:
        self.send(
            batch=pb.Batch(
                first_offset=first,
                values=values,
                timestamps=[1] * len(values),
                timestamp_type="TIMESTAMP_TYPE_CREATE_TIME",
            )
        )

    def revoke(self, deadline_ms: int = 2000, reason: Any = pb.REVOKE_REASON_REBALANCE) -> None:
        self.send(revoked=pb.Revoked(reason=reason, deadline_ms=deadline_ms))

    async def closed(self) -> pb.Closed:
        """Wait for Closed and the half-close; ends the stream in order."""
        closed: pb.Closed = await self.expect("closed")
        await self.expect("end")
        self.outgoing.put_nowait(None)
        return closed


class Host(LambdaHostServicer):
    """The server. ``async with host() as it`` starts it on a free port."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.port = 0
        self._credentials = credentials
        self.offers: asyncio.Queue[HostStream] = asyncio.Queue()
        self.streams: list[HostStream] = []
        self.requests: list[pb.CheckpointRequest] = []
        self.errors: list[pb.ErrorRequest] = []
        self.produced: list[pb.ProduceRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.refusals: asyncio.Queue[None] = asyncio.Queue()
        self.peers: set[str] = set()
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.checkpoint_gate = asyncio.Event()
        self.checkpoint_gate.set()
        self.answer: Callable[[pb.CheckpointEntry], pb.CheckpointResult] = lambda _: pb.CheckpointResult(
            outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED
        )
        self.checkpoint_failures = 0
        self.produce_breaks = False
        self.committed_to = -1
        """The last checkpoint that came with Produce."""
        self._changed = asyncio.Condition()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        add_LambdaHostServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        where = f"127.0.0.1:{self.port}"
        if self._credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, self._credentials)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def offered(self) -> HostStream:
        """The next stream with an Offer."""
        async with asyncio.timeout(PATIENCE):
            return await self.offers.get()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a call made ``condition`` true."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    @property
    def checkpoints(self) -> list[int]:
        return [entry.offset for request in self.requests for entry in request.entries if entry.HasField("offset")]

    # ---------------------------------------------------------------------------------------------- the calls

    async def Serve(  # noqa: N802
        self, requests: AsyncIterator[pb.LambdaFrame], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.HostFrame]:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.peers.add(context.peer())
        first = await anext(aiter(requests))
        if self.refuse is not None:
            self.refusals.put_nowait(None)
            await context.abort(*self.refuse)
        ending: list[tuple[grpc.StatusCode, str]] = []

        def end(code: grpc.StatusCode, text: str) -> None:
            ending.append((code, text))
            stream.outgoing.put_nowait(None)

        stream = HostStream(first.offer, end)

        async def read() -> None:
            with suppress(Exception):
                async for frame in requests:
                    stream.frames.put_nowait(frame)
            stream.frames.put_nowait(None)

        reader = asyncio.create_task(read())
        self.streams.append(stream)
        self.offers.put_nowait(stream)
        try:
            while (frame := await stream.outgoing.get()) is not None:
                yield frame
            if ending:
                await context.abort(*ending[0])
        finally:
            reader.cancel()
            self.streams.remove(stream)

    async def Checkpoint(self, request: pb.CheckpointRequest, context: Any) -> pb.CheckpointResponse:  # noqa: N802
        self.requests.append(request)
        await self._notify()
        await self.checkpoint_gate.wait()
        if self.checkpoint_failures:
            self.checkpoint_failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return pb.CheckpointResponse(results=map(self.answer, request.entries))

    async def Error(self, request: pb.ErrorRequest, context: Any) -> pb.ErrorResponse:  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        self.errors.append(request)
        await self._notify()
        outcomes = {1: pb.ERROR_OUTCOME_RESTARTING, 2: pb.ERROR_OUTCOME_HALTED, 3: pb.ERROR_OUTCOME_REPORTED}
        return pb.ErrorResponse(outcome=outcomes[request.action])

    async def Produce(self, request: pb.ProduceRequest, context: Any) -> pb.ProduceResponse:  # noqa: N802
        self.produced.append(request)
        if self.produce_breaks:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        count = len(request.values)
        if request.HasField("commit"):
            self.committed_to = request.commit.offset
            await self._notify()
            accepted = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)
            return pb.ProduceResponse(
                outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * count,
                partitions=[0] * count,
                offsets=[0] * count,
                commit=accepted,
            )
        return pb.ProduceResponse(
            outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * count, partitions=[0] * count, offsets=[0] * count
        )

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def running_host(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Host]:
    host = Host(credentials)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


@asynccontextmanager
async def running_client(host: Host, plugin: Any, **options: Any) -> AsyncIterator[Client]:
    """A client of ``host``, drained at the end. ``plugin`` may be a function."""
    if not hasattr(plugin, "create"):
        plugin = partition_lambda(plugin)
    token = options.pop("token", None)
    client = Client("counter", plugin, Endpoint(host.address, token), Options(drain_timeout=5.0, **options))
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        client.stop()
        drain = asyncio.create_task(_close_all(host))
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _close_all(host: Host) -> None:
    """End every stream whose lambda closed it, as a sidecar does."""

    async def one(stream: HostStream) -> None:
        while await stream.frames.get() is not None:
            pass
        stream.outgoing.put_nowait(None)

    await asyncio.gather(*map(one, list(host.streams)))
