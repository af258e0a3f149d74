"""The `Admin` service, which operators' commands call. Runs on the event loop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar, cast

import grpc

from sdk_python.protocol import admin_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import GoneError
from sidecar.partitions.vocabulary import OrderRefused, State, TopicPartition
from sidecar.server.frames import InvalidFrameError, cut
from sidecar.server.lambda_host import LambdaHost
from sidecar.server.refusals import Context, abort
from sidecar.server.runtime import LambdaRuntime, Own
from sidecar.status import LambdaStatus, PartitionStatus, ProcessStatus
from sidecar.version import VERSION

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

    def __init__(
        self,
        lambdas: Mapping[str, LambdaRuntime],
        host: LambdaHost,
        bootstrap_servers: str,
        own: Callable[[str], Own] = lambda _: Own([], 0),
    ) -> None:
        """``host`` knows the processes; ``own`` returns the loop's part of a lambda's status, by its name."""
        self._own = own
        self._lambdas = lambdas
        self._host = host
        self._bootstrap_servers = bootstrap_servers
        self._started_at_ms = round(time.time() * 1000)

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

    async def statuses(self) -> dict[str, LambdaStatus]:
        """The status of each lambda by name: its consumer thread's answer, and the loop's own counters."""
        replies: dict[str, letters.Reply[LambdaStatus]] = {}
        for name, hosted in self._lambdas.items():
            replies[name] = letters.Reply()
            hosted.mailbox.put(letters.Inspect(replies[name]))
        return {name: self._counted(name, await reply.future) for name, reply in replies.items()}

    def _counted(self, name: str, status: LambdaStatus) -> LambdaStatus:
        lambda_producer = self._lambdas[name].lambda_producer
        own = self._own(name)
        return replace(
            status,
            problems=[*status.problems, *own.problems],
            produced=lambda_producer.written,
            produce_failures=lambda_producer.failed,
            process_exits=own.process_exits,
        )

    async def _status(self, _: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        try:
            statuses = await self.statuses()
        except GoneError as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.StatusResponse(
            version=VERSION,
            started_at_ms=self._started_at_ms,
            bootstrap_servers=self._bootstrap_servers,
            lambdas=[self._lambda(name, status) for name, status in statuses.items()],
        )

    def _lambda(self, name: str, status: LambdaStatus) -> pb.Lambda:
        config = self._lambdas[name].config
        wall_clock = time.time() - time.monotonic()
        return pb.Lambda(
            name=name,
            group=config.group,
            topics=config.topics,
            connected=status.connected,
            joined=status.joined,
            problem=status.problem,
            problems=[
                pb.Problem(
                    kind=problem.kind,
                    text=problem.text,
                    since_ms=_milliseconds(problem.since, wall_clock),
                    blocks=problem.blocks,
                )
                for problem in status.problems
            ],
            processes=[self._process(process) for process in status.processes],
            partitions=[_partition(partition, wall_clock) for partition in status.partitions],
            records_sent=status.records_sent,
            records_fetched=status.records_fetched,
            restarts=status.restarts,
            dead_letters=status.dead_letters,
            hand_overs=status.hand_overs,
            reports=status.reports,
            skipped_records=status.skipped,
        )

    def _process(self, process: ProcessStatus) -> pb.Process:
        info = self._host.processes.get(process.process_id)
        return pb.Process(
            process_id=process.process_id,
            instance=info.instance if info else process.process_id,
            pid=info.pid if info else 0,
            partitions=process.partitions,
            spare=process.spare,
            client=info.client if info else "",
            lambda_version=info.lambda_version if info else "",
        )

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


def _milliseconds(monotonic: float | None, wall_clock: float) -> int | None:
    """A time of the monotonic clock in milliseconds since the Unix epoch."""
    return None if monotonic is None else round((monotonic + wall_clock) * 1000)


def _partition(status: PartitionStatus, wall_clock: float) -> pb.Partition:
    """``wall_clock``: seconds to add to a monotonic time for the time since the Unix epoch."""
    return pb.Partition(
        topic=status.tp.topic,
        partition=status.tp.partition,
        state=cast("pb.PartitionState", status.state),
        process_id=status.process_id,
        delivered=status.delivered,
        handled=status.handled,
        checkpoint=status.checkpoint,
        committed=status.committed,
        end=status.end,
        outstanding=status.outstanding,
        waiting=status.waiting,
        attempt=status.attempt,
        reason=status.reason,
        failing_offset=status.failing_offset,
        blocked_since_ms=_milliseconds(status.blocked_since, wall_clock),
        stalled_since_ms=_milliseconds(status.stalled_since, wall_clock),
        resumes_at_ms=_milliseconds(status.resumes_at, wall_clock),
        skipped_records=status.skipped,
        skipping=status.skipping,
        skipping_count=status.skipping_count,
    )
