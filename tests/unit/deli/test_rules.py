"""Rules of which no captured scenario speaks: numbers, nacks, noops, control messages and signals."""

import json
from typing import Any

import pytest

from examples.deli import (
    Checkpoint,
    Deltas,
    Event,
    Malformed,
    Output,
    RawDeltas,
    Record,
    Sequencer,
    Signal,
    State,
    parse_boxcar,
)
from examples.deli.boxcar import Boxcar, encode_boxcar
from tests.unit.deli.shared import NOW, Json, control, join, leave, op, raw, record, sequencer


class Feeder:
    """Feeds messages, one record each."""

    def __init__(self, **settings: Any) -> None:
        self.sequencer: Sequencer = sequencer(**settings)
        self.offset = -1

    @property
    def state(self) -> State:
        return self.sequencer.session.state

    def __call__(self, *messages: Json) -> list[Output]:
        self.offset += 1
        return self.sequencer.feed(record(self.offset, *messages), NOW)


def deltas(outputs: list[Output]) -> list[Json]:
    return [message for output in outputs if isinstance(output, Deltas) for message in output.messages]


def refusals(outputs: list[Output]) -> list[tuple[int, str]]:
    nacks = [message["operation"]["content"] for message in deltas(outputs) if message["type"] == "Nack"]
    return [(content["code"], content["message"]) for content in nacks]


def loop(outputs: list[Output]) -> list[str]:
    return [output.message["operation"]["type"] for output in outputs if isinstance(output, RawDeltas)]


def test_entries_of_other_types_are_ignored() -> None:
    feed = Feeder()
    assert deltas(feed({"type": "Integrate"}, {**join("A"), "type": "Other"})) == []
    assert feed.state.log_offset == 0


def test_an_empty_or_odd_boxcar_moves_the_log_offset() -> None:
    feed = Feeder()
    feed()
    assert feed.state.log_offset == 0


@pytest.mark.parametrize("type_", ["join", "leave", "control", "noClient", "summaryAck", "summaryNack"])
def test_a_client_cannot_speak_for_the_service(type_: str) -> None:
    feed = Feeder()
    feed(join("A"))
    before = feed.state
    assert refusals(feed(raw("A", type_, 1, 0, data="{oops"))) == [(400, "Op not allowed")]
    assert feed.state.clients == before.clients
    # Before it is looked at whether the client exists, but after its order.
    assert refusals(feed(raw("B", type_, 1, 0))) == [(400, "Op not allowed")]
    assert refusals(feed(raw("A", type_, 5, 0))) == [(400, "Gap detected in incoming op")]
    assert deltas(feed(raw("A", type_, 0, 0))) == []


def test_a_reference_that_is_none_is_refused() -> None:
    feed = Feeder()
    feed(join("A"))
    message = op("A", 1, 0)
    del message["operation"]["referenceSequenceNumber"]
    assert refusals(feed(message)) == [(400, "Refseq None < 0")]
    assert refusals(feed(op("A", 2, 0))) == [(400, "Nonexistent client")]


def test_a_message_without_a_session_refers_to_its_own_number() -> None:
    feed = Feeder()
    feed(join("A"))
    [message] = deltas(feed(op("A", 1, -1)))
    assert message["operation"]["referenceSequenceNumber"] == message["operation"]["sequenceNumber"] == 2


def test_null_contents_and_none_differ_in_a_noop() -> None:
    cases: list[tuple[Json, bool]] = [({}, False), ({"contents": ""}, True), ({"contents": 0}, True)]
    for extra, sent in cases:
        feed = Feeder()
        feed(join("A"))
        assert bool(deltas(feed(raw("A", "noop", 1, 1, **extra)))) is sent
    feed = Feeder()
    feed(join("A"))
    message = raw("A", "noop", 1, 1)
    del message["operation"]["contents"]
    [sent_message] = deltas(feed(message))
    assert "contents" not in sent_message["operation"]


def test_every_no_client_is_sequenced_while_nobody_is_there() -> None:
    feed = Feeder()
    feed(join("A"))
    assert loop(feed(leave("A"))) == ["noClient"]
    for number in (3, 4):
        outputs = feed(raw(None, "noClient"))
        [message] = deltas(outputs)
        operation = message["operation"]
        assert {operation[name] for name in operation if name.lower().endswith("sequencenumber")} == {number, -1}
        assert json.loads(operation["additionalContent"])["sequenceNumber"] == number
        assert loop(outputs) == []


def test_metadata_and_compression_pass_through() -> None:
    feed = Feeder()
    feed(join("A"))
    extra: Json = {"metadata": {"batch": True}, "compression": "lz4", "serverMetadata": {"x": 1}}
    [message] = deltas(feed(op("A", 1, 0, **extra)))
    assert message["operation"].items() >= extra.items()


