"""Timers, checkpoints, loading and failures, beyond the captured scenarios."""

import json
from dataclasses import replace
from typing import Any

import pytest

from examples.deli import (
    Checkpoint,
    Close,
    Event,
    Failure,
    Input,
    Malformed,
    Output,
    ProduceFailed,
    RawDeltas,
    Reason,
    Saves,
    SaveState,
    Sequencer,
    State,
    Tick,
    load,
)
from examples.deli.config import Config
from tests.unit.deli.shared import NOW, control, join, leave, op, raw, record, sequencer, tick_until


def loop(outputs: list[Output]) -> list[tuple[str, Any]]:
    messages = [output.message for output in outputs if isinstance(output, RawDeltas)]
    return [(message["operation"]["type"], message["timestamp"] - NOW) for message in messages]


def saves(outputs: list[Output]) -> list[SaveState]:
    return [output for output in outputs if isinstance(output, SaveState)]


def connected(**settings: Any) -> Sequencer:
    made = sequencer(**settings)
    made.feed(record(0, join("A", NOW)), NOW)
    return made


def test_a_silent_document_is_looked_at_once() -> None:
    made = connected()
    assert loop(tick_until(made, NOW + 29_999)) == []
    assert loop(tick_until(made, NOW + 200_000)) == [("noop", 30_000)]
    made.feed(record(1, raw(None, "noop", timestamp=NOW)), NOW + 200_000)
    assert loop(tick_until(made, NOW + 400_000)) == [("noop", 230_000)]
    # Restored with clients, it runs from the start.
    state = made.session.state
    assert loop(tick_until(sequencer(state), NOW + 30_000)) == [("noop", 30_000)]
    assert loop(tick_until(sequencer(), NOW + 30_000)) == []


def test_read_clients_expire_unless_they_are_extended() -> None:
    made = sequencer(clientTimeout=90_000)
    made.feed(record(0, join("R", mode="read")), NOW)
    made.feed(record(1, join("S", mode="read")), NOW)
    made.feed(record(2, control("extendClient", {"clientIds": ["S", "unknown"]})), NOW + 60_000)
    assert loop(tick_until(made, NOW + 120_000)) == [("leave", 120_000)]
    assert loop(tick_until(made, NOW + 180_000)) == [("leave", 180_000), ("leave", 180_000)]
    made.feed(record(3, leave("R")), NOW + 180_001)
    made.feed(record(4, leave("S")), NOW + 180_001)
    assert loop(tick_until(made, NOW + 600_000)) == []


def test_a_read_client_may_be_silent_for_exactly_the_timeout() -> None:
    made = sequencer(clientTimeout=60_000)
    made.feed(record(0, join("R", mode="read")), NOW)
    assert loop(tick_until(made, NOW + 60_000)) == []
    assert loop(tick_until(made, NOW + 120_000)) == [("leave", 120_000)]


def test_a_tick_that_comes_late_fires_once() -> None:
    made = sequencer()
    made.feed(record(0, join("R", mode="read")), NOW)
    assert loop(made.feed(Tick(), NOW + 10_000_007)) == [("leave", 10_000_007)]
    assert made.next_deadline == NOW + 10_020_000


def test_a_tick_that_comes_early_does_nothing() -> None:
    made = connected()
    assert made.feed(Tick(), NOW + 1) == []


def test_op_events() -> None:
    made = sequencer(opEvent={"enable": True, "maxOps": 2})

    def told(outputs: list[Output]) -> list[Any]:
        return [output.detail for output in outputs if isinstance(output, Event) and output.name == "opEvent"]

    assert told(made.feed(record(0, join("A", NOW)), NOW)) == []
    assert told(tick_until(made, NOW + 14_999)) == []
    assert told(tick_until(made, NOW + 15_000)) == [("idle", 1, 1)]
    assert told(made.feed(record(1, op("A", 1, 0), op("A", 2, 0)), NOW + 20_000)) == []
    assert told(made.feed(record(2, op("A", 3, 0)), NOW + 20_000)) == [("maxOps", 4, 3)]
    update = {"durableSequenceNumber": 4}
    assert told(made.feed(record(3, control("updateDSN", update)), NOW + 20_000)) == [
        ("updatedDurableSequenceNumber", 4, 0)
    ]
    state = replace(made.session.state, durable_sequence_number=1)
    again = sequencer(state, opEvent={"enable": True, "maxTime": 1000})
    assert told(tick_until(again, NOW + 5000)) == [("maxTime", 4, 3)]


def test_heuristics() -> None:
    made = sequencer(checkpointHeuristics={"enable": True, "maxMessages": 3})
    reasons = [saves(made.feed(record(offset, join(f"{offset}")), NOW)) for offset in range(3)]
    assert [[save.reason for save in each] for each in reasons] == [[], [], [Reason.MAX_MESSAGES]]
    assert reasons[2][0].kafka_offset == 1
    made.feed(record(3, op("0", 1, 0)), NOW)
    [idle] = saves(tick_until(made, NOW + 10_000))
    assert (idle.reason, idle.kafka_offset, idle.state.log_offset) == (Reason.IDLE_TIME, 2, 3)
    assert saves(tick_until(made, NOW + 20_000)) == []
    [late] = saves(made.feed(record(4, op("0", 2, 0)), NOW + 70_000))
    assert late.reason is Reason.MAX_TIME


def test_kafka_stays_one_record_behind_while_clients_are_connected() -> None:
    made = sequencer()
    steps = [join("A"), op("A", 1, 0), leave("A"), raw(None, "noClient"), join("B"), op("B", 1, 5)]
    offsets = [
        save.kafka_offset for offset, step in enumerate(steps) for save in saves(made.feed(record(offset, step), NOW))
    ]
    assert offsets == [None, 0, 2, 3, None, 4]


