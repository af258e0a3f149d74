"""What a dead letter says of its failure, what its topic is made with, and what its producer is made with."""

from datetime import UTC, datetime
from time import monotonic

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Producer

from sidecar.config.kafka_properties import lambda_producer_properties, producer_properties
from sidecar.partitions.vocabulary import DeadLetter, ErrorAction, Failure, TopicPartition
from sidecar.producing.dead_letter_topic import settings
from sidecar.producing.dead_letters import added_headers
from sidecar.records.dead_letter_headers import own_headers
from sidecar.records.records import Record

P7 = TopicPartition("orders", 7)
FAILURE = Failure(ErrorAction.CRITICAL, 42, "bad", "größer", "ValueError", "line 1\nline 2", "1.2.3")


def record(timestamp_type: int = TIMESTAMP_CREATE_TIME, timestamp: int = 1_577_836_800_000) -> Record:
    return Record(42, b"v", b"k", [], timestamp_type, timestamp)


RECORD = record()


def headers(letter: DeadLetter, now: float, of: Record = RECORD) -> dict[str, str]:
    pairs = added_headers(P7, of, letter, "deli", "deli-group", now)
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value.decode() for name, value in pairs}


def test_the_headers_say_what_failed_where_and_for_whom() -> None:
    assert (
        headers(DeadLetter(FAILURE, 3, 10.0, 20.0), 30.0).items()
        >= {
            "__connect.errors.topic": "orders",
            "__connect.errors.partition": "7",
            "__connect.errors.offset": "42",
            "__connect.errors.exception.class.name": "ValueError",
            "__connect.errors.exception.message": "größer",
            "__connect.errors.exception.stacktrace": "line 1\nline 2",
            "__kafka_sidecar.errors.code": "bad",
            "__kafka_sidecar.errors.attempts": "3",
            "__kafka_sidecar.errors.lambda": "deli",
            "__kafka_sidecar.errors.lambda.version": "1.2.3",
            "__kafka_sidecar.errors.group": "deli-group",
        }.items()
    )


def test_the_times_of_failures_are_wall_clock_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.producing.dead_letters.time", lambda: 1_700_000_030.25)
    found = headers(DeadLetter(FAILURE, 1, 10.0, 20.0), 30.0)
    assert found["__kafka_sidecar.errors.first.failure"] == "2023-11-14T22:13:30.250Z"
    assert found["__kafka_sidecar.errors.last.failure"] == "2023-11-14T22:13:40.250Z"


def test_headers_without_a_value_are_empty_and_not_missing() -> None:
    began, now = datetime.now(UTC), monotonic()
    found = headers(DeadLetter(Failure(ErrorAction.CRITICAL), 1, now, now), now)
    assert found["__connect.errors.exception.message"] == ""
    assert found["__kafka_sidecar.errors.lambda.version"] == ""
    assert found["__kafka_sidecar.errors.last.failure"][:4] >= str(began.year)


@pytest.mark.parametrize(
    ("timestamp_type", "timestamp", "texts"),
    [
        (TIMESTAMP_CREATE_TIME, 1_577_836_800_123, ("1577836800123", "create_time")),
        (TIMESTAMP_CREATE_TIME, 0, ("0", "create_time")),
        (TIMESTAMP_LOG_APPEND_TIME, 7, ("7", "log_append_time")),
        (TIMESTAMP_NOT_AVAILABLE, -1, ("", "")),
    ],
)
def test_the_headers_keep_the_records_timestamp(timestamp_type: int, timestamp: int, texts: tuple[str, str]) -> None:
    """Not as the letter's timestamp, by which it would be deleted."""
    found = headers(DeadLetter(FAILURE, 1, 10.0, 20.0), 30.0, record(timestamp_type, timestamp))
    assert (found[f"{OURS}timestamp"], found[f"{OURS}timestamp.type"]) == texts


# --- written back, and failed again -------------------------------------------------------------------------------

OURS = "__kafka_sidecar.errors."


def test_headers_of_an_earlier_dead_letter_are_replaced() -> None:
    """However often, in whatever case, and with all that somebody has added."""
    own: list[tuple[bytes, bytes | None]] = [
        (b"a", b"1"),
        (b"a", b"1"),
        (b"A", None),
        (b"__connect.errors.task.id", b"Connect's own"),
        (b"my.__kafka_sidecar.errors.code", b"mine"),
        (b"", b""),
    ]
    added = added_headers(P7, RECORD, DeadLetter(FAILURE, 1, 10.0, 20.0), "deli", "g", 30.0)
    ours: list[tuple[bytes, bytes | None]] = [(name.encode(), value) for name, value in added]
    changed = [(name.upper(), value) for name, value in ours]
    later = [(b"__kafka_sidecar.errors.of.a.later.version", b"")]
    mixed = [*ours, own[0], *changed, *own[1:3], *ours, *later, *own[3:]]
    assert own_headers(mixed) == [(name.decode(), value) for name, value in own]


