"""The `LambdaHost` service: streams and calls of lambda processes, on the event loop.

Bytes come in and go out: frames of records were serialized by the consumer threads, and what a client sends is parsed
here, so that nonsense gets INVALID_ARGUMENT with a reason.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar import mail
from sidecar.config.lambdas import LambdaConfig
from sidecar.logs import get_logger
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    EndStream,
    ErrorOutcome,
    Lease,
    Revoke,
    StreamId,
)
from sidecar.server import frames
from sidecar.server.frames import InvalidFrameError
from sidecar.server.stream import Stream
from sidecar.version import VERSION

OFFER_TIMEOUT = 10.0
"""Seconds within which a stream must say what it offers."""

SERVICE = "kafka_sidecar.v1.LambdaHost"

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_log = get_logger(__name__)
_END_STATUS = {
    EndReason.TOO_LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
    EndReason.PROTOCOL: grpc.StatusCode.INVALID_ARGUMENT,
}


@dataclass(frozen=True, slots=True)
class Hosted:
    """A lambda of the config, and the way to its consumer thread."""

    config: LambdaConfig
    mailbox: mail.Mailbox


@dataclass(slots=True)
class ProcessInfo:
    """What a lambda process says of itself; kept while it has a stream."""

    instance: str
    pid: int
    client: str
    streams: int = 0


class LambdaHost:
    """All streams of all lambdas. Owned by the loop; ``deliver`` is how consumer threads reach it."""

    def __init__(self, lambdas: Mapping[str, Hosted], health: Callable[[bool], None]) -> None:
        """``health`` is called when something changes: with whether all lambdas reach Kafka."""
        self._lambdas = lambdas
        self._health = health
        self._connected: set[str] = set()
        self._streams: dict[StreamId, Stream] = {}
        self._leases: dict[Lease, Stream] = {}
        self._ids = itertools.count(1)
        self._refusing = ""
        self.processes: dict[str, ProcessInfo] = {}

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for a gRPC server; every message passes as bytes."""
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Process": grpc.stream_stream_rpc_method_handler(self._process),
                "Checkpoint": unary(_checked(self._checkpoint)),
                "Error": unary(_checked(self._error)),
                "Produce": unary(self._produce),
            },
        )

    def refuse(self, reason: str) -> None:
        """From now on no offer is taken; streams that wait for a partition end."""
        self._refusing = reason
        for stream in self._streams.values():
            if stream.lease is None:
                stream.end(grpc.StatusCode.UNAVAILABLE, reason)

    def deliver(self, items: list[mail.Delivery]) -> None:
        """What a consumer thread has to say, in its order. Called on the loop."""
        for item in items:
            if isinstance(item, mail.Answer):
                mail.settle(item)
                continue
            if isinstance(item, mail.Connected):
                (self._connected.add if item.is_connected else self._connected.discard)(item.lambda_name)
                self._health(len(self._connected) == len(self._lambdas))
                continue
            stream = self._streams.get(item.stream)
            if stream is None:
                continue  # it ended meanwhile; the thread hears of it
            match item:
                case mail.Send(_, data):
                    stream.push(data, is_batch=True)
                case Assign():
                    stream.lease = item.lease
                    self._leases[item.lease] = stream
                    stream.push(frames.assigned(item))
                case Revoke():
                    stream.push(frames.revoked(item))
                case EndStream(_, reason, text):
                    stream.end(_END_STATUS[reason], text)

    # --- the stream -------------------------------------------------------------------------------------------

    async def _process(self, _: object, context: Context) -> None:
        try:
            offer = await self._read_offer(context)
        except InvalidFrameError as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        hosted = self._lambdas[offer.lambda_name]
        await context.write(_welcome(hosted.config))
        stream = Stream(next(self._ids), offer.lambda_name, offer.process_id)
        self._streams[stream.id] = stream
        self._count(offer, 1)
        if self._refusing:  # said while the Welcome was being written
            stream.end(grpc.StatusCode.UNAVAILABLE, self._refusing)
        reader = asyncio.ensure_future(self._read_all(context, stream, offer, hosted.mailbox))
        writer = asyncio.ensure_future(
            stream.write_all(context, lambda stream_id: hosted.mailbox.put(mail.Written(stream_id)))
        )
        try:
            # The reader ends with Closed or the client's end; the writer only when the client is gone.
            ends: list[asyncio.Future[Any]] = [reader, writer, stream.ended]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            elif stream.ended.done():
                status, text = stream.ended.result()
                await abort(context, status, text)
        except InvalidFrameError as error:
            _log.warning("stream refused", lambda_=stream.lambda_name, process=offer.process_id, error=str(error))
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            reader.cancel()
            writer.cancel()
            del self._streams[stream.id]
            if stream.lease is not None:
                del self._leases[stream.lease]
            self._count(offer, -1)
            # After Closed this is no news to the thread; in every other case it is how it learns.
            hosted.mailbox.put(mail.StreamLost(stream.id))

    async def _read_offer(self, context: Context) -> pb.Offer:
        try:
            data = await asyncio.wait_for(context.read(), OFFER_TIMEOUT)
        except TimeoutError:
            await abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, f"offer: did not come within {OFFER_TIMEOUT:g} s")
        if not isinstance(data, bytes):
            raise InvalidFrameError("offer: the stream ended before it")
        frame = frames.parse(pb.LambdaFrame, data)
        if frame.WhichOneof("frame") != "offer":
            raise InvalidFrameError("offer: must be the first frame of a stream")
        offer = frames.checked_offer(frame.offer)
        if self._refusing:
            await abort(context, grpc.StatusCode.UNAVAILABLE, self._refusing)
        if offer.protocol_version < frames.PROTOCOL_VERSION:
            await abort(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"offer.protocol_version: {offer.protocol_version} is too old, this sidecar speaks "
                f"{frames.PROTOCOL_VERSION}; update the lambda's SDK",
            )
        if offer.lambda_name not in self._lambdas:
            await abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                f"offer.lambda_name: the sidecar's config has no lambda {offer.lambda_name!r}; "
                f"it has: {', '.join(sorted(self._lambdas))}",
            )
        return offer

    async def _read_all(self, context: Context, stream: Stream, offer: pb.Offer, mailbox: mail.Mailbox) -> None:
        """Read until Closed or the client's end. Raises ``InvalidFrameError``."""
        available = False
        while True:
            data = await context.read()
            if not isinstance(data, bytes):
                return
            frame = frames.parse(pb.LambdaFrame, data)
            kind = frame.WhichOneof("frame")
            if kind == "available" and not available:
                available = True
                most = offer.max_message_bytes or frames.DEFAULT_MESSAGE_BYTES
                mailbox.put(mail.Available(stream.id, stream.process_id, most))
            elif kind == "ready" and stream.lease is not None:
                mailbox.put(mail.Ready(stream.id, frame.ready.lease))
            elif kind == "closed":
                last = None
                if frame.closed.HasField("last_checkpoint"):
                    last = frames.progress(frame.closed.last_checkpoint, "closed.last_checkpoint")
                mailbox.put(mail.Closed(stream.id, ClosedReason(frame.closed.reason), last))
                return
            elif kind in ("pause", "resume"):
                stream.end(grpc.StatusCode.UNIMPLEMENTED, f"{kind}: this sidecar does not have it yet")
                await asyncio.Event().wait()
            elif kind is not None:
                raise InvalidFrameError(f"{kind}: out of order; offer, available, ready, closed come once each")

    def _count(self, offer: pb.Offer, by: int) -> None:
        client = f"{offer.client.name} {offer.client.version} {offer.client.language}".strip()
        info = self.processes.setdefault(
            offer.process_id, ProcessInfo(offer.instance or offer.process_id, offer.pid, client)
        )
        info.streams += by
        if info.streams == 0:
            del self.processes[offer.process_id]

    # --- the calls --------------------------------------------------------------------------------------------

    async def _checkpoint(self, data: bytes) -> bytes:
        entries = frames.checkpoints(frames.parse(pb.CheckpointRequest, data))
        results: list[tuple[int, int | None]] = [(CheckpointOutcome.STALE_LEASE, None)] * len(entries)
        by_lambda: dict[str, list[int]] = {}
        for index, (lease, _) in enumerate(entries):
            stream = self._leases.get(lease)
            if stream is not None:
                by_lambda.setdefault(stream.lambda_name, []).append(index)
        replies: dict[str, mail.Reply[list[tuple[CheckpointOutcome, int | None]]]] = {}
        for name, indexes in by_lambda.items():
            replies[name] = mail.Reply()
            self._lambdas[name].mailbox.put(mail.Checkpoints([entries[i] for i in indexes], replies[name]))
        for name, indexes in by_lambda.items():
            for index, result in zip(indexes, await replies[name].future, strict=True):
                results[index] = result
        return pb.CheckpointResponse(
            results=[
                pb.CheckpointResult(outcome=cast("pb.CheckpointOutcome", outcome), delivered=delivered)
                for outcome, delivered in results
            ]
        ).SerializeToString()

    async def _error(self, data: bytes) -> bytes:
        request = frames.parse(pb.ErrorRequest, data)
        failure, last = frames.failure(request)
        stream = self._leases.get(request.lease)
        outcome, seconds = ErrorOutcome.STALE_LEASE, 0.0
        if stream is not None:
            reply: mail.Reply[tuple[ErrorOutcome, float]] = mail.Reply()
            self._lambdas[stream.lambda_name].mailbox.put(mail.Failed(request.lease, failure, last, reply))
            outcome, seconds = await reply.future
        return pb.ErrorResponse(
            outcome=cast("pb.ErrorOutcome", outcome), retry_after_ms=round(seconds * 1000)
        ).SerializeToString()

    async def _produce(self, _: bytes, context: Context) -> NoReturn:
        await abort(context, grpc.StatusCode.UNIMPLEMENTED, "Produce: this sidecar does not have it yet")


def _welcome(config: LambdaConfig) -> bytes:
    return pb.HostFrame(
        welcome=pb.Welcome(
            settings_json=json.dumps(config.settings),
            protocol_version=frames.PROTOCOL_VERSION,
            window_messages=config.window.messages,
            window_bytes=config.window.bytes,
            max_frame_bytes=config.frame.bytes,
            sidecar_version=VERSION,
        )
    ).SerializeToString()


def _checked(call: Callable[[bytes], Awaitable[bytes]]) -> Callable[[bytes, Context], Awaitable[bytes]]:
    """A unary call whose refusals become INVALID_ARGUMENT."""

    async def checked(data: bytes, context: Context) -> bytes:
        try:
            return await call(data)
        except InvalidFrameError as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except mail.GoneError as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))

    return checked


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", status: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(status, text)
    raise AssertionError("abort raises")
