"""A dead letter is what its headers say."""

import pytest

from sidecar.dead_letters.letter import (
    KEPT_MESSAGE,
    Headers,
    Place,
    Stored,
    added_text,
    letter_of,
    own_headers,
    source_time,
)
from sidecar.records import dead_letter_headers as names
from tests.unit.dead_letters.letters import DEAD, letter, stored

OWN: Headers = (("trace", b"1"), ("trace", None), ("__connect.errors.task.id", b"7"))


def test_the_headers_of_the_writer_are_understood() -> None:
    one = letter(17, 42, partition=3, message="größer\nthan 5", failed_at=1_700_000_001.5)
    assert one.place == Place(DEAD, 3, 17)
    assert one.source == Place("orders", 3, 42)
    assert str(one.place) == f"{DEAD}/3/17"
    assert (one.type, one.code, one.message, one.attempts) == ("ValueError", "handler_failed", "größer\nthan 5", 1)
    assert (one.first_ms, one.last_ms, one.written_ms) == (1_700_000_001_500, 1_700_000_001_500, 1_700_000_000_000)
    assert (one.lambda_name, one.version, one.group) == ("billing", "1.0", "billing")


def test_the_record_s_own_headers_and_its_time() -> None:
    one = stored(0, headers=OWN)
    assert own_headers(one.headers) == OWN
    assert source_time(one.headers) == (1_600_000_000_000, "create_time")
    assert added_text(one.headers, names.STACK) == "line 1\nline 2"
    assert source_time(OWN) == (None, "")


def test_a_long_message_is_cut_and_a_small_letter_takes_little_memory() -> None:
    assert len(letter(0, message="x" * 100_000).message) == KEPT_MESSAGE


def test_a_letter_of_kafka_connect_is_a_letter() -> None:
    """It has no time of its own: that of its writing counts."""
    headers = ((names.TOPIC, b"t"), (names.PARTITION, b"0"), (names.OFFSET, b"0"), (names.MESSAGE, b"no"))
    one = letter_of(Stored(Place("dlq", 0, 5), 77, None, None, headers))
    assert one is not None
    assert (one.source, one.message, one.last_ms, one.lambda_name) == (Place("t", 0, 0), "no", 77, "")


@pytest.mark.parametrize(
    "changed", [{names.TOPIC: b""}, {names.OFFSET: b"-1"}, {names.PARTITION: "٣".encode()}, {names.OFFSET: None}]
)
def test_without_the_place_of_its_record_it_is_no_letter(changed: dict[str, bytes | None]) -> None:
    one = stored(0)
    headers = tuple((name, changed.get(name, value)) for name, value in one.headers)
    assert letter_of(one._replace(headers=headers)) is None


@pytest.mark.parametrize("text", [b"yesterday", b"", None, b"\xff", b"9999-12-31T23:59:59-23:00"])
def test_a_time_that_cannot_be_read_is_that_of_the_writing(text: bytes | None) -> None:
    one = stored(0)
    headers = tuple((name, text if name == names.LAST_FAILURE else value) for name, value in one.headers)
    found = letter_of(one._replace(headers=headers))
    assert found is not None
    assert found.last_ms in {1_700_000_000_000, 253_402_383_599_000}


def test_the_digest_tells_records_apart() -> None:
    """Null is not empty, and bytes do not wander from one field to the next."""
    records = [
        stored(0, key=None, value=b""),
        stored(0, key=b"", value=None),
        stored(0, key=b"", value=b""),
        stored(0, key=b"a", value=b"b"),
        stored(0, key=b"ab", value=b""),
        stored(0, key=b"a", value=b"b", headers=(("h", None),)),
        stored(0, key=b"a", value=b"b", headers=(("h", b""),)),
        stored(0, key=b"a", value=b"b", headers=(("hh", b""),)),
    ]
    found = [letter_of(one) for one in records]
    assert len({one.digest for one in found if one is not None}) == len(records)
    again, other = letter(1, message="a"), letter(2, message="b")
    assert again.digest == other.digest, "why it failed does not matter"