def test_one_boxcar_goes_out_in_one() -> None:
    feed = Feeder(maintainBatches=True)
    outputs = feed(join("A"), op("A", 1, 0), op("A", 3, 0), op("A", 2, 0))
    [batch] = [output for output in outputs if isinstance(output, Deltas)]
    assert [message["type"] for message in batch.messages] == [
        *["SequencedOperation"] * 2,
        "Nack",
        "SequencedOperation",
    ]


def test_nacks_without_an_exception_for_the_service_hold_back_even_their_end() -> None:
    feed = Feeder()
    feed(join("A"))
    content = {"code": 503, "type": "ThrottlingError", "message": "closed"}
    feed(control("nackMessages", {"identifier": "x", "content": content}))
    assert deltas(feed(join("B"))) == []
    assert deltas(feed(leave("A"))) == []
    assert refusals(feed(op("A", 1, 0))) == [(503, "closed")]
    feed(control("nackMessages", {"identifier": "x"}))
    assert refusals(feed(op("A", 1, 0))) == [(503, "closed")]
    assert [*State.from_json(feed.state.to_json(0)).nack_messages] == ["x"]


def test_nacks_can_be_off_altogether() -> None:
    feed = Feeder(enableNackMessages=False)
    feed(join("A"))
    feed(control("nackMessages", {"identifier": "x", "content": {"code": 503, "type": "T", "message": "m"}}))
    assert refusals(feed(op("A", 1, 0))) == []


def test_an_unknown_control_message_is_an_event() -> None:
    outputs = Feeder()(control("lambdaStartResult", {"lambdaName": "Scribe"}))
    assert Event("controlMessage", {"type": "lambdaStartResult", "contents": {"lambdaName": "Scribe"}}) in outputs
    assert deltas(outputs) == []


@pytest.mark.parametrize(
    "message",
    [
        raw(None, "join"),
        raw(None, "join", data="null"),
        raw(None, "join", data='{"clientId":"A"}'),
        raw(None, "join", data='{"clientId":"","detail":{}}'),
        raw(None, "leave", data="{"),
        raw(None, "leave", data=5),
        raw(None, "summaryAck", data="{"),
        raw(None, "control"),
        raw(None, "control", data='{"type":"updateDSN"}'),
        raw(None, "control", data='{"type":"updateDSN","contents":{}}'),
        raw(None, "control", data='{"type":"nackMessages","contents":{}}'),
        raw(None, "control", data='{"type":"nackMessages","contents":{"identifier":"x","content":null}}'),
        {"type": "RawOperation"},
        {"type": "RawOperation", "operation": {"type": "op"}},
        {**op("A", 1, 0), "clientId": 5},
    ],
)
def test_nothing_of_a_malformed_record_is_done(message: Json) -> None:
    feed = Feeder()
    feed(join("A"))
    before = feed.sequencer.session
    with pytest.raises(Malformed):
        feed(op("A", 1, 0), message)
    assert feed.sequencer.session is before


def test_a_leave_of_nobody_is_dropped() -> None:
    feed = Feeder()
    for data in (None, "null", "5", '{"clientId":"A"}', '"A"'):
        assert deltas(feed(raw(None, "leave", data=data))) == []
    assert feed.state.sequence_number == 0


def test_write_clients_are_announced_where_that_is_asked_for() -> None:
    feed = Feeder(signals=True)
    assert not [o for o in feed(join("A")) if isinstance(o, Signal)]
    outputs = feed(join("B", serverMetadata={"createSignal": True}))
    [signal] = [output.message["operation"] for output in outputs if isinstance(output, Signal)]
    assert (signal["referenceSequenceNumber"], signal["clientConnectionNumber"]) == (1, 1)
    assert json.loads(signal["content"])["content"]["clientId"] == "B"
    feed = Feeder(signals=True, enableWriteClientSignals=True)
    feed(join("A"))
    [signal] = [output.message["operation"] for output in feed(leave("A")) if isinstance(output, Signal)]
    assert signal == {
        "clientId": None,
        "content": '{"type":"leave","content":"A"}',
        "referenceSequenceNumber": 1,
        "clientConnectionNumber": 2,
    }


def test_an_evicted_client_keeps_its_metadata_in_its_leave() -> None:
    feed = Feeder(clientTimeout=10)
    feed(join("A", serverMetadata={"x": 1}))
    outputs = feed(join("B", timestamp=11))
    [message] = [output.message["operation"] for output in outputs if isinstance(output, RawDeltas)]
    assert (message["type"], message["data"], message["serverMetadata"]) == ("leave", '"A"', {"x": 1})
    feed(join("D", timestamp=11))
    assert loop(feed(leave("D", timestamp=12))) == [], "leaves bring about none"
    assert loop(feed(op("B", 1, 0, timestamp=12))) == ["leave"], "again, until it has come back"
    assert loop(feed(leave("C", timestamp=13))) == []
    assert loop(feed(leave("A", timestamp=14))) == []
    assert loop(feed(op("B", 2, 0, timestamp=21))) == []


