"""The metadata of commits: the topic to which an offset belongs. We write it, and read it at the next start."""

import base64
import binascii

from google.protobuf.message import DecodeError

from sdk_python.protocol import commit_pb2
from sidecar.mail.facts import Origin
from sidecar.partitions.vocabulary import TopicPartition

PREFIX = "kafka-sidecar/1:"
NO_ID = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
"""The id that a broker reports if it gives topics no id."""


class Origins:
    """The origin of each assigned partition's resume offset. Owned by the consumer thread."""

    def __init__(self) -> None:
        self._of: dict[TopicPartition, Origin] = {}

    def __setitem__(self, tp: TopicPartition, origin: Origin) -> None:
        """The partition's resume offset belongs to ``origin`` from now on."""
        self._of[tp] = origin

    def get(self, tp: TopicPartition) -> Origin | None:
        """The origin of the partition's resume offset; None: not known."""
        return self._of.get(tp)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self._of.pop(tp, None)

    def metadata(self, tp: TopicPartition) -> str:
        """The metadata of the partition's next commit; empty: there is none."""
        origin = self._of.get(tp)
        return "" if origin is None else encode(origin)


def encode(origin: Origin) -> str:
    """Encode the metadata of a commit."""
    message = commit_pb2.CommitMetadata(
        topic_id=_bytes(origin.topic_id),
        partitions_at_start=origin.partitions_at_start,
        began_at_ms=origin.began_at,
    )
    return PREFIX + base64.b64encode(message.SerializeToString()).decode()


def decode(metadata: str | None) -> Origin | None:
    """Decode the metadata of a commit; None: it is not ours, or cannot be read."""
    if metadata is None or not metadata.startswith(PREFIX):
        return None
    try:
        data = base64.b64decode(metadata.removeprefix(PREFIX), validate=True)
        message = commit_pb2.CommitMetadata.FromString(data)
    except (binascii.Error, DecodeError, ValueError):
        return None
    topic_id = message.topic_id if len(message.topic_id) == 16 else b""
    return Origin(
        shown_id(base64.b64encode(topic_id).decode()), message.partitions_at_start, max(0, message.began_at_ms)
    )


def shown_id(text: str) -> str:
    """A topic's id as Kafka's tools show it (base64 for URLs, no padding), from the binding's text; empty: none."""
    shown = text.replace("+", "-").replace("/", "_").rstrip("=")
    return "" if shown == NO_ID else shown


def _bytes(topic_id: str) -> bytes:
    return base64.urlsafe_b64decode(topic_id + "=" * (-len(topic_id) % 4))
