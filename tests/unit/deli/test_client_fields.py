"""What a client writes into its own message: it is sequenced, refused or dropped, and no document ends by it."""

import json
import math
from typing import Any

import pytest

from examples.deli import Malformed, Record, parse_boxcar
from examples.deli.javascript import DEEPEST, number, parse, truthy
from tests.unit.deli.shared import NOW, Json, control, join, leave, op, raw, sequencer
from tests.unit.deli.test_rules import Feeder, deltas, refusals
from tests.unit.deli.world import value_of

ABSENT = object()


def operation(field: str, value: Any, **extra: Any) -> Json:
    """An operation of A with this in a field of its own."""
    message = op("A", 1, 0, **extra)
    if value is ABSENT:
        message["operation"].pop(field, None)
    else:
        message["operation"][field] = value
    return message


def deep(levels: int, inner: str = "1") -> str:
    """Arrays and objects in turn."""
    opened = "".join('{"k":' if level % 2 else "[" for level in range(levels))
    return opened + inner + "".join("}" if level % 2 else "]" for level in reversed(range(levels)))


def record(offset: int, message: Json, **texts: str) -> Record:
    """The record whose bytes have these texts in the place of the words in capitals."""
    value = value_of("d1", message).decode()
    for word, text in texts.items():
        value = value.replace(f'"{word}"', text)
    return Record(offset, parse_boxcar(value))


@pytest.mark.parametrize("type_", [ABSENT, None, 5, True, [], ["noop"], {"type": "op"}, "", "constructor"])
def test_a_type_that_is_none_is_sequenced_as_all_others(type_: Any) -> None:
    feed = Feeder(signals=True)
    assert refusals(feed(operation("type", type_))) == [(400, "Nonexistent client")]
    feed(join("A"))
    [message] = deltas(feed(operation("type", type_)))
    assert message["operation"]["sequenceNumber"] == 2
    assert message["operation"].get("type", ABSENT) == type_


@pytest.mark.parametrize("value", [None, 5, "op", [], [1]])
def test_an_operation_that_is_no_object_is_refused(value: Any) -> None:
    feed = Feeder()
    feed(join("A"))
    message = {**op("A", 1, 0), "operation": value}
    [nack] = deltas(feed(message))
    assert (nack["operation"]["content"]["code"], nack["operation"]["operation"]) == (400, value)
    assert refusals(feed({**message, "clientId": "B"})) == [(400, "Op is no object")]
    assert deltas(feed(op("A", 1, 0)))[0]["type"] == "SequencedOperation"


@pytest.mark.parametrize("timestamp", [ABSENT, None, "1", 1.5])
def test_an_operation_without_a_time_is_refused(timestamp: Any) -> None:
    feed = Feeder()
    feed(join("A"))
    message = op("A", 1, 0)
    del message["timestamp"]
    if timestamp is not ABSENT:
        message["timestamp"] = timestamp
    assert refusals(feed(message)) == [(400, "Op without a timestamp")]


@pytest.mark.parametrize(
    ("sent", "is_gap"),
    [
        *((2.5, True), ("7", True), (" 7 ", True), ("0x9", True), ([7], True), ([["7"]], True), (1e999, True)),
        *((1.0, None), (0.5, False), ("1", False), (True, False), (None, False), (ABSENT, False), ("x", False)),
        *(([], False), ([7, 8], False), ({}, False), ([True], False), ("", False), ("1_0", False), (2, True)),
        (10**400, True),
    ],
)
def test_a_number_of_its_own_is_compared_as_javascript_does(sent: Any, is_gap: bool | None) -> None:
    feed = Feeder()
    feed(join("A"))
    outputs = feed(operation("clientSequenceNumber", sent))
    if is_gap is None:
        assert deltas(outputs)[0]["type"] == "SequencedOperation"
    else:
        assert refusals(outputs) == ([(400, "Gap detected in incoming op")] if is_gap else [])
        assert deltas(feed(op("A", 1, 0)))[0]["type"] == "SequencedOperation"


