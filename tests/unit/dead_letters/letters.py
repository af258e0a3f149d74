"""Dead letters for tests, as the sidecar writes them."""

from __future__ import annotations

from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.letter import Headers, Letter, Place, Stored, instant, letter_of
from sidecar.dead_letters.marks import mark_records
from sidecar.partitions.vocabulary import DeadLetter, ErrorAction, Failure, TopicPartition
from sidecar.producing.dead_letters import added_headers
from sidecar.records.records import Record

DEAD = "orders.billing.dead-letter"
NOW = "2026-11-30T12:00:00.000Z"


def stored(
    offset: int,
    source: int | None = None,
    *,
    topic: str = DEAD,
    partition: int = 0,
    source_partition: int | None = None,
    source_topic: str = "orders",
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    headers: Headers = (),
    message: str = "cannot",
    kind: str = "ValueError",
    failed_at: float = 1_700_000_000.0,
    lambda_name: str = "billing",
    group: str = "billing",
    version: str = "1.0",
) -> Stored:
    """A dead letter at this offset. ``source``: the offset of its record; by default the same."""
    failure = Failure(ErrorAction.CRITICAL, offset, "handler_failed", message, kind, "line 1\nline 2", version)
    came = TopicPartition(source_topic, partition if source_partition is None else source_partition)
    record = Record(offset if source is None else source, value, key, [], 1, 1_600_000_000_000)
    said = dict(added_headers(came, record, DeadLetter(failure, 1, 0.0, 0.0), lambda_name, group, 0.0))
    # The writer's times depend on its clock.
    said |= {
        f"__kafka_sidecar.errors.{name}.failure": instant(round(failed_at * 1000)).encode()
        for name in ("first", "last")
    }
    return Stored(Place(topic, partition, offset), 1_700_000_000_000, key, value, (*headers, *said.items()))


def letter(offset: int, source: int | None = None, **fields: object) -> Letter:
    """The letter of `stored`."""
    found = letter_of(stored(offset, source, **fields))  # type: ignore[arg-type]  # checked by `stored` itself
    assert found is not None
    return found


def mark(at: int, *places: Place) -> Stored:
    """The mark of replayed letters of one partition, at this offset."""
    [(topic, partition, value, headers)] = mark_records(places, NOW)
    return Stored(Place(topic, partition, at), 0, None, value, headers)


def contents(*records: Stored) -> Contents:
    """The contents of topics with these records."""
    made = Contents()
    for one in records:
        made.add(one)
        where = (one.place.topic, one.place.partition)
        made.ends[where] = max(made.ends.get(where, 0), one.place.offset + 1)
    return made
