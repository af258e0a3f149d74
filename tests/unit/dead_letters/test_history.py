"""The earlier failures of a replayed record come back with its next dead letter."""

import json

import pytest

from sidecar.dead_letters.exported import content_of
from sidecar.dead_letters.history import HEADER, MAX_FAILURES, History, history_header, history_of, without_history
from sidecar.dead_letters.letter import Headers, letter_of
from sidecar.producing.dead_letter_topic import HEADER_ROOM_BYTES
from sidecar.records.dead_letter_headers import own_headers
from tests.unit.dead_letters.letters import NOW, letter, stored


def replayed(headers: Headers, failures: int) -> Headers:
    """The headers of a record that has failed and was replayed so often."""
    for number in range(failures):
        failed = stored(number, number + 100, headers=headers, message=f"failure {number}", version=f"1.{number}")
        found = letter_of(failed)
        assert found is not None
        header = history_header(history_of(failed.headers), found, edited=number == 1, now=NOW)
        headers = (*content_of(failed).headers, header)
    return headers


def test_each_failure_is_kept_with_its_place_and_version_oldest_first() -> None:
    headers = replayed((("trace", b"1"),), 3)
    assert [name for name, _ in headers] == ["trace", HEADER], "one header, however often"
    history = history_of(headers)
    assert [(one["source"], one["message"], one["version"]) for one in history.failures] == [
        ("orders/0/100", "failure 0", "1.0"),
        ("orders/0/101", "failure 1", "1.1"),
        ("orders/0/102", "failure 2", "1.2"),
    ]
    assert history.edited, "somebody has changed it before its second replay"
    assert history.left_out == 0


def test_the_writer_of_dead_letters_keeps_the_header() -> None:
    headers = replayed((), 1)
    given = [(name.encode(), value) for name, value in headers]
    assert own_headers(given) == [*headers]


def test_the_newest_failures_are_kept_and_the_others_are_counted() -> None:
    history = history_of(replayed((), MAX_FAILURES + 5))
    assert [one["message"] for one in history.failures] == [f"failure {n}" for n in range(5, MAX_FAILURES + 5)]
    assert history.left_out == 5


def test_the_header_stays_within_the_room_that_a_dead_letter_has() -> None:
    long = letter(0, message="\x00😀" * 100_000, kind="\x00" * 10_000, version="\x00" * 10_000, lambda_name="x" * 249)
    header = history_header(History(), long, edited=False, now=NOW)
    for _ in range(MAX_FAILURES):
        header = history_header(history_of((header,)), long, edited=False, now=NOW)
    assert len(header[1]) < HEADER_ROOM_BYTES / 2


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff", b"{", b"[]", b"7", b'{"failures":1}', b'{"failures":[],"left_out":"x"}', b"[" * 99_999],
)
def test_a_header_that_cannot_be_read_counts_as_none(value: bytes | None) -> None:
    headers: Headers = ((HEADER, value), ("a", b"1"))
    assert history_of(headers) == History()
    assert without_history(headers) == (("a", b"1"),)
    assert json.loads(history_header(history_of(headers), letter(0), edited=False, now=NOW)[1])["left_out"] == 0