def test_a_reference_that_is_no_number_is_not_told_at_length() -> None:
    feed = Feeder()
    feed(join("A"))
    [(code, message)] = refusals(feed(operation("referenceSequenceNumber", "x" * 10_000)))
    assert code == 400
    assert len(message) < 100
    feed(join("A"))
    reference = json.loads(deep(400))
    [(code, message)] = refusals(feed(operation("referenceSequenceNumber", reference)))
    assert (code, len(message) < 100) == (400, True)


@pytest.mark.parametrize("levels", [100, 254, 255, 400, DEEPEST - 5])
@pytest.mark.parametrize("inner", ["1", '[1e999,"\\ud800"]', '{"b":123456789012345678901234567890}'])
def test_what_is_nested_deep_is_sequenced(levels: int, inner: str) -> None:
    sequencer_ = sequencer()
    sequencer_.feed(record(0, join("A")), NOW)
    [message] = deltas(sequencer_.feed(record(1, op("A", 1, 0, contents="DEEP"), DEEP=deep(levels, inner)), NOW))
    assert message["operation"]["contents"] == parse(deep(levels, inner))


@pytest.mark.parametrize("levels", [DEEPEST, 970, 978, 5_000, 200_000])
@pytest.mark.parametrize("field", ["contents", "metadata", "type", "traces", "referenceSequenceNumber", "another"])
def test_what_is_nested_too_deeply_is_refused(levels: int, field: str) -> None:
    sequencer_ = sequencer()
    sequencer_.feed(record(0, join("A")), NOW)
    outputs = sequencer_.feed(record(1, operation(field, "DEEP"), DEEP=deep(levels)), NOW)
    assert refusals(outputs) == [(400, "Op is nested too deeply")]
    [message] = deltas(sequencer_.feed(record(2, op("A", 1, 0)), NOW))
    assert message["operation"]["sequenceNumber"] == 2


def test_only_the_message_that_is_too_deep_is_refused() -> None:
    sequencer_ = sequencer()
    messages = [join("A"), op("A", 1, 0), op("A", 2, 0, contents="DEEP"), op("B", 1, 0), op("A", 2, 0)]
    value = value_of("d1", *messages).decode().replace('"DEEP"', deep(2_000))
    outputs = sequencer_.feed(Record(0, parse_boxcar(value)), NOW)
    assert [message["operation"].get("sequenceNumber") for message in deltas(outputs)] == [1, 2, 0, 0, 3]


@pytest.mark.parametrize("reference", [10**309, -(10**309), 1e999])
def test_a_reference_beyond_all_doubles_is_no_number(reference: Any) -> None:
    """The minimum would be one that no client can read."""
    feed = Feeder()
    feed(join("A"))
    assert [code for code, _ in refusals(feed(operation("referenceSequenceNumber", reference)))] == [400]
    assert feed.state.minimum_sequence_number == 0


def test_a_join_whose_detail_is_nested_deep_joins() -> None:
    """A client writes its own detail, and its join has no client that could be refused."""
    feed = Feeder(signals=True)
    data = '{"clientId":"A","detail":{"mode":"write","scopes":[],"details":DEEP}}'.replace("DEEP", deep(2_000))
    [message] = deltas(feed(raw(None, "join", data=data)))
    assert json.loads(message["operation"]["data"])["clientId"] == "A"
    assert deltas(feed(op("A", 1, 0)))[0]["type"] == "SequencedOperation"


@pytest.mark.parametrize("digits", ["9" * 400, "9" * 5_000, "-" + "9" * 5_000, "1" + "0" * 400 + ".5"])
def test_a_number_of_very_many_digits(digits: str) -> None:
    """Python refuses to read it; JavaScript takes it for infinite."""
    sequencer_ = sequencer()
    sequencer_.feed(record(0, join("A")), NOW)
    outputs = sequencer_.feed(record(1, op("A", 1, 0, contents="DIGITS"), DIGITS=digits), NOW)
    assert deltas(outputs)[0]["operation"]["sequenceNumber"] == 2


@pytest.mark.parametrize("metadata", [{}, 0, None, False, "", [], {"x": 1}])
def test_server_metadata_is_stored_as_it_is(metadata: Any) -> None:
    feed = Feeder(clientTimeout=10)
    feed(join("A", serverMetadata=metadata))
    stored = feed.state.to_json(0)["clients"][0]
    assert stored["serverMetadata"] == metadata
    assert "serverMetadata" in deltas(Feeder()(join("A", serverMetadata=metadata)))[0]["operation"]
    feed(join("A", serverMetadata={"x": 2}))
    feed(join("A", serverMetadata=metadata))
    counts = isinstance(metadata, dict | list) or bool(metadata)
    assert feed.state.to_json(0)["clients"][0]["serverMetadata"] == (metadata if counts else {"x": 2})


