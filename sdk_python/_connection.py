"""Channels to the sidecar, with the streams and calls on them. All code that makes gRPC calls is here."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message as WireMessage

from ._decoding import Frame, frame_of
from ._errors import RefusedError
from ._message import FrameError
from ._tls import Tls, about_handshake, is_connecting, never_works
from .protocol import lambda_pb2 as pb

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The largest message that this client takes. The Offer says so, and the sidecar sends no larger one."""

CALL_TIMEOUT_S: Final = 10.0
PRODUCE_TIMEOUT_S: Final = 90.0
"""Seconds. The sidecar gives up on Kafka after 60, and says so."""

STREAMS_PER_CHANNEL: Final = 64
"""Servers and proxies limit the streams of a connection, often to 100."""

_SERVICE: Final = "/kafka_sidecar.v1.LambdaHost/"

_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Channels with equal arguments share a connection unless each has a pool of its own.
    ("grpc.use_local_subchannel_pool", 1),
    # A hung peer is noticed within 5 + 5 s by ping_timeout; keepalive_timeout alone did nothing.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Our own back-off decides: a channel must not wait for gRPC's, which grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # The sidecar is nearby; http_proxy in the environment is meant for other calls.
    ("grpc.enable_http_proxy", 0),
)

_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


Answer = TypeVar("Answer", bound=WireMessage)


class LinkError(Exception):
    """A stream or call broke; the text is what gRPC or the sidecar says about it."""

    code: grpc.StatusCode | None = None
    """The status of gRPC; None where it is not gRPC that says so."""
    details = ""
    """What gRPC says, without the status; empty where it says nothing."""


class TooLargeError(LinkError):
    """gRPC refuses the message for its size, and will refuse it again. Nothing was done."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the sidecar is and how to talk to it."""

    address: str
    """``host:port`` or ``unix:///path``."""
    token: str | None = None
    tls: Tls | None = None
    """None: not encrypted."""

    def __repr__(self) -> str:  # no secrets in logs
        return f"Endpoint({self.address!r})"

    @property
    def target(self) -> str:
        """The address as gRPC dials it. A sidecar that listens on all interfaces is dialled on loopback."""
        host, colon, port = self.address.rpartition(":")
        if not colon or self.address.startswith(("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")):
            return self.address
        return {"0.0.0.0": f"127.0.0.1:{port}", "": f"127.0.0.1:{port}", "[::]": f"[::1]:{port}"}.get(  # noqa: S104
            host, self.address
        )

    def channel(self) -> grpc.aio.Channel:
        """Make a channel with a connection of its own."""
        tls = self.tls
        if tls is None:
            return grpc.aio.insecure_channel(self.target, options=_OPTIONS)
        named = () if tls.name is None else (("grpc.ssl_target_name_override", tls.name),)
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
        return grpc.aio.secure_channel(self.target, credentials, options=(*_OPTIONS, *named))

    def why(self, error: Exception) -> tuple[str, bool]:
        """Return why the sidecar cannot be reached and what helps, and whether only other settings can help."""
        details = error.details if isinstance(error, LinkError) else ""
        about = about_handshake(self.address, self.tls, details)
        if about:
            return about, never_works(details)
        if is_connecting(details):
            return (
                f"no sidecar answers at {self.address} ({details}); does it run? --address says where to dial",
                False,
            )
        return str(error), False


