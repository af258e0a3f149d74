"""What became of records that were written, in words."""

from confluent_kafka import KafkaError

from sidecar.cluster.errors import KINDS, NOWHERE, TOO_LARGE
from sidecar.mail.outgoing import Headers, Outcome, Outgoing, Written

__all__ = ["Headers", "Outcome", "Outgoing", "Written"]

BATCH_BYTES = 1_000_000
"""librdkafka's own limit for a batch. A record of this size is sent alone."""

MAX_NAME_CHARS = 80
"""Longest topic name in an error text, which may be repeated for many records."""

NOT_SENT = "not sent"
MIXED = "the topic refused a batch, for this record or others in it; produced again, each goes alone"

FAILURE_KINDS = (*KINDS, "invalid", "full", "mixed", "not_sent")
"""The words for why a record was not written: of the broker's error, or because Kafka's client does not take it, its
queue is full, the topic refused another record of its batch, or it was not sent in time."""

OF_ITS_BATCH = TOO_LARGE | {
    KafkaError.INVALID_RECORD,
    KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001 - the binding names librdkafka's codes with an underscore
}
"""Errors that concern all records of a batch, though one record may be the cause: its size, or a missing key for a
compacted topic.

If a batch is too large, or the topic refuses one of its records, librdkafka fails the whole batch and does not
split it. The record may be accepted if it is sent alone. So if other records may have been in its batch, the record
does not count as refused (`MIXED`), and later records are sent alone.
"""


class FullError(Exception):
    """Too many records are not written yet: try again later. None of these records was taken."""


def nothing(count: int, error: str, outcome: Outcome = Outcome.FAILED) -> Written:
    """The result of ``count`` records of which none was written."""
    return Written([outcome] * count, [-1] * count, [-1] * count, [error] * count)


def why(error: KafkaError, topic: str | None, partition: int | None) -> str:
    """The text of a record's error; ``partition`` -1 or None: any partition of the topic."""
    if error.code() not in NOWHERE:
        return error.str()
    name = f"the topic {(topic or '')[:MAX_NAME_CHARS]!r}"
    if partition is None or partition < 0:
        return f"{name} does not exist: make it, the sidecar does not ({error.str()})"
    return f"{name} does not exist, or has no partition {partition} ({error.str()})"


def no_such_partition(partition: int) -> str:
    """The refusal of a record for a partition that no topic can have."""
    return f"partition {partition} does not exist; -1 is: by key"
