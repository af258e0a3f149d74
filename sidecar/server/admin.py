"""The `Admin` service, which operators' commands call. Runs on the event loop."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, TypeVar, cast

import grpc
from google.protobuf.message import Message

from sdk_python.protocol import admin_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import GoneError
from sidecar.partitions.vocabulary import OrderRefused, State, TopicPartition
from sidecar.server.frames import cut
from sidecar.server.refusals import Context, abort
from sidecar.server.runtime import LambdaRuntime
from sidecar.server.snapshots import Snapshots
from sidecar.server.status_message import status_response

SERVICE = "kafka_sidecar.admin.v1.Admin"

_REFUSALS: Mapping[str, grpc.StatusCode] = {
    "argument": grpc.StatusCode.INVALID_ARGUMENT,
    "unknown": grpc.StatusCode.NOT_FOUND,
    "state": grpc.StatusCode.FAILED_PRECONDITION,
    "range": grpc.StatusCode.OUT_OF_RANGE,
    "kafka": grpc.StatusCode.UNAVAILABLE,
}

MAX_REASON_BYTES = 1024
"""The length of an operator's reason for a pause, in UTF-8."""

OnePartition: TypeAlias = pb.ResumeRequest | pb.PauseRequest | pb.SeekRequest
Q = TypeVar("Q", bound=Message)


class Admin:
    """The service for all lambdas of this sidecar.

    The page calls the methods that are named after the service's own. They raise ``OrderRefused``, or ``GoneError``
    when the sidecar stops.
    """

    def __init__(self, lambdas: Mapping[str, LambdaRuntime], snapshots: Snapshots) -> None:
        self._lambdas = lambdas
        self._snapshots = snapshots

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for a gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Status": _handler(self.status, pb.StatusRequest),
                "Resume": _handler(self.resume, pb.ResumeRequest),
                "Pause": _handler(self.pause, pb.PauseRequest),
                "Seek": _handler(self.seek, pb.SeekRequest),
            },
        )

    async def status(self, _: pb.StatusRequest) -> pb.StatusResponse:
        """The state of everything."""
        return status_response(await self._snapshots.take())

    async def resume(self, request: pb.ResumeRequest) -> pb.ResumeResponse:
        """Resume a halted or paused partition."""
        hosted = self._hosted(request)
        reply: letters.Reply[tuple[int, int | None]] = letters.Reply()
        hosted.mailbox.put(letters.Resume(_place(request), request.skip, reply, _lane(request)))
        from_offset, skipped = await reply.future
        return pb.ResumeResponse(from_offset=from_offset, skipped=skipped)

    async def pause(self, request: pb.PauseRequest) -> pb.PauseResponse:
        """Take a partition from its lambda until it is resumed; returns when no lambda has it any more."""
        hosted = self._hosted(request)
        reply: letters.Reply[int] = letters.Reply()
        reason = cut(request.reason, MAX_REASON_BYTES)
        hosted.mailbox.put(letters.Pause(_place(request), reason, reply, _lane(request)))
        from_offset = await reply.future
        return pb.PauseResponse(from_offset=from_offset)

    async def seek(self, request: pb.SeekRequest) -> pb.SeekResponse:
        """Move a partition to another offset."""
        hosted = self._hosted(request)
        to = _seek_to(request)
        reply: letters.Reply[tuple[int, int, State]] = letters.Reply()
        hosted.mailbox.put(letters.Seek(_place(request), to, reply, _lane(request)))
        from_offset, was_at, state = await reply.future
        return pb.SeekResponse(from_offset=from_offset, was_at=was_at, state=cast("pb.PartitionState", state))

    def _hosted(self, request: OnePartition) -> LambdaRuntime:
        """The lambda of a request about one partition. Raises ``OrderRefused`` when the request makes no sense."""
        hosted = self._lambdas.get(request.lambda_name)
        if hosted is None:
            known = ", ".join(sorted(self._lambdas))
            raise OrderRefused(f"there is no lambda {request.lambda_name!r}; there are: {known}", "unknown")
        if not request.topic:
            raise OrderRefused("topic: missing", "argument")
        if request.partition < 0:
            raise OrderRefused(f"partition: {request.partition} is negative", "argument")
        return hosted


def _handler(call: Callable[[Q], Awaitable[Message]], request: type[Q]) -> "grpc.RpcMethodHandler[Q, Message]":
    """A method of the service. What ``call`` raises ends the gRPC call with its reason."""

    async def answer(asked: Q, context: Context) -> Message:
        try:
            return await call(asked)
        except OrderRefused as refusal:
            await abort(context, _REFUSALS[refusal.kind], str(refusal))
        except GoneError as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))

    return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda made: made.SerializeToString())


def _place(request: OnePartition) -> TopicPartition:
    return TopicPartition(request.topic, request.partition)


def _lane(request: OnePartition) -> int | None:
    """The lane that is meant; None: all."""
    return request.lane if request.HasField("lane") else None


def _seek_to(request: pb.SeekRequest) -> letters.SeekTo:
    """The target of a seek. Raises ``OrderRefused``."""
    match request.WhichOneof("to"):
        case "offset":
            if request.offset < 0:
                raise OrderRefused(f"offset: {request.offset} is negative", "argument")
            return letters.SeekTo("offset", request.offset)
        case "timestamp_ms":
            if request.timestamp_ms < 0:
                raise OrderRefused(f"timestamp_ms: {request.timestamp_ms} is negative", "argument")
            return letters.SeekTo("timestamp", request.timestamp_ms)
        case "edge" if request.edge == pb.EDGE_EARLIEST:
            return letters.SeekTo("earliest")
        case "edge" if request.edge == pb.EDGE_LATEST:
            return letters.SeekTo("latest")
        case "edge":
            raise OrderRefused(f"edge: {request.edge} is none of EARLIEST, LATEST", "argument")
        case _:
            raise OrderRefused("to: missing; it is one of offset, timestamp_ms, edge", "argument")
