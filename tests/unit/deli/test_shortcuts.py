"""What is written out because every operation needs it is the same as the plain way."""

import json
import zlib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from examples.deli.clients import Client, Clients
from examples.deli.javascript import Malformed, encode, parse, stringify, stringify_some
from examples.deli.state import State, next_hash
from examples.deli.timers import Timers

TEXTS = st.text(st.characters() | st.sampled_from(["\ud800", "\udfff", '"', "\\", "\x00", "\u2028"]))
NUMBERS = st.integers() | st.integers(-(2**53) - 2, 2**53 + 2) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS | st.sampled_from(["0", "10", "01", ""]), inner),
    max_leaves=10,
)


def distinct(kind: Any) -> Any:
    """A value whose fields all differ, from each other and from the defaults."""
    return kind(*range(100, 100 + len(fields(kind))))


def test_a_state_changes_in_one_step_of_an_operation_alone() -> None:
    state, clients = distinct(State), Clients()
    assert state.handling(1) == replace(state, log_offset=1)
    numbered = replace(state, sequence_number=1, minimum_sequence_number=2, clients=clients)
    assert state.numbered(1, 2, clients) == numbered
    assert state.told("1", 2) == replace(state, last_hash="1", last_sent_msn=2)


def test_a_client_that_is_heard() -> None:
    client = distinct(Client)
    changes = {"client_sequence_number": 1, "reference_sequence_number": 2, "last_update": 3, "nack": False}
    heard = replace(client, **changes)
    assert client.heard(1, 2, 3) == heard
    table = Clients().put(replace(client, client_id="A"))
    assert table.heard("A", 1, 2, 3) == table.touch("A", **changes)


def test_timers_after_a_record() -> None:
    timers = distinct(Timers)
    assert timers.handled(1, 2) == replace(timers, activity=1, checkpoint=2)
    assert timers.handled(None, None) == replace(timers, activity=None, checkpoint=None)


def plainly_parsed(text: str | bytes) -> Any:
    """As `json.loads` does it, but for the constants that are no JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return Malformed


def parsed(text: str | bytes) -> Any:
    try:
        return parse(text)
    except Malformed:
        return Malformed


@given(
    VALUES,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]),
    st.booleans(),
    st.sampled_from(["", " ", "\n\t", "\ufeff", "\x00", "}", "1"]),
    st.sampled_from(["", " ", "\r\n", "\x00", "]", "1"]),
)
def test_what_is_parsed(value: Any, encoding: str, as_ascii: bool, before: str, behind: str) -> None:
    text = f"{before}{json.dumps(value, ensure_ascii=as_ascii)}{behind}"
    assert repr(parsed(text)) == repr(plainly_parsed(text))
    as_bytes = text.encode(encoding, "surrogatepass")
    assert repr(parsed(as_bytes)) == repr(plainly_parsed(as_bytes))


@given(st.binary() | st.binary().map(lambda some: b'{"a": "' + some + b'"}') | st.text())
@example(b"1\x00")
@example(b"\x001")
@example(b'"\xed\xa0\x80"')
@example(b"[NaN]")
@example("-Infinity")
def test_what_is_no_json(text: str | bytes) -> None:
    assert repr(parsed(text)) == repr(plainly_parsed(text))


@given(VALUES)
def test_what_is_encoded(value: Any) -> None:
    assert repr(json.loads(encode(value))) == repr(json.loads(json.dumps(value)))


def test_a_number_beyond_all_doubles_is_null() -> None:
    assert encode([1e999]) == b"[null]"
    assert encode([1e999, "\ud800"]) == b'[null,"\\ud800"]'


@pytest.mark.parametrize("depth", [250, 260, 500, 900])
def test_what_is_nested_is_encoded(depth: int) -> None:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    assert encode(value) == b"[" * (depth + 1) + b"]" * (depth + 1)


HASHED = (
    *("clientId", "sequenceNumber", "minimumSequenceNumber", "clientSequenceNumber", "referenceSequenceNumber"),
    *("type", "timestamp", "data"),
)


def _some(value: Any) -> Any:
    """What JSON.stringify writes of a value, given these names: of each object, also of those within, only these."""
    if isinstance(value, list):
        return [*map(_some, value)]
    return {name: _some(value[name]) for name in HASHED if name in value} if isinstance(value, dict) else value


# What a message mostly has there, so that both ways of writing it are taken.
PLAIN = TEXTS | st.integers(-(2**53) - 2, 2**53 + 2) | st.none() | st.booleans()


@given(st.dictionaries(st.sampled_from(HASHED), PLAIN))
@example({"clientId": '\x00\x1f\x7f\b\f\n\r\t"\\/\u2028\u2029é😀'})
def test_plain_members_are_written_as_all_others(message: dict[str, Any]) -> None:
    assert stringify_some(message, HASHED) == stringify(_some(message)).encode()


@given(st.dictionaries(st.sampled_from([*HASHED, "contents"]), VALUES), st.integers(-(2**31), 2**31 - 1))
def test_what_is_hashed(message: dict[str, Any], last: int) -> None:
    text = stringify(_some(message))
    assert stringify_some(message, HASHED) == text.encode()
    crc = zlib.crc32(text.encode(), last & 0xFFFFFFFF)
    assert int(next_hash(message, f"{last:x}"), 16) & 0xFFFFFFFF == crc


def test_of_objects_in_it_only_the_same_members_are_hashed() -> None:
    """Hashes of the published sequencer for what a client may send as its type."""
    assert stringify_some({"type": {"a": 1, "data": [2, {"type": 3, "b": 4}], "clientId": None}}, HASHED) == (
        b'{"type":{"clientId":null,"data":[2,{"type":3}]}}'
    )
