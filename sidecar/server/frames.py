"""Parses and checks the protocol's messages, and translates them to and from the core's types.

Messages from a lambda process are not trusted. Every refusal names the field.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.measured import HANDLER_BOUNDS_S
from sidecar.partitions.vocabulary import (
    Assign,
    ErrorAction,
    Failure,
    Lease,
    Pausing,
    Progress,
    Resumed,
    Revoke,
)

PROTOCOL_VERSION = 1
EXACTLY_ONCE = "exactly-once"
SHARED_MEMORY = "shared-memory"
CAPABILITIES = ("committed", EXACTLY_ONCE, SHARED_MEMORY)
"""Of `Offer.capabilities`, those that the sidecar has."""
MAX_PROGRESS_BYTES = 256
MAX_ENTRIES = 10_000
MAX_NAMES = 10
MAX_NAME_BYTES = 256
DEFAULT_MESSAGE_BYTES = 4 * 1024 * 1024
MIN_MESSAGE_BYTES = 1024

M = TypeVar("M", bound=Message)


class InvalidFrameError(ValueError):
    """A client's message violates the contract; the text names the field."""


def parse(kind: type[M], data: bytes) -> M:
    """Parse a message. Raises ``InvalidFrameError``.

    gRPC's own deserializer is not used, since its exceptions would reach the client as UNKNOWN.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidFrameError(
            f"{kind.DESCRIPTOR.name}: {len(data)} bytes that are not this message; see proto/lambda.proto"
        ) from None


@dataclass(frozen=True, slots=True)
class Offered:
    """The fields of an Offer that are kept.

    The message itself is dropped: it may have 1 MiB of unknown fields, for as long as the stream waits.
    """

    lambda_name: str
    process_id: str
    instance: str
    client: str
    """Name, version and language of the SDK, for operators."""
    max_message_bytes: int
    protocol_version: int = PROTOCOL_VERSION
    pid: int = 0
    lambda_version: str = ""
    capabilities: tuple[str, ...] = ()
    """Those that the sidecar has as well."""


def offered(data: bytes) -> Offered:
    """Parse the first message of a stream, which must be an Offer. Raises ``InvalidFrameError``."""
    frame = parse(pb.LambdaFrame, data)
    if frame.WhichOneof("frame") != "offer":
        raise InvalidFrameError("offer: must be the first frame of a stream")
    offer = frame.offer
    if not offer.lambda_name:
        raise InvalidFrameError("offer.lambda_name: missing; it names the lambda in the sidecar's config")
    client = offer.client
    for field, value, most in (
        ("lambda_name", offer.lambda_name, 256),
        ("process_id", offer.process_id, 128),
        ("instance", offer.instance, 256),
        ("lambda_version", offer.lambda_version, 256),
        ("client.name", client.name, 256),
        ("client.version", client.version, 256),
        ("client.language", client.language, 256),
    ):
        if len(value.encode()) > most:
            raise InvalidFrameError(f"offer.{field}: longer than {most} bytes")
    if not offer.process_id:
        raise InvalidFrameError("offer.process_id: missing; it is random, and the same on all streams of a process")
    if offer.max_message_bytes and offer.max_message_bytes < MIN_MESSAGE_BYTES:
        raise InvalidFrameError(f"offer.max_message_bytes: below {MIN_MESSAGE_BYTES}")
    return Offered(
        offer.lambda_name,
        offer.process_id,
        offer.instance or offer.process_id,
        f"{client.name} {client.version} {client.language}".strip(),
        offer.max_message_bytes or DEFAULT_MESSAGE_BYTES,
        offer.protocol_version,
        offer.pid,
        offer.lambda_version,
        tuple(one for one in CAPABILITIES if one in offer.capabilities),
    )


def progress(entry: pb.CheckpointEntry) -> Progress:
    """Check a checkpoint entry. Raises ``InvalidFrameError``, to whose text the caller adds the entry's path."""
    offset = entry.offset if entry.HasField("offset") else None
    if offset is not None and offset < 0:
        raise _negative("offset", offset)
    handled = entry.handled if entry.HasField("handled") else None
    if handled is not None and handled < 0:
        raise _negative("handled", handled)
    state = entry.state if entry.HasField("state") else None
    if not entry.skipped and not entry.skipping:
        return Progress(offset, entry.completed_beyond, entry.completed_beyond_bytes, handled, state=state)
    names = tuple(entry.skipping)
    if len(names) > MAX_NAMES:
        raise InvalidFrameError(f"skipping: {len(names)} names, at most {MAX_NAMES}; skipping_count says how many")
    for index, name in enumerate(names):
        if len(name) * 4 > MAX_NAME_BYTES and len(name.encode()) > MAX_NAME_BYTES:
            raise InvalidFrameError(f"skipping[{index}]: longer than {MAX_NAME_BYTES} bytes")
    return Progress(
        offset,
        entry.completed_beyond,
        entry.completed_beyond_bytes,
        handled,
        entry.skipped,
        names,
        max(entry.skipping_count, len(names)),
        state,
    )


