"""What a record holds, which of it cannot be stored, and when two stored operations are one."""

from __future__ import annotations

import json
from typing import Any

import bson
import pytest

from examples.deli.javascript import Malformed
from examples.scriptorium.operations import LARGEST, operations_of, same
from tests.unit.scriptorium.shared import boxcar, nack, sequenced


def encoded(message: dict[str, Any]) -> bytes:
    (operation,) = operations_of(boxcar(message), 0)
    return operation.encoded


def test_only_sequenced_operations_count() -> None:
    found = operations_of(boxcar(nack(), sequenced(3), sequenced(4, "other")), 17)
    assert [(entry.document, entry.number, entry.offset) for entry in found] == [
        (("tenant", "doc"), 3, 17),
        (("tenant", "other"), 4, 17),
    ]
    assert operations_of(boxcar(nack()), 0) == []


def test_old_records_have_text_in_their_contents() -> None:
    value = json.dumps({"type": "boxcar", "contents": [json.dumps(sequenced(3))]}).encode()
    assert [entry.number for entry in operations_of(value, 0)] == [3]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no JSON",
        b"[]",
        b'{"type":"boxcar"}',
        boxcar({**sequenced(1), "tenantId": None}),
        boxcar({**sequenced(1), "documentId": 1}),
        boxcar({**sequenced(1), "operation": None}),
        boxcar(sequenced(1, sequenceNumber="1")),
        boxcar(sequenced(1, timestamp=None)),
        boxcar(sequenced(1, contents={"a\0b": 1})),
        boxcar(sequenced(1, contents="x" * LARGEST)),
        boxcar(sequenced(2**63)),
        boxcar(sequenced(1, timestamp=2**63)),
        boxcar(sequenced(1, timestamp=1e300)),
        boxcar(sequenced(1, contents="DEEP")).replace(b'"DEEP"', b"[" * 2_000 + b"]" * 2_000),
    ],
    ids=lambda value: None if value is None else value[:20].decode(),
)
def test_malformed(value: bytes | None) -> None:
    with pytest.raises(Malformed):
        operations_of(value, 0)


def test_a_date_that_python_has_not() -> None:
    ours = encoded(sequenced(1, timestamp=10**18))
    assert same(ours, encoded(sequenced(1, timestamp=10**18)))
    assert not same(ours, encoded(sequenced(1, timestamp=10**18 + 1)))


def test_traces_go_and_a_date_comes() -> None:
    stored = bson.decode(encoded(sequenced(3)))
    assert stored["operation"]["traces"] == []
    assert stored["mongoTimestamp"].timestamp() != 0
    assert [*stored][-1] == "mongoTimestamp"


def test_time_beyond_the_calendar_of_python() -> None:
    """JavaScript's dates end later than Python's, and a client's clock may say anything."""
    assert encoded(sequenced(3, timestamp=2**53))


@pytest.mark.parametrize(
    "later",
    [{"traces": []}, {"traces": [{"service": "x"}]}, {"additionalContent": "another state"}],
)
def test_what_a_replay_may_change(later: dict[str, Any]) -> None:
    assert same(encoded(sequenced(3, additionalContent="a state")), encoded(sequenced(3, **later)))


@pytest.mark.parametrize(
    "other",
    [{"contents": "else"}, {"clientId": "B"}, {"timestamp": 5}, {"type": "noop"}, {"metadata": {"batch": True}}],
)
def test_what_makes_another_operation(other: dict[str, Any]) -> None:
    assert not same(encoded(sequenced(3)), encoded(sequenced(3, **other)))