@pytest.mark.parametrize("name", [b"a\0b", b"\xff"])
def test_a_header_name_that_cannot_be_written_is_refused(name: bytes) -> None:
    """The binding would cut it at the NUL: that is not the record any more."""
    with pytest.raises(ValueError, match="a header name"):
        own_headers([(b"good", b""), (name, b"")])
    assert own_headers([(OURS.encode() + name, b"")]) == []


# --- its topic ----------------------------------------------------------------------------------------------------

WEEK = 7 * 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("source", "broker", "retention"),
    [
        ({"retention.ms": "1000"}, {}, WEEK),
        ({"retention.ms": str(WEEK + 1)}, {}, WEEK + 1),
        ({"retention.ms": "-1"}, {"log.retention.ms": "1"}, -1),
        ({"retention.ms": "0"}, {}, WEEK),
        ({}, {}, WEEK),
        ({}, {"log.retention.hours": "168"}, WEEK),
        ({}, {"log.retention.hours": "169"}, WEEK + 3_600_000),
        ({}, {"log.retention.minutes": "20000", "log.retention.hours": "169"}, 20_000 * 60_000),
        ({}, {"log.retention.ms": "-1", "log.retention.hours": "1"}, -1),
        ({}, {"log.retention.minutes": "-1"}, -1),
        ({"retention.ms": "nonsense"}, {}, WEEK),
    ],
)
def test_dead_letters_are_kept_as_long_as_their_records_and_at_least_a_week(
    source: dict[str, str], broker: dict[str, str], retention: int
) -> None:
    made = settings(source, broker)
    assert int(made["retention.ms"]) == retention
    assert made["cleanup.policy"] == "delete"
    assert made["retention.bytes"] == "-1"


@pytest.mark.parametrize(
    ("source", "largest"),
    [({}, None), ({"max.message.bytes": "1000"}, "66536"), ({"max.message.bytes": str(2**31 - 1)}, str(2**31 - 1))],
)
def test_the_largest_record_still_fits(source: dict[str, str], largest: str | None) -> None:
    assert settings(source, {}).get("max.message.bytes") == largest


# --- its producer -----------------------------------------------------------------------------------------------

SHARED = {
    "bootstrap.servers": "kafka:9092",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "me",
    "sasl.password": "secret",
    "socket.keepalive.enable": "true",
    "client.id": "mine",
    "metadata.max.age.ms": "1000",
}
CONSUMERS = {
    "group.protocol": "consumer",
    "session.timeout.ms": "6000",
    "fetch.min.bytes": "1",
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "range",
    "max.poll.interval.ms": "60000",
    "group.instance.id": "one",
    "topic.blacklist": "x",
}


def test_only_properties_that_consumers_and_producers_share_go_to_the_producer() -> None:
    made = producer_properties({**SHARED, **CONSUMERS})
    assert made.items() >= SHARED.items()
    assert not made.keys() & CONSUMERS.keys()
    assert made["enable.idempotence"] is True


def test_the_embedded_brokers_address_takes_the_place_of_its_name() -> None:
    made = producer_properties({"bootstrap.servers": "embedded"}, "127.0.0.1:1234")
    assert made["bootstrap.servers"] == "127.0.0.1:1234"
    assert made["client.id"] == "kafka-sidecar"


@pytest.mark.parametrize("asked", [None, "true", "false"])
def test_no_topic_is_made_by_a_write_unless_somebody_asks_for_it(asked: str | None) -> None:
    """And dead letters never do: their topic is made before."""
    kafka = SHARED if asked is None else {**SHARED, "allow.auto.create.topics": asked}
    assert producer_properties(kafka)["allow.auto.create.topics"] is False
    assert lambda_producer_properties(kafka)["allow.auto.create.topics"] == (False if asked is None else asked)


def test_librdkafka_takes_the_producers_properties() -> None:
    # Log level 0: that nobody listens there is no news.
    made = producer_properties({"bootstrap.servers": "127.0.0.1:1", "log_level": "0", **CONSUMERS})
    assert isinstance(Producer(made), Producer)  # a name that is not a producer's would raise