def last_checkpoint(message: pb.Closed | pb.ErrorRequest, path: str) -> Progress | None:
    """The lease's last checkpoint in a message, if any; ``path`` names the field. Raises ``InvalidFrameError``."""
    if not message.HasField("last_checkpoint"):
        return None
    try:
        return progress(message.last_checkpoint)
    except InvalidFrameError as error:
        raise InvalidFrameError(f"{path}.{error}") from None


def checkpoints(
    entries: Iterable[pb.CheckpointEntry], first: int, known: Container[Lease]
) -> list[tuple[int, Lease, Progress]]:
    """The entries with a ``known`` lease, with their indexes; ``first`` is the first entry's index.

    All entries are checked. One without a known lease costs a fifth of the others: there may be 10,000 of them.
    Raises ``InvalidFrameError``.
    """
    found: list[tuple[int, Lease, Progress]] = []
    index = first
    try:
        for index, entry in enumerate(entries, first):
            lease = entry.lease
            if not lease:
                raise InvalidFrameError("lease: missing")  # noqa: TRY301 - the path is added to all
            if lease in known or entry.offset < 0 or entry.handled < 0 or entry.skipping:
                found.append((index, lease, progress(entry)))
    except InvalidFrameError as error:
        raise InvalidFrameError(f"entries[{index}].{error}") from None
    return found


def handler_times(message: pb.HandlerTimes) -> tuple[Lease, list[int], float]:
    """The lease, the counts by `HANDLER_BOUNDS_S`, and their sum in seconds. Raises ``InvalidFrameError``."""
    counts = [*message.counts]
    if not message.lease:
        raise InvalidFrameError("handler_times.lease: missing")
    if len(counts) != len(HANDLER_BOUNDS_S) + 1:
        raise InvalidFrameError(f"handler_times.counts: {len(counts)}, there are {len(HANDLER_BOUNDS_S) + 1} classes")
    return message.lease, counts, message.sum_us / 1e6


def failure(request: pb.ErrorRequest, version: str) -> tuple[Failure, Progress | None]:
    """The error and its last checkpoint; ``version`` is the lambda's version. Long texts are cut.

    Raises ``InvalidFrameError``.
    """
    if not request.lease:
        raise InvalidFrameError("lease: missing")
    try:
        action = ErrorAction(request.action)
    except ValueError:
        raise InvalidFrameError(f"action: {request.action} is none of RESTART, CRITICAL, REPORT") from None
    offset = request.offset if request.HasField("offset") else None
    if offset is not None and offset < 0:
        raise _negative("offset", offset)
    last = last_checkpoint(request, "last_checkpoint")
    found = Failure(
        action,
        offset,
        code=cut(request.code, 128),
        message=cut(request.message, 8 * 1024),
        type=cut(request.type, 256),
        stack=cut(request.stack, 32 * 1024),
        version=version,
    )
    return found, last


def pausing(pause: pb.Pause) -> Pausing:
    """Check a pause. A long reason is cut. Raises ``InvalidFrameError``."""
    if pause.number < 1:
        raise InvalidFrameError("pause.number: missing; it counts up from 1 in each lease")
    offset = pause.offset if pause.HasField("offset") else None
    if offset is not None and offset < 0:
        raise _negative("pause.offset", offset)
    return Pausing(
        pause.number,
        offset,
        cut(pause.reason, 1024),
        pause.retry_after_ms / 1000 if pause.retry_after_ms else None,
    )


def _negative(path: str, offset: int) -> InvalidFrameError:
    return InvalidFrameError(f"{path}: {offset} is negative; leave it out when there is none")


def cut(text: str, most: int) -> str:
    """The beginning of ``text``: whole characters of at most ``most`` bytes in UTF-8."""
    if len(text) * 4 <= most:  # no character has more than four
        return text
    data = text.encode()
    return text if len(data) <= most else data[:most].decode(errors="ignore")


def assigned(command: Assign, memory: pb.SharedMemory | None = None) -> bytes:
    """The frame Assigned; ``memory``: what its process may share."""
    return pb.HostFrame(
        assigned=pb.Assigned(
            lease=command.lease,
            topic=command.lane.partition.topic,
            partition=command.lane.partition.partition,
            start_offset=command.start_offset,
            attempt=command.attempt,
            lane=command.lane.number,
            lanes=command.lane.of if command.lane.of > 1 else 0,
            state=command.state,
            shared_memory=memory,
        )
    ).SerializeToString()


def revoked(command: Revoke) -> bytes:
    """The frame Revoked."""
    deadline = max(0, round(command.seconds * 1000))
    return pb.HostFrame(
        revoked=pb.Revoked(reason=cast("pb.RevokeReason", command.reason), deadline_ms=deadline)
    ).SerializeToString()


def committed(offset: int) -> bytes:
    """The frame Committed."""
    return pb.HostFrame(committed=pb.Committed(offset=offset)).SerializeToString()


def resumed(command: Resumed) -> bytes:
    """The frame Resumed."""
    return pb.HostFrame(
        resumed=pb.Resumed(number=command.number, from_offset=command.from_offset)
    ).SerializeToString()
