"""The `Admin` service: what operators' commands ask for. On the event loop."""

import time
from collections.abc import Mapping
from typing import Any, cast

import grpc

from sdk_python.protocol import admin_pb2 as pb
from sidecar import mail
from sidecar.partitions.vocabulary import ResumeRefused, TopicPartition
from sidecar.server.lambda_host import Hosted, LambdaHost, abort
from sidecar.version import VERSION

SERVICE = "kafka_sidecar.admin.v1.Admin"

Context = grpc.aio.ServicerContext[Any, Any]


class Admin:
    """Answers for all lambdas of this sidecar."""

    def __init__(self, lambdas: Mapping[str, Hosted], host: LambdaHost, bootstrap_servers: str) -> None:
        """``host`` knows what processes say of themselves."""
        self._lambdas = lambdas
        self._host = host
        self._bootstrap_servers = bootstrap_servers
        self._started_at_ms = round(time.time() * 1000)

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for a gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Status": grpc.unary_unary_rpc_method_handler(
                    self._status, pb.StatusRequest.FromString, pb.StatusResponse.SerializeToString
                ),
                "Resume": grpc.unary_unary_rpc_method_handler(
                    self._resume, pb.ResumeRequest.FromString, pb.ResumeResponse.SerializeToString
                ),
            },
        )

    async def statuses(self) -> dict[str, mail.LambdaStatus]:
        """How each lambda is doing, asked of its consumer thread."""
        replies: dict[str, mail.Reply[mail.LambdaStatus]] = {}
        for name, hosted in self._lambdas.items():
            replies[name] = mail.Reply()
            hosted.mailbox.put(mail.Inspect(replies[name]))
        return {name: await reply.future for name, reply in replies.items()}

    async def _status(self, _: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        try:
            statuses = await self.statuses()
        except mail.GoneError as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.StatusResponse(
            version=VERSION,
            started_at_ms=self._started_at_ms,
            bootstrap_servers=self._bootstrap_servers,
            lambdas=[self._lambda(name, status) for name, status in statuses.items()],
        )

    def _lambda(self, name: str, status: mail.LambdaStatus) -> pb.Lambda:
        config = self._lambdas[name].config
        wall_clock = time.time() - time.monotonic()
        return pb.Lambda(
            name=name,
            group=config.group,
            topics=config.topics,
            connected=status.connected,
            joined=status.joined,
            problem=status.problem,
            processes=[self._process(process) for process in status.processes],
            partitions=[_partition(partition, wall_clock) for partition in status.partitions],
            records_sent=status.records_sent,
            records_fetched=status.records_fetched,
            restarts=status.restarts,
        )

    def _process(self, process: mail.ProcessStatus) -> pb.Process:
        info = self._host.processes.get(process.process_id)
        return pb.Process(
            process_id=process.process_id,
            instance=info.instance if info else process.process_id,
            pid=info.pid if info else 0,
            partitions=process.partitions,
            spare=process.spare,
            client=info.client if info else "",
        )

    async def _resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        hosted = self._lambdas.get(request.lambda_name)
        if hosted is None:
            known = ", ".join(sorted(self._lambdas))
            await abort(
                context, grpc.StatusCode.NOT_FOUND, f"there is no lambda {request.lambda_name!r}; there are: {known}"
            )
        reply: mail.Reply[tuple[int, int | None]] = mail.Reply()
        hosted.mailbox.put(mail.Resume(TopicPartition(request.topic, request.partition), request.skip, reply))
        try:
            from_offset, skipped = await reply.future
        except ResumeRefused as refusal:
            status = grpc.StatusCode.FAILED_PRECONDITION if refusal.known else grpc.StatusCode.NOT_FOUND
            await abort(context, status, str(refusal))
        except mail.GoneError as error:
            await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.ResumeResponse(from_offset=from_offset, skipped=skipped)


def _partition(status: mail.PartitionStatus, wall_clock: float) -> pb.Partition:
    """``wall_clock``: what is to be added to a monotonic time, in seconds."""
    blocked = None if status.blocked_since is None else round((status.blocked_since + wall_clock) * 1000)
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
        blocked_since_ms=blocked,
    )
