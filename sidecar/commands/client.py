"""Calls of a running sidecar's `Admin` service. All of them raise ``grpc.RpcError``."""

from typing import Any

import grpc

from sdk_python._tls import Tls
from sdk_python.protocol import admin_pb2 as pb, admin_pb2_grpc
from sidecar.commands.offset_spec import OffsetSpec
from sidecar.commands.target import Target

TIMEOUT_S = 10.0

SEEK_TIMEOUT_S = 30.0
"""The sidecar asks Kafka for offsets and commits the new one before it answers."""

PAUSE_TIMEOUT_S = 120.0
"""The sidecar lets the lambda finish its records, for at most `shutdown_drain`; this also bounds the sidecar."""

_OPTIONS = (
    # An HTTP proxy in the environment is meant for other calls, and could not reach loopback.
    ("grpc.enable_http_proxy", 0),
)


def status(address: str, token: str | None, tls: Tls | None = None) -> pb.StatusResponse:
    """The status of the sidecar at ``address`` (`host:port` or `unix:///path`)."""
    with _channel(address, tls) as channel:
        answer: pb.StatusResponse = _admin(channel).Status(
            pb.StatusRequest(), timeout=TIMEOUT_S, metadata=_metadata(token)
        )
        return answer


def resume(address: str, token: str | None, target: Target, skip: bool, tls: Tls | None = None) -> pb.ResumeResponse:
    """Let a halted or paused partition go on; ``skip`` leaves out the record that failed."""
    request = pb.ResumeRequest(
        lambda_name=target.lambda_name,
        topic=target.topic,
        partition=target.partition,
        lane=target.lane,
        skip=skip,
    )
    with _channel(address, tls) as channel:
        answer: pb.ResumeResponse = _admin(channel).Resume(request, timeout=TIMEOUT_S, metadata=_metadata(token))
        return answer


def pause(address: str, token: str | None, target: Target, reason: str, tls: Tls | None = None) -> pb.PauseResponse:
    """Pause a partition; returns when nothing of it is in work."""
    request = pb.PauseRequest(
        lambda_name=target.lambda_name,
        topic=target.topic,
        partition=target.partition,
        lane=target.lane,
        reason=reason,
    )
    with _channel(address, tls) as channel:
        answer: pb.PauseResponse = _admin(channel).Pause(request, timeout=PAUSE_TIMEOUT_S, metadata=_metadata(token))
        return answer


def seek(address: str, token: str | None, target: Target, to: OffsetSpec, tls: Tls | None = None) -> pb.SeekResponse:
    """Move a partition to another offset."""
    request = pb.SeekRequest(
        lambda_name=target.lambda_name, topic=target.topic, partition=target.partition, lane=target.lane
    )
    match to.kind:
        case "offset":
            request.offset = to.value
        case "timestamp":
            request.timestamp_ms = to.value
        case "earliest":
            request.edge = pb.EDGE_EARLIEST
        case "latest":
            request.edge = pb.EDGE_LATEST
    with _channel(address, tls) as channel:
        answer: pb.SeekResponse = _admin(channel).Seek(request, timeout=SEEK_TIMEOUT_S, metadata=_metadata(token))
        return answer


def _admin(channel: grpc.Channel) -> Any:  # the generated stub is not typed
    return admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]


def _channel(address: str, tls: Tls | None) -> grpc.Channel:
    target = address.replace("unix://", "unix:", 1)
    if tls is None:
        return grpc.insecure_channel(target, options=_OPTIONS)
    # The name is overridden for a pinned certificate only: with any other, the name proves that this is the sidecar.
    named = () if tls.name is None else (("grpc.ssl_target_name_override", tls.name),)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    return grpc.secure_channel(target, credentials, options=(*_OPTIONS, *named))


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)