def test_no_server_metadata_is_none() -> None:
    feed = Feeder()
    feed(join("A"))
    assert "serverMetadata" not in feed.state.to_json(0)["clients"][0]


@pytest.mark.parametrize("type_", ["summaryAck", "summaryNack"])
@pytest.mark.parametrize(("data", "kept"), [("null", True), ("0", True), ("", False), (None, False)])
def test_data_that_is_null_is_kept(type_: str, data: Any, kept: bool) -> None:
    [message] = deltas(Feeder()(raw(None, type_, data=data)))
    assert message["operation"].get("data") == (data if kept else None)
    assert ("data" in message["operation"]) is kept


@pytest.mark.parametrize("content", [{}, 5, "x", [], {"code": None}, {"retryAfter": None}])
def test_nack_messages_without_words_refuse_all_the_same(content: Any) -> None:
    feed = Feeder()
    feed(join("A"))
    feed(control("nackMessages", {"identifier": "x", "content": content}))
    [nack] = deltas(feed(op("A", 1, 0)))
    assert nack["operation"]["content"] == (content if isinstance(content, dict) else {})


@pytest.mark.parametrize("scopes", [5, "summary:write", None, {}, True])
def test_scopes_that_are_no_list_are_none(scopes: Any) -> None:
    feed = Feeder()
    data = json.dumps({"clientId": "A", "detail": {"mode": "write", "scopes": scopes}})
    assert len(deltas(feed(raw(None, "join", data=data)))) == 1
    assert [code for code, _ in refusals(feed(raw("A", "summarize", 1, 0)))] == [403]


@pytest.mark.parametrize(
    "contents",
    [{"clientIds": 5}, {"clientIds": {"A": 1}}, {"clientIds": True}],
)
def test_an_extension_of_no_list(contents: Json) -> None:
    feed = Feeder(signals=True)
    feed(join("A", mode="read"))
    with pytest.raises(Malformed, match="clientIds"):
        feed(control("extendClient", contents))


@pytest.mark.parametrize("kind", [None, 5, [], {}, ["updateDSN"]])
def test_a_control_message_of_an_odd_type_is_an_event(kind: Any) -> None:
    feed = Feeder()
    assert [output.name for output in feed(control(kind, {})) if hasattr(output, "name")] == ["controlMessage"]


@pytest.mark.parametrize("scopes", [5, True, {"a": 1}])
def test_nack_messages_with_scopes_that_are_no_list_are_found_out_at_once(scopes: Any) -> None:
    """Else the next message of some client would be the one that cannot be handled."""
    feed = Feeder()
    with pytest.raises(Malformed, match="allowedScopes"):
        feed(control("nackMessages", {"identifier": "x", "content": {"code": 1}, "allowedScopes": scopes}))


def test_the_announced_leave_of_a_client_with_an_odd_mode() -> None:
    feed = Feeder(signals=True, enableWriteClientSignals=True)
    data = '{"clientId":"A","detail":{"mode":DEEP}}'.replace("DEEP", deep(450))
    assert len(deltas(feed(raw(None, "join", data=data)))) == 1
    assert len(deltas(feed(leave("A")))) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0, False), (-0.0, False), ("", False), ("0", True), ([], True), ({}, True), (None, False)],
)
def test_truthy(value: Any, expected: bool) -> None:
    assert truthy(value) is expected


def test_number() -> None:
    assert (number("0b11"), number("0o17"), number(" +1.5e1 "), number("-Infinity")) == (3, 15, 15, float("-inf"))
    assert number("9" * 5_000) == number("0x" + "f" * 5_000) == float("inf")
    assert number(json.loads(deep(0, '"4"'))) == 4
    none: list[Any] = ["1 2", "1_0", "\u0661", "--1", "0x", [False], {}, ["x"]]
    assert all(map(math.isnan, map(number, none)))