def test_a_summary_ack_moves_the_durable_number_only_where_that_is_set() -> None:
    data = json.dumps({"handle": "h", "summaryProposal": {"summarySequenceNumber": 1}})
    for settings, durable in [({}, 0), ({"enableAutoDSNUpdate": True}, 1)]:
        feed = Feeder(**settings)
        feed(join("A"))
        [message] = deltas(feed(raw(None, "summaryAck", data=data)))
        assert json.loads(message["operation"]["data"]) == json.loads(data)
        assert feed.state.durable_sequence_number == durable


def test_a_boxcar_in_its_forms() -> None:
    message = join("A")
    whole = encode_boxcar([message], "t1", "d1")
    assert json.loads(whole).keys() == {"contents", "documentId", "tenantId", "type"}
    assert parse_boxcar(whole) == Boxcar((message,), "t1", "d1")
    old = json.dumps({"type": "boxcar", "tenantId": "t1", "documentId": "d1", "contents": [json.dumps(message)]})
    assert parse_boxcar(old) == Boxcar((message,), "t1", "d1")
    assert parse_boxcar(json.dumps(message)) == Boxcar((message,), "t1", "d1")
    for wrong in (b"", b"{", b"5", b"[]", b'{"type":"boxcar"}', b'{"type":"boxcar","contents":["{"]}'):
        with pytest.raises(Malformed):
            parse_boxcar(wrong)


def test_the_input_is_never_changed() -> None:
    feed = Feeder(enableLeaveOpNoClientServerMetadata=True)
    traces = [{"service": "a", "action": "start", "timestamp": 1}] * 2
    messages = [join("A"), op("A", 1, -1, traces=traces), leave("A")]
    copy = json.loads(json.dumps(messages))
    for message in messages:
        feed(message)
    assert messages == copy


def test_a_record_read_twice_gives_nothing() -> None:
    feed = Feeder()
    feed(join("A"))
    again = Record(0, Boxcar((join("B"),)))
    session = feed.sequencer.session
    assert feed.sequencer.feed(again, NOW) == [Checkpoint(0)]
    assert feed.sequencer.session.state is session.state


def test_a_client_may_be_silent_for_exactly_the_timeout() -> None:
    feed = Feeder(clientTimeout=10)
    feed(join("A"))
    assert loop(feed(raw(None, "noop", timestamp=10))) == []
    assert loop(feed(raw(None, "noop", timestamp=11))) == ["leave"]


def test_one_trace_or_none_is_left_alone() -> None:
    feed = Feeder()
    feed(join("A"))
    trace = {"service": "a", "action": "start", "timestamp": 1}
    [message] = deltas(feed(op("A", 1, 0, traces=[trace])))
    assert message["operation"]["traces"] == [trace]
    feed = Feeder(enableTraces=False)
    feed(join("A"))
    [message] = deltas(feed(op("A", 1, 0, traces=[trace] * 2)))
    assert message["operation"]["traces"] == [trace] * 2


def test_a_client_that_joins_again_keeps_its_scopes() -> None:
    feed = Feeder()
    feed(join("A", scopes=["doc:write"], serverMetadata={"x": 1}))
    feed(op("A", 1, 1))
    assert deltas(feed(join("A", timestamp=7, scopes=["summary:write"]))) == []
    [client] = feed.state.clients
    assert (client.scopes, client.server_metadata) == (("doc:write",), {"x": 1})
    assert (client.client_sequence_number, client.reference_sequence_number, client.last_update) == (0, 1, 7)
    feed(join("A", serverMetadata={"x": 2}))
    assert [client.server_metadata for client in feed.state.clients] == [{"x": 2}]


def test_summary_nacks_end_when_the_summary_is_near_enough() -> None:
    feed = Feeder(summaryNackMessages={"enable": True, "maxOps": 2})
    feed(join("A", scopes=[]), op("A", 1, 0), op("A", 2, 0), op("A", 3, 0))
    feed(control("updateDSN", {"durableSequenceNumber": 1}))
    assert [code for code, _ in refusals(feed(op("A", 4, 0)))] == [429]
    feed(control("updateDSN", {"durableSequenceNumber": 2}))
    assert refusals(feed(op("A", 4, 0))) == []


def test_hashing_can_be_off() -> None:
    [message] = deltas(Feeder(enableOpHashing=False)(join("A")))
    assert "expHash1" not in message["operation"]


def test_the_leave_of_the_last_client_is_marked_whatever_its_metadata() -> None:
    for metadata, expected in [({"x": 1}, {"x": 1, "noClient": True}), ("x", {"noClient": True})]:
        feed = Feeder(enableLeaveOpNoClientServerMetadata=True)
        feed(join("A"), join("B"))
        [message] = deltas(feed(leave("B")))
        assert "serverMetadata" not in message["operation"]
        [message] = deltas(feed(raw(None, "leave", data='"A"', serverMetadata=metadata)))
        assert message["operation"]["serverMetadata"] == expected
