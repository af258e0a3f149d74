"""Translates the call Produce for the lambda producer: columns to records, and outcomes back.

The native extension reads well-formed requests in the form in which protobuf's own writers make them. What it does
not take comes here: a request in another form is brought into that form, and any other is refused.

Requests are not trusted. One whose columns do not match is refused as a whole, and the refusal names the field. A
record that cannot be written is refused alone: it may be a copy of another client's record, and must not stop others.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Protocol

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config.lambdas import LambdaConfig
from sidecar.partitions.vocabulary import Progress
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.producing.outcomes import Headers, Outgoing, Written, no_such_partition
from sidecar.records.extension import extension
from sidecar.records.header_names import writable
from sidecar.server.frames import InvalidFrameError, cut, parse, progress
from sidecar.server.held import NEXT
from sidecar.server.identities import Identity

if TYPE_CHECKING:
    from sidecar.records import _native as native

MAX_RECORDS = 10_000
MAX_TOPICS = 100

MAX_HELD_RECORDS = 50_000
"""Of one lease: records that wait for a checkpoint, with exactly-once."""

MAX_HELD_BYTES = 16 * 1024 * 1024

STALE = "the lease is dead: the partition is not this lambda's any more"
"""The error of each record whose lease is dead."""

MAX_ERROR_BYTES = 200
"""The length of one record's error text, in UTF-8: a response may have ten thousand of them."""

BUSY_FULL_MS = 100
BUSY_LEASE_MS = 20
"""When to send a BUSY request again: after too many records under way, and after only the call before it. Sending
it costs a message of up to 1 MiB."""


class InvalidColumnsError(InvalidFrameError):
    """A request that is not well-formed, of a lease that it names."""

    def __init__(self, text: str, lease: str) -> None:
        super().__init__(text)
        self.lease = lease


class Asked(Protocol):
    """A well-formed request."""

    lease: str
    topics: Sequence[str]
    count: int

    async def write(self, to: LambdaProducer) -> bytes:
        """Write its records. Returns the serialized response. Raises ``FullError``."""


def asked_to_hold(data: bytes) -> "AskedToHold":
    """Read a serialized request to a lambda with exactly-once that `asked` has taken."""
    request = parse(pb.ProduceRequest, data)
    return AskedToHold(request, outgoing(request), committing(request), len(data))


def asked(data: bytes) -> Asked:
    """Read a serialized request.

    Raises ``InvalidFrameError`` when it is none, and ``InvalidColumnsError`` when it is not well-formed.
    """
    module = extension()
    if module is not None:
        with suppress(ValueError):
            return _AskedRequest(module.Request(data, MAX_RECORDS, MAX_TOPICS))
    request = parse(pb.ProduceRequest, data)
    try:
        records = outgoing(request)
        commit = committing(request)
    except InvalidFrameError as refusal:
        raise InvalidColumnsError(str(refusal), request.lease) from None
    if commit is not None or request.sources:
        return AskedToHold(request, records, commit, len(data))
    if module is None:
        return _AskedRecords(request, records, len(data))
    request.DiscardUnknownFields()
    return _AskedRequest(module.Request(request.SerializeToString(), MAX_RECORDS, MAX_TOPICS))


class AskedToHold:
    """A request whose records wait for a checkpoint, or that has one."""

    def __init__(
        self, request: pb.ProduceRequest, records: Sequence[Outgoing], commit: Progress | None, size: int
    ) -> None:
        """``commit``: its checkpoint. ``size``: bytes of the request."""
        self.lease = request.lease
        self.topics: Sequence[str] = [*request.topics]
        self.records = records
        self.sources: Sequence[int] = [*request.sources]
        self.commit = commit
        self.size = size
        self.count = len(records)

    async def write(self, to: LambdaProducer) -> bytes:  # noqa: ARG002 - see `Asked`
        """The lambda has another guarantee. Raises ``InvalidFrameError``."""
        field = "sources" if self.commit is None else "commit"
        raise InvalidFrameError(f"{field}: only with exactly-once, and Welcome.guarantee is another")


class _AskedRequest:
    """A request as the native extension reads it."""

    def __init__(self, request: "native.Request") -> None:
        """Raises ``ValueError`` when its lease or topics are not UTF-8."""
        self._request = request
        self.lease = request.lease
        self.topics: Sequence[str] = request.topics
        self.count = len(request)

    async def write(self, to: LambdaProducer) -> bytes:
        """See `Asked`."""
        made = await to.write_request(self._request)
        return made if isinstance(made, bytes) else response(made)


class _AskedRecords:
    """A request where there is no extension."""

    def __init__(self, request: pb.ProduceRequest, records: Sequence[Outgoing], size: int) -> None:
        self._records = records
        self._size = size
        self.lease = request.lease
        self.topics: Sequence[str] = request.topics
        self.count = len(records)

    async def write(self, to: LambdaProducer) -> bytes:
        """See `Asked`."""
        return response(await to.write(self._records, self._size))


