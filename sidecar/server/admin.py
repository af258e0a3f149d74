"""The `Admin` service, which operators' commands call. Runs on the event loop."""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar, cast

import grpc

from sdk_python.protocol import admin_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import GoneError
from sidecar.partitions.vocabulary import OrderRefused, State, TopicPartition
from sidecar.server.frames import InvalidFrameError, cut
from sidecar.server.refusals import Context, abort
from sidecar.server.runtime import LambdaRuntime
from sidecar.server.snapshots import Snapshots
from sidecar.server.status_message import status_response

SERVICE = "kafka_sidecar.admin.v1.Admin"

_REFUSALS = {
    "unknown": grpc.StatusCode.NOT_FOUND,
    "state": grpc.StatusCode.FAILED_PRECONDITION,
    "range": grpc.StatusCode.OUT_OF_RANGE,
    "kafka": grpc.StatusCode.UNAVAILABLE,
}

MAX_REASON_BYTES = 1024
"""The length of an operator's reason for a pause, in UTF-8."""

OnePartition: TypeAlias = pb.ResumeRequest | pb.PauseRequest | pb.SeekRequest
T = TypeVar("T")


class Admin:
    """The service for all lambdas of this sidecar."""

    def __init__(self, lambdas: Mapping[str, LambdaRuntime], snapshots: Snapshots) -> None:
        self._lambdas = lambdas
        self._snapshots = snapshots

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for a gRPC server."""
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Status": unary(self._status, pb.StatusRequest.FromString, pb.StatusResponse.SerializeToString),
                "Resume": unary(self._resume, pb.ResumeRequest.FromString, pb.ResumeResponse.SerializeToString),
                "Pause": unary(self._pause, pb.PauseRequest.FromString, pb.PauseResponse.SerializeToString),
                "Seek": unary(self._seek, pb.SeekRequest.FromString, pb.SeekResponse.SerializeToString),
            },
        )

    async def _status(self, _: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        try:
            return status_response(await self._snapshots.take())
        except GoneError as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))

    async def _resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        hosted = await self._hosted(request, context)
        reply: letters.Reply[tuple[int, int | None]] = letters.Reply()
        hosted.mailbox.put(letters.Resume(_place(request), request.skip, reply))
        from_offset, skipped = await _answer(reply, context)
        return pb.ResumeResponse(from_offset=from_offset, skipped=skipped)

    async def _pause(self, request: pb.PauseRequest, context: Context) -> pb.PauseResponse:
        hosted = await self._hosted(request, context)
        reply: letters.Reply[int] = letters.Reply()
        hosted.mailbox.put(letters.Pause(_place(request), cut(request.reason, MAX_REASON_BYTES), reply))
        from_offset = await _answer(reply, context)
        return pb.PauseResponse(from_offset=from_offset)

    async def _seek(self, request: pb.SeekRequest, context: Context) -> pb.SeekResponse:
        hosted = await self._hosted(request, context)
        try:
            to = _seek_to(request)
        except InvalidFrameError as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        reply: letters.Reply[tuple[int, int, State]] = letters.Reply()
        hosted.mailbox.put(letters.Seek(_place(request), to, reply))
        from_offset, was_at, state = await _answer(reply, context)
        return pb.SeekResponse(from_offset=from_offset, was_at=was_at, state=cast("pb.PartitionState", state))

    async def _hosted(self, request: OnePartition, context: Context) -> LambdaRuntime:
        """The lambda of a request about one partition. Ends the call when the request makes no sense."""
        hosted = self._lambdas.get(request.lambda_name)
        if hosted is None:
            known = ", ".join(sorted(self._lambdas))
            text = f"there is no lambda {request.lambda_name!r}; there are: {known}"
            await abort(context, grpc.StatusCode.NOT_FOUND, text)
        if not request.topic:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, "topic: missing")
        if request.partition < 0:
            text = f"partition: {request.partition} is negative"
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, text)
        return hosted


def _place(request: OnePartition) -> TopicPartition:
    return TopicPartition(request.topic, request.partition)


def _seek_to(request: pb.SeekRequest) -> letters.SeekTo:
    """The target of a seek. Raises ``InvalidFrameError``."""
    match request.WhichOneof("to"):
        case "offset":
            if request.offset < 0:
                raise InvalidFrameError(f"offset: {request.offset} is negative")
            return letters.SeekTo("offset", request.offset)
        case "timestamp_ms":
            if request.timestamp_ms < 0:
                raise InvalidFrameError(f"timestamp_ms: {request.timestamp_ms} is negative")
            return letters.SeekTo("timestamp", request.timestamp_ms)
        case "edge" if request.edge == pb.EDGE_EARLIEST:
            return letters.SeekTo("earliest")
        case "edge" if request.edge == pb.EDGE_LATEST:
            return letters.SeekTo("latest")
        case "edge":
            raise InvalidFrameError(f"edge: {request.edge} is none of EARLIEST, LATEST")
        case _:
            raise InvalidFrameError("to: missing; it is one of offset, timestamp_ms, edge")


async def _answer(reply: letters.Reply[T], context: Context) -> T:
    """The thread's answer. Ends the call with the reason when the thread refuses."""
    try:
        return await reply.future
    except OrderRefused as refusal:
        await abort(context, _REFUSALS[refusal.kind], str(refusal))
    except GoneError as error:
        await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
