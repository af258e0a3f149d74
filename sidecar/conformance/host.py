"""The gRPC service that the kit serves: it records what comes, and hands streams and calls to the stage.

Owner: the event loop. gRPC runs a task for each stream and call; a stream has one more, which reads.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import transactions
from sidecar.conformance.desk import Call, Desk
from sidecar.conformance.events import Kind
from sidecar.conformance.stream import Stream
from sidecar.conformance.trace import Trace
from sidecar.server import frames
from sidecar.server.arrivals import MAX_REQUEST_BYTES
from sidecar.server.frames import InvalidFrameError
from sidecar.server.lambda_host import SERVICE
from sidecar.server.limits import IDLE_TIMEOUT_MS, MAX_STREAMS_PER_CONNECTION, PING_INTERVAL_MS

Context = Any
"""``grpc.aio.ServicerContext[bytes, bytes]``; its type stubs are wrong about ``read``."""

_OPTIONS: Final[list[tuple[str, int]]] = [
    # A larger one than the sidecar takes: so the kit sees it, and says which limit is broken.
    ("grpc.max_receive_message_length", 4 * MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_connection_idle_ms", IDLE_TIMEOUT_MS),
    ("grpc.so_reuseport", 0),
]


class Certificates(NamedTuple):
    """What the server shows, in PEM."""

    key: bytes
    certificate: bytes
    client_ca: bytes | None
    """Clients have to show a certificate that this authority signed; None: they need none."""


class Host:
    """The service of one case."""

    def __init__(self, trace: Trace, *, token: str = "") -> None:
        self.streams: list[Stream] = []
        self.checkpoints = Desk()
        self.errors = Desk()
        self.produces = Desk()
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        """Ends each new stream when its Offer has come."""
        self.number_of: Callable[[str], int] = lambda _: 0
        """The number of the connection that gRPC names so."""
        self.on_stream: Callable[[Stream], None] = lambda _: None
        """Is called with each new stream, before its first frame."""
        self._trace = trace
        self._token = token
        self._calls = itertools.count(1)
        self._server: grpc.aio.Server | None = None

    async def start(self, certificates: Certificates | None) -> int:
        """Serve on a free port of this machine; returns it."""
        server = self._server = grpc.aio.server(options=_OPTIONS)
        unary = {"Checkpoint": self._checkpoint, "Error": self._error, "Produce": self._produce}
        handlers: dict[str, Any] = {
            "Serve": grpc.stream_stream_rpc_method_handler(self._serve),
            **{name: grpc.unary_unary_rpc_method_handler(call) for name, call in unary.items()},
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        if certificates is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            key, certificate, client_ca = certificates
            credentials = grpc.ssl_server_credentials([(key, certificate)], client_ca, client_ca is not None)
            port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        return port

    async def stop(self) -> None:
        """End all streams and calls at once."""
        if self._server is not None:
            await self._server.stop(0)

    # --- streams ----------------------------------------------------------------------------------------------

    async def _serve(self, _: object, context: Context) -> None:
        await self._let_in(context)
        stream = Stream(len(self.streams) + 1, self.number_of(context.peer()), self._trace, context.write)
        self.streams.append(stream)
        self._trace.add(Kind.OPENED, stream=stream.number, connection=stream.connection)
        self.on_stream(stream)
        reading: asyncio.Future[Any] = asyncio.create_task(self._read(stream, context))
        try:
            await asyncio.wait([reading, stream.ending], return_when=asyncio.FIRST_COMPLETED)
            status, text = stream.ending.result() if stream.ending.done() else (grpc.StatusCode.OK, "")
            if not stream.life.over:
                self._trace.add(Kind.ENDED, stream=stream.number, note=f"{status.name} {text}".rstrip())
            if status is not grpc.StatusCode.OK:
                await _abort(context, status, text)
        except asyncio.CancelledError:
            if not stream.life.over:
                self._trace.add(Kind.BROKE, stream=stream.number)
            raise
        finally:
            reading.cancel()

    async def _read(self, stream: Stream, context: Context) -> None:
        """Read until the client's end of the stream."""
        while isinstance(data := await context.read(), bytes):
            try:
                frame = _checked_frame(data)
            except InvalidFrameError as error:
                self._trace.add(
                    Kind.INVALID, stream=stream.number, note=str(error), rule=2 if not stream.life.offer else 7
                )
                stream.end(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                return
            self._trace.add(Kind.FRAME, stream=stream.number, message=frame)
            if self.refusal is not None and frame.HasField("offer"):
                stream.end(*self.refusal)
                return
            stream.came(frame)
        # A client that cancels ends the reading too: gRPC cancels this call's tasks right after.
        await asyncio.sleep(0.05)
        if not stream.life.over:
            self._trace.add(Kind.HALF_CLOSED, stream=stream.number)

    async def _let_in(self, context: Context) -> None:
        """Check the token. It aborts the call when it is wrong."""
        if not self._token:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization")
        if given != f"Bearer {self._token}":
            what = "no token" if given is None else "another token"
            self._trace.add(Kind.INVALID, note=f"a call has {what} in the metadata `authorization`", rule=48)
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")

    # --- calls ------------------------------------------------------------------------------------------------

    async def _checkpoint(self, data: bytes, context: Context) -> bytes:
        return await self._called(data, pb.CheckpointRequest, self.checkpoints, context)

    async def _error(self, data: bytes, context: Context) -> bytes:
        return await self._called(data, pb.ErrorRequest, self.errors, context)

    async def _produce(self, data: bytes, context: Context) -> bytes:
        return await self._called(data, pb.ProduceRequest, self.produces, context)

    async def _called(self, data: bytes, kind: type[Message], desk: Desk, context: Context) -> bytes:
        await self._let_in(context)
        number = next(self._calls)
        connection = self.number_of(context.peer())
        if len(data) > MAX_REQUEST_BYTES:
            text = f"{kind.DESCRIPTOR.name} has {len(data)} bytes, more than max_request_bytes ({MAX_REQUEST_BYTES})"
            self._trace.add(Kind.INVALID, call=number, note=text, rule=31)
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            request = frames.parse(kind, data)
            self._check_call(request)
        except InvalidFrameError as error:
            note = f"{kind.DESCRIPTOR.name}.{error}"
            self._trace.add(Kind.INVALID, call=number, note=note, rule=_rule_of(kind, str(error)))
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        # The answer is computed from what was true before the call: an Error ends its lease.
        call = Call(number, request, self._trace)
        desk.came(call)
        self._trace.add(Kind.CALL, connection=connection, call=number, message=request)
        try:
            status, text, response = await call.answered
        except asyncio.CancelledError:
            self._trace.add(Kind.GONE, call=number)
            raise
        if response is None:
            await _abort(context, status, text)
        return response

    def _check_call(self, request: Message) -> None:
        """Check a request as the sidecar does. Raises ``InvalidFrameError``."""
        match request:
            case pb.CheckpointRequest():
                leases = {entry.lease for entry in request.entries}
                frames.checkpoints(request.entries, 0, leases)
            case pb.ErrorRequest():
                frames.failure(request, "")
            case pb.ProduceRequest():
                transactions.check(request, self._trace.lives.leases.get(request.lease))
            case _:
                pass


async def _abort(context: Context, status: grpc.StatusCode, text: str) -> NoReturn:
    """End a call with a status."""
    await context.abort(status, text)
    raise AssertionError("gRPC's abort raises")


def _checked_frame(data: bytes) -> pb.LambdaFrame:
    """Parse a frame as the sidecar does. Raises ``InvalidFrameError``."""
    frame = frames.parse(pb.LambdaFrame, data)
    match frame.WhichOneof("frame"):
        case "offer":
            frames.offered(data)
        case "pause":
            frames.pausing(frame.pause)
        case "closed":
            frames.last_checkpoint(frame.closed, "closed.last_checkpoint")
        case _:
            pass
    return frame


def _rule_of(kind: type[Message], refusal: str) -> int:
    """The rule that a request breaks which the sidecar refuses for this reason; it begins with the field."""
    if kind is pb.ProduceRequest:
        return {"commit": 58, "sources": 61}.get(refusal.partition(":")[0].partition(".")[0], 28)
    return {pb.CheckpointRequest: 16, pb.ErrorRequest: 27}.get(kind, 28)
