"""What operators' commands ask of a running sidecar, over the `Admin` service."""

from typing import Any

import grpc

from sdk_python.protocol import admin_pb2 as pb, admin_pb2_grpc
from sidecar.operate.target import parse_target

TIMEOUT = 10.0


def status(address: str, token: str | None) -> pb.StatusResponse:
    """How the sidecar at ``address`` is doing. Raises ``grpc.RpcError``."""
    with _channel(address) as channel:
        answer: pb.StatusResponse = _admin(channel).Status(
            pb.StatusRequest(), timeout=TIMEOUT, metadata=_metadata(token)
        )
        return answer


def resume(address: str, token: str | None, target: str, skip: bool) -> str:
    """Let a halted partition go on; returns what happened, for people.

    Raises ``grpc.RpcError`` with the sidecar's reason, ``ValueError`` when ``target`` is not
    LAMBDA/TOPIC/PARTITION.
    """
    where = parse_target(target)
    request = pb.ResumeRequest(lambda_name=where.lambda_name, topic=where.topic, partition=where.partition, skip=skip)
    with _channel(address) as channel:
        answer: pb.ResumeResponse = _admin(channel).Resume(request, timeout=TIMEOUT, metadata=_metadata(token))
    left_out = f", leaving out offset {answer.skipped}" if answer.HasField("skipped") else ""
    return f"{where} goes on from offset {answer.from_offset}{left_out}"


def _admin(channel: grpc.Channel) -> Any:  # the generated stub is not typed
    return admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address.replace("unix://", "unix:", 1))


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)