def outgoing(request: pb.ProduceRequest) -> list[Outgoing]:
    """The request's records in order; each one that cannot be written says why. Raises ``InvalidFrameError``.

    A request with a `commit` may have none.
    """
    if not request.lease:
        raise InvalidFrameError("lease: missing")
    count = len(request.values)
    if not 0 < count <= MAX_RECORDS and (count or not request.HasField("commit")):
        raise InvalidFrameError(f"values: {count} records, a request has 1 to {MAX_RECORDS}")
    if len(request.sources) not in (0, count):
        raise _one_each("sources", len(request.sources), count)
    if request.sources and min(request.sources) < NEXT:
        raise InvalidFrameError("sources: below -1, which is: the next checkpoint")
    topics = _topics(request, count)
    keys = _nullable("keys", request.keys, request.null_keys, count)
    values = _nullable("values", request.values, request.null_values, count)
    partitions: Sequence[int] = request.partitions
    if len(partitions) not in (0, count):
        raise _one_each("partitions", len(partitions), count)
    refusals = [""] * count
    if partitions and min(partitions) < -1:
        for index, partition in enumerate(partitions):
            if partition < -1:
                refusals[index] = no_such_partition(partition)
    headers = _headers(request, count, refusals)
    columns = zip(topics, keys or [None] * count, values, partitions or [-1] * count, headers, refusals, strict=True)
    return [*map(tuple.__new__, repeat(Outgoing), columns)]  # `Outgoing(...)` without a Python call each


def committing(request: pb.ProduceRequest) -> Progress | None:
    """The checkpoint in the request, if there is one. Raises ``InvalidFrameError``."""
    if not request.HasField("commit"):
        return None
    entry = request.commit
    if entry.lease not in ("", request.lease):
        raise InvalidFrameError("commit.lease: another one than the request's; it may be left out")
    if not entry.HasField("offset"):
        raise InvalidFrameError("commit.offset: missing; a request without a checkpoint has no commit")
    try:
        return progress(entry)
    except InvalidFrameError as refusal:
        raise InvalidFrameError(f"commit.{refusal}") from None


def refused_topic(topics: Sequence[str], config: LambdaConfig, identity: Identity) -> str:
    """The reason why this lambda of this identity may not write to one of the topics; empty: it may write to all."""
    for topic in topics:
        whose = "the lambda's config"
        allowed = config.produce
        if topic in allowed:
            if identity.may_produce(topic):
                continue
            whose = f"the identity {identity.name!r}"
        shown = cut(topic, MAX_ERROR_BYTES // 4)
        there = ", ".join(filter(identity.may_produce, allowed)) or "none"
        return f"the topic {shown!r} is not in `produce` of {whose}, which allows: {there}"
    return ""


def response(written: Written) -> bytes:
    """The serialized response with the outcomes."""
    errors = [cut(error, MAX_ERROR_BYTES) for error in written.errors] if any(written.errors) else []
    return pb.ProduceResponse(
        outcomes=written.outcomes,  # type: ignore[arg-type]  # the numbers are those of the enum
        partitions=written.partitions,
        offsets=written.offsets,
        errors=errors,
    ).SerializeToString()


def nothing_written(
    count: int,
    outcome: pb.ProduceOutcome,
    error: str,
    retry_after_ms: int = 0,
    commit: pb.CheckpointResult | None = None,
) -> bytes:
    """The serialized response when none of the ``count`` records was written."""
    return pb.ProduceResponse(
        outcomes=[outcome] * count,
        partitions=[-1] * count,
        offsets=[-1] * count,
        errors=[cut(error, MAX_ERROR_BYTES)] * count,
        retry_after_ms=retry_after_ms,
        commit=commit,
    ).SerializeToString()


def _topics(request: pb.ProduceRequest, count: int) -> list[str]:
    topics, indexes = request.topics, request.topic_indexes
    if not 0 < len(topics) <= MAX_TOPICS and (topics or count):
        raise InvalidFrameError(f"topics: {len(topics)}, a request has 1 to {MAX_TOPICS}")
    if not indexes:
        return [topics[0]] * count if count else []
    if len(indexes) != count:
        raise _one_each("topic_indexes", len(indexes), count)
    if max(indexes) >= len(topics):
        raise InvalidFrameError(f"topic_indexes: {max(indexes)}, but there are {len(topics)} topics")
    return [topics[index] for index in indexes]


def _nullable(
    field: str, entries: Sequence[bytes], nulls: Sequence[int], count: int, *, per: str = "record"
) -> list[bytes | None]:
    """A column with None for its null entries; empty when the column is empty."""
    made: list[bytes | None] = [*entries]
    if made and len(made) != count:
        raise _one_each(field, len(made), count, per)
    if nulls:
        if nulls[-1] >= len(made) or any(a >= b for a, b in pairwise(nulls)):
            raise InvalidFrameError(f"null_{field}: not ascending indexes into {field}, which has {len(made)}")
        for index in nulls:
            if made[index]:
                raise InvalidFrameError(f"null_{field}: entry {index} of {field} is not empty")
            made[index] = None
    return made


def _headers(request: pb.ProduceRequest, count: int, refusals: list[str]) -> Sequence[Headers]:
    """The headers of each record. Adds to ``refusals`` the reason why one cannot be written."""
    counts, names = request.header_counts, request.header_names
    if not counts:
        if names or request.header_values or request.null_header_values:
            raise InvalidFrameError("header_counts: missing, but there are headers")
        return [()] * count
    if len(counts) != count:
        raise _one_each("header_counts", len(counts), count)
    if sum(counts) != len(names):
        raise InvalidFrameError(f"header_names: {len(names)}, but header_counts add up to {sum(counts)}")
    if len(request.header_values) != len(names):
        raise _one_each("header_values", len(request.header_values), len(names), "header")
    values = _nullable("header_values", request.header_values, request.null_header_values, len(names), per="header")
    pairs = [*zip(names, values, strict=True)]
    made: list[Headers] = []
    first = 0
    for index, number in enumerate(counts):
        try:
            made.append([(writable(name), value) for name, value in pairs[first : first + number]])
        except ValueError as reason:
            refusals[index] = str(reason)
            made.append(())
        first += number
    return made


def _one_each(field: str, found: int, wanted: int, per: str = "record") -> InvalidFrameError:
    return InvalidFrameError(f"{field}: {found} entries, one per {per} would be {wanted}")
