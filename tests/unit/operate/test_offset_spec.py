"""The forms of `seek --to`, valid and invalid."""

import time
from collections.abc import Iterator

import pytest

from sidecar.commands.offset_spec import OffsetSpec, parse_offset_spec

MOMENT = 1_795_529_100_000
"""2026-11-24T14:05:00Z"""


@pytest.fixture(autouse=True)
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A time zone other than UTC, in a form that needs no time zone database."""
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", OffsetSpec("offset", 0)),
        ("1234", OffsetSpec("offset", 1234)),
        ("9223372036854775807", OffsetSpec("offset", 2**63 - 1)),
        ("earliest", OffsetSpec("earliest")),
        ("latest", OffsetSpec("latest")),
        ("@1795529100000", OffsetSpec("timestamp", MOMENT)),
        ("@0", OffsetSpec("timestamp", 0)),
        ("2026-11-24T14:05:00Z", OffsetSpec("timestamp", MOMENT)),
        ("2026-11-24T15:05:00+01:00", OffsetSpec("timestamp", MOMENT)),
        ("2026-11-24T14:05:00.250Z", OffsetSpec("timestamp", MOMENT + 250)),
        ("2026-11-24 14:05Z", OffsetSpec("timestamp", MOMENT)),
        ("2026-11-24T09:05:00", OffsetSpec("timestamp", MOMENT)),  # local time
        ("2026-07-01T00:00", OffsetSpec("timestamp", 1_782_878_400_000)),  # ... in summer
        ("2026-11-24", OffsetSpec("timestamp", MOMENT - (9 * 60 + 5) * 60_000)),
    ],
)
def test_an_offset_spec_is_parsed(text: str, expected: OffsetSpec) -> None:
    assert parse_offset_spec(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not ''"),
        ("yesterday", "not 'yesterday'"),
        ("-1", "not '-1'"),
        ("1_000", "not '1_000'"),
        ("\u0663", "not '\u0663'"),
        ("@", "not '@'"),
        ("@-1", "not '@-1'"),
        ("2026-13-01T00:00:00Z", "not '2026-13-01T00:00:00Z'"),
        ("0001-01-01T00:00:00", "0001-01-01"),
        ("1969-12-31T23:59:59Z", "is before 1970"),
        ("@999999999999999999", "is after the year 9999"),
        ("9223372036854775808", "larger than any offset"),
    ],
)
def test_an_invalid_offset_spec_is_refused_with_all_forms(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="expected an offset") as caught:
        parse_offset_spec(text)
    for form in ("1234", "2026-11-24T14:05:00Z", "@1790000000000", "earliest", "latest"):
        assert form in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T09:05:00", "2026-11-24T14:05:00Z"),
        ("@1795529100007", "2026-11-24T14:05:00.007Z"),
        ("17", None),
        ("latest", None),
    ],
)
def test_the_timestamp_is_shown_in_utc(text: str, expected: str | None) -> None:
    assert parse_offset_spec(text).instant == expected
