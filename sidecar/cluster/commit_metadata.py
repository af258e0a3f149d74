"""What a commit has beside its offset (`proto/commit.proto`): written at each commit, read at the next start. Pure.

The offset, the places of the lanes and the states belong together. So a commit is always written from the places of
one moment (`sidecar.partitions.commitment`), and read as one value.
"""

import base64
import binascii
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from sdk_python.protocol import commit_pb2
from sidecar.mail.facts import Commit, Origin
from sidecar.partitions.vocabulary import Place

PREFIX = "kafka-sidecar/1:"

MAX_BYTES = 4_096
"""A broker refuses a commit with more metadata (`offset.metadata.max.bytes`; this is the default)."""

NO_ID = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
"""The id that a broker reports if it gives topics no id."""


def encode(origin: Origin | None, places: Sequence[Place]) -> str:
    """The metadata of a commit whose offset is the lowest of ``places``: one for each lane, or one without lanes.

    At most ``MAX_BYTES``: 128 lanes fit, with states of 2,048 bytes together, while each lane is less than 2^35
    offsets above the lowest. Beyond that only the origin is written: then all lanes go on from the committed offset,
    without states. Empty: there is nothing to say.
    """
    message = commit_pb2.CommitMetadata()
    if origin is not None:
        message.topic_id = _bytes(origin.topic_id)
        message.partitions_at_start = origin.partitions_at_start
        message.began_at_ms = origin.began_at
    whole = commit_pb2.CommitMetadata()
    whole.CopyFrom(message)
    if len(places) > 1:
        lowest = min(place.offset for place in places)
        whole.lanes = len(places)
        whole.lane_offsets.extend(place.offset - lowest for place in places)
    if any(place.state for place in places):
        whole.states.extend(place.state for place in places)
    if origin is None and not whole.ByteSize():
        return ""
    text = _text(whole)
    return text if len(text) <= MAX_BYTES else _text(message)


def decode(offset: int, metadata: str | None) -> Commit:
    """Read a committed offset with its metadata, which may be anybody's and anything."""
    if metadata is None or not metadata.startswith(PREFIX):
        return Commit(offset, None)
    try:
        data = base64.b64decode(metadata.removeprefix(PREFIX), validate=True)
        message = commit_pb2.CommitMetadata.FromString(data)
    except (binascii.Error, DecodeError, ValueError):
        return Commit(offset, None)
    topic_id = message.topic_id if len(message.topic_id) == 16 else b""
    origin = Origin(
        shown_id(base64.b64encode(topic_id).decode()), message.partitions_at_start, max(0, message.began_at_ms)
    )
    return Commit(offset, origin, _places(offset, message))


def places_of(offset: int, places: Sequence[Place], lanes: int) -> tuple[Place, ...]:
    """Where each of ``lanes`` lanes goes on, after a commit of ``offset`` that says ``places``.

    If the commit says nothing, or has another number of lanes, all go on from ``offset``, and without a state: no
    state of another lane belongs to it. 1 lane: the partition is one.
    """
    return tuple(places) if len(places) == lanes else (Place(offset),) * lanes


def shown_id(text: str) -> str:
    """A topic's id as Kafka's tools show it (base64 for URLs, no padding), from the binding's text; empty: none."""
    shown = text.replace("+", "-").replace("/", "_").rstrip("=")
    return "" if shown == NO_ID else shown


def _places(offset: int, message: commit_pb2.CommitMetadata) -> tuple[Place, ...]:
    """Empty: what the message says of lanes and states does not fit together."""
    above = [*message.lane_offsets] if message.lanes > 1 else [0]
    states = [*message.states] or [b""] * len(above)
    if len(above) != max(1, message.lanes) or len(states) != len(above):
        return ()
    return tuple(Place(offset + more, state) for more, state in zip(above, states, strict=True))


def _text(message: commit_pb2.CommitMetadata) -> str:
    return PREFIX + base64.b64encode(message.SerializeToString()).decode()


def _bytes(topic_id: str) -> bytes:
    return base64.urlsafe_b64decode(topic_id + "=" * (-len(topic_id) % 4))