class Stream:
    """One Serve call: frames out, frames in, and an end."""

    def __init__(self, call: Any, release: Callable[[], None]) -> None:
        self._call = call
        self._release = release

    async def read(self) -> Frame | None:
        """Read the next frame; None when the sidecar ended the stream in order.

        Do not cancel a task that waits here unless the whole stream may die: gRPC cancels the call with it.

        Raises:
            RefusedError: the sidecar ended it with a status that asking again does not cure.
            LinkError: the stream broke.
            FrameError: the bytes that came are no frame.
        """
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None
        if data is grpc.aio.EOF:
            return None
        try:
            return frame_of(data)
        except DecodeError as error:
            raise FrameError(f"HostFrame cannot be parsed: {error}") from None

    async def write(self, frame: pb.LambdaFrame) -> None:
        """Send one frame. Raises ``RefusedError`` or ``LinkError`` as `read` does; the stream is over then."""
        try:
            await self._call.write(frame.SerializeToString())
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None
        except asyncio.InvalidStateError:
            raise LinkError("the stream is over") from None

    async def half_close(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # over already is as good
            await self._call.done_writing()

    def close(self) -> None:
        """End the call, whatever its state, and make room on the channel. May be called again."""
        self._call.cancel()
        self._release()


class Calls(Protocol):
    """The calls that one lease makes beside its stream: of a `Connection`, or of the sidecar that a test has.

    Checkpoint is not among them: `CheckpointSender` calls it for all leases together.
    """

    async def error(self, request: pb.ErrorRequest) -> pb.ErrorResponse:
        """Call Error. Raises ``LinkError`` or ``RefusedError`` when it failed; nothing is known of its outcome."""
        ...

    async def produce(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Call Produce, which takes as long as Kafka does, a minute at most.

        Raises ``LinkError`` or ``RefusedError`` when it failed; nothing is known of its outcome. Raises
        ``TooLargeError`` when the request is larger than the sidecar, or something in between, takes.
        """
        ...


class Connection:
    """All channels to one sidecar. Owned by the event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        token = endpoint.token
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None
        self._streaming: dict[grpc.aio.Channel, int] = {}
        # Checkpoints and errors have a connection of their own: they never wait for data.
        self._calls = endpoint.channel()
        self._methods: dict[str, Any] = {}

    def open(self) -> Stream:
        """Open a new Serve stream on the first channel with room."""
        channel = next((c for c, used in self._streaming.items() if used < STREAMS_PER_CHANNEL), None)
        if channel is None:
            channel = self._endpoint.channel()
            self._streaming[channel] = 0
        self._streaming[channel] += 1
        held = [channel]

        def release() -> None:
            for once in held:
                self._streaming[once] -= 1
            held.clear()

        # No serializers: for gRPC, frames are bytes. `Stream.read` parses them and can tell a bad frame from a cut.
        return Stream(channel.stream_stream(_SERVICE + "Serve")(metadata=self._metadata), release)

    @property
    def streams(self) -> int:
        """How many Serve streams are open."""
        return sum(self._streaming.values())

    async def checkpoint(self, request: pb.CheckpointRequest) -> pb.CheckpointResponse:
        """Call Checkpoint. Raises ``LinkError`` or ``RefusedError`` when it failed; its outcome is unknown then."""
        return await self._call("Checkpoint", request, pb.CheckpointResponse)

    async def error(self, request: pb.ErrorRequest) -> pb.ErrorResponse:
        """Call Error, as `Calls.error` describes."""
        return await self._call("Error", request, pb.ErrorResponse)

    async def produce(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Call Produce, as `Calls.produce` describes."""
        try:
            return await self._call("Produce", request, pb.ProduceResponse, PRODUCE_TIMEOUT_S)
        except LinkError as error:
            if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise TooLargeError(f"larger than a call may be: {error.details}") from None
            raise

    async def _call(
        self, method: str, request: WireMessage, kind: type[Answer], timeout: float = CALL_TIMEOUT_S
    ) -> Answer:
        """Call a method with one message; returns the message that comes back, which is of ``kind``."""
        call = self._methods.get(method)
        if call is None:
            call = self._methods[method] = self._calls.unary_unary(
                _SERVICE + method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=kind.FromString,
            )
        try:
            answer: Answer = await call(request, metadata=self._metadata, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None
        return answer

    async def close(self) -> None:
        """Close all channels, at once."""
        for channel in (*self._streaming, self._calls):
            await channel.close()


def _translated(error: grpc.aio.AioRpcError) -> Exception:
    """Decide by the status alone whether asking again may help: a `LinkError`, or not: a `RefusedError`."""
    code, details = error.code(), error.details() or "no reason given"
    if code in _REFUSALS:
        return RefusedError(code.name, details)
    broken = LinkError(f"{code.name}: {details}")
    broken.code, broken.details = code, details
    return broken
