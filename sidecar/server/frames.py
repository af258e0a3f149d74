"""Between the wire's messages and the core's words: parsed, checked, and translated.

What comes from a lambda process is not trusted. Every refusal names the field.
"""

from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.partitions.vocabulary import Assign, ErrorAction, Failure, Lease, Progress, Revoke

PROTOCOL_VERSION = 1
MOST_ENTRIES = 10_000
DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024
SMALLEST_MESSAGE_BYTES = 1024

M = TypeVar("M", bound=Message)


class InvalidFrameError(ValueError):
    """What a client sent does not keep to the contract; the text names the field."""


def parse(kind: type[M], data: bytes) -> M:
    """The message in ``data``.

    Parsed here and not by gRPC's deserializer, whose exceptions would reach the client as UNKNOWN.
    Raises ``InvalidFrameError``.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidFrameError(
            f"{kind.DESCRIPTOR.name}: {len(data)} bytes that are not this message; see proto/lambda.proto"
        ) from None


def checked_offer(offer: pb.Offer) -> pb.Offer:
    """The offer, when it says what it must. Raises ``InvalidFrameError``."""
    if not offer.lambda_name:
        raise InvalidFrameError("offer.lambda_name: missing; it names the lambda in the sidecar's config")
    for field, value, most in (
        ("lambda_name", offer.lambda_name, 256),
        ("process_id", offer.process_id, 128),
        ("instance", offer.instance, 256),
        ("client.name", offer.client.name, 256),
        ("client.version", offer.client.version, 256),
        ("client.language", offer.client.language, 256),
    ):
        if len(value.encode()) > most:
            raise InvalidFrameError(f"offer.{field}: longer than {most} bytes")
    if not offer.process_id:
        raise InvalidFrameError("offer.process_id: missing; it is random, and the same on all streams of a process")
    if offer.max_message_bytes and offer.max_message_bytes < SMALLEST_MESSAGE_BYTES:
        raise InvalidFrameError(f"offer.max_message_bytes: below {SMALLEST_MESSAGE_BYTES}")
    return offer


def progress(entry: pb.CheckpointEntry, path: str) -> Progress:
    """A checkpoint entry; ``path`` names it in a refusal. Raises ``InvalidFrameError``."""
    offset = entry.offset if entry.HasField("offset") else None
    if offset is not None and offset < 0:
        raise InvalidFrameError(f"{path}.offset: {offset} is negative; leave it out when there is none")
    handled = entry.handled if entry.HasField("handled") else None
    if handled is not None and handled < 0:
        raise InvalidFrameError(f"{path}.handled: {handled} is negative; leave it out when there is none")
    return Progress(offset, entry.completed_beyond, entry.completed_beyond_bytes, handled)


def checkpoints(request: pb.CheckpointRequest) -> list[tuple[Lease, Progress]]:
    """All entries of a request. Raises ``InvalidFrameError``."""
    if len(request.entries) > MOST_ENTRIES:
        raise InvalidFrameError(f"entries: {len(request.entries)}, at most {MOST_ENTRIES} fit into one request")
    entries = []
    for index, entry in enumerate(request.entries):
        if not entry.lease:
            raise InvalidFrameError(f"entries[{index}].lease: missing")
        entries.append((entry.lease, progress(entry, f"entries[{index}]")))
    return entries


def failure(request: pb.ErrorRequest) -> tuple[Failure, Progress | None]:
    """The error and the last checkpoint with it. Long texts are cut. Raises ``InvalidFrameError``."""
    if not request.lease:
        raise InvalidFrameError("lease: missing")
    try:
        action = ErrorAction(request.action)
    except ValueError:
        raise InvalidFrameError(f"action: {request.action} is none of RESTART, CRITICAL, REPORT") from None
    offset = request.offset if request.HasField("offset") else None
    if offset is not None and offset < 0:
        raise InvalidFrameError(f"offset: {offset} is negative; leave it out when there is none")
    last = progress(request.last_checkpoint, "last_checkpoint") if request.HasField("last_checkpoint") else None
    found = Failure(
        action,
        offset,
        code=request.code[:128],
        message=request.message[: 8 * 1024],
        type=request.type[:256],
        stack=request.stack[: 32 * 1024],
    )
    return found, last


def assigned(command: Assign) -> bytes:
    """The frame that gives a partition."""
    return pb.HostFrame(
        assigned=pb.Assigned(
            lease=command.lease,
            topic=command.partition.topic,
            partition=command.partition.partition,
            start_offset=command.start_offset,
            attempt=command.attempt,
        )
    ).SerializeToString()


def revoked(command: Revoke) -> bytes:
    """The frame that takes it back."""
    deadline = max(0, round(command.seconds * 1000))
    return pb.HostFrame(
        revoked=pb.Revoked(reason=cast("pb.RevokeReason", command.reason), deadline_ms=deadline)
    ).SerializeToString()