def test_the_stored_state_is_cleared_when_nobody_is_there() -> None:
    made = sequencer(checkpointHeuristics={"enable": True})
    made.feed(record(0, join("A")), NOW)
    clear = control("updateDSN", {"durableSequenceNumber": 1, "clearCache": True})
    assert saves(made.feed(record(1, clear), NOW)) == []
    made.feed(record(2, leave("A")), NOW)
    [save] = saves(made.feed(record(3, clear), NOW))
    assert save.clear
    assert save.kafka_offset == 3


def test_a_record_that_comes_again_moves_the_checkpoint_no_further_than_what_is_saved() -> None:
    made = connected()
    [first] = saves(made.feed(record(1, op("A", 1, 0)), NOW))
    desk = Saves().ask(first)
    [checkpoint] = made.feed(record(1, op("A", 1, 0)), NOW)
    assert checkpoint == Checkpoint(1)
    assert desk.told(1) == (desk, None)
    desk, behind = desk.saved()
    assert behind == Checkpoint(0)
    assert desk.told(1)[1] == Checkpoint(1)
    assert Saves(safe=1).told(1)[1] == Checkpoint(1)


def test_reprocessing_can_leave_the_checkpoint_alone() -> None:
    state = replace(State(), log_offset=5, sequence_number=7)
    assert sequencer(state).feed(record(5), NOW) == [Checkpoint(5)]
    assert sequencer(state, kafkaCheckpointOnReprocessingOp=False).feed(record(5), NOW) == []


def test_nothing_comes_out_after_a_failure_or_a_close() -> None:
    ends: list[tuple[Input, list[Output]]] = [
        (ProduceFailed("kaboom", 0), [Failure("kaboom", restart=True)]),
        (ProduceFailed("large", 0, too_large=True), [Failure("large", restart=True)]),
        (Close(), []),
    ]
    for end, outputs in ends:
        made = connected()
        assert made.feed(end, NOW) == outputs
        assert made.feed(record(1, op("A", 1, 0)), NOW) == []
        assert made.next_deadline is None
        assert made.feed(Tick(), NOW + 1_000_000) == []


def test_a_batch_that_is_too_large_makes_the_document_corrupt() -> None:
    made = connected(maintainBatches=True)
    assert made.feed(ProduceFailed("large", 3, too_large=True), NOW) == [Failure("large", restart=False, corrupt=3)]


def save(offset: int | None) -> SaveState:
    return SaveState(Reason.EVERY_MESSAGE, State(log_offset=9), offset, NOW)


def test_one_save_at_a_time_and_the_newest_next() -> None:
    desk = Saves().ask(save(1)).ask(save(2)).ask(save(3))
    assert desk.write == save(1)
    desk, checkpoint = desk.saved()
    assert (checkpoint, desk.write, desk.waiting) == (Checkpoint(1), save(3), None)
    desk = desk.failed()
    assert desk.write is None
    for offset, expected in [(1, None), (0, None), (None, None), (5, Checkpoint(5))]:
        desk, checkpoint = desk.ask(save(offset)).saved()
        assert checkpoint == expected


BAD_HASH = '{"sequenceNumber":1,"logOffset":0,"expHash1":"xyz"}'


def stored(sequence_number: int, log_offset: int = 5) -> str:
    return json.dumps({"sequenceNumber": sequence_number, "logOffset": log_offset})


def test_loading() -> None:
    assert load(None) == State()
    assert load(stored(3)).sequence_number == load(stored(3)).minimum_sequence_number == 3
    assert load(stored(3), local=stored(4)).sequence_number == 4
    assert load(stored(3, 1), local=stored(3, 2)).log_offset == 2
    assert load(stored(4), local=stored(3)).sequence_number == 4
    assert (load("", summary=stored(3)).log_offset, load("", summary=stored(3)).sequence_number) == (-1, 3)
    for wrong in ("{", "5", "[]", "{}", '{"sequenceNumber":"x","logOffset":0}', BAD_HASH):
        with pytest.raises(Malformed):
            load(wrong)
    with pytest.raises(Malformed, match="numbers twice"):
        load("")


def test_old_nack_messages() -> None:
    old = {"identifier": "x", "content": {}}
    for value, expected in [(old, {"x": old}), ({}, {}), (None, {}), ([["x", old]], {"x": old})]:
        state = State.from_json({"sequenceNumber": 0, "logOffset": 0, "nackMessages": value})
        assert state.nack_messages == expected


def test_settings_are_named_as_the_service_names_them() -> None:
    config = Config.from_settings(
        {"enableAutoDSNUpdate": True, "opEvent": {"maxOps": 3}, "noOpConsolidationTimeout": 1}
    )
    assert (config.enable_auto_dsn_update, config.op_event.max_ops, config.no_op_consolidation_timeout) == (
        True,
        3,
        1,
    )
    with pytest.raises(ValueError, match="unknown setting 'nope'"):
        Config.from_settings({"nope": 1})


def test_summary_nacks_end_at_the_start_where_that_is_set() -> None:
    nacks = {"enable": True, "maxOps": 1}
    made = sequencer(summaryNackMessages=nacks)
    made.feed(record(0, join("A"), join("B")), NOW)
    state = made.session.state
    assert [*state.nack_messages] == ["summaryMaxOps"]
    durable = replace(state, durable_sequence_number=2)
    assert [*sequencer(durable, summaryNackMessages=nacks).session.state.nack_messages] == ["summaryMaxOps"]
    checked = sequencer(durable, summaryNackMessages={**nacks, "checkOnStartup": True})
    assert not checked.session.state.nack_messages
