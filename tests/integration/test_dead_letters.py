"""`on_critical: dead-letter`: records that a lambda cannot process go to a topic, and nothing else stops."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Producer

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.dead import (
    ADDED,
    CONNECT,
    OURS,
    added,
    check_left_out,
    dead_topic,
    fail,
    failures_of,
    read_dead,
    sources,
    start_failing,
)
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, PATIENCE, Stage, Traffic, wait_for
from tests.servers.topics import (
    Record,
    create_topic,
    partition_count,
    produce,
)

YEAR_2020 = 1_577_836_800_000
ALL_BYTES = bytes(range(256))

ODD = [
    Record(b"key", b"value"),
    Record(None, b"no key"),
    Record(b"a tombstone", None),
    Record(None, None),
    Record(b"empty value", b""),
    Record(b"", b""),
    Record(ALL_BYTES, ALL_BYTES, [("all bytes", ALL_BYTES)]),
    Record(b"k", b"v", [("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"1")]),
    Record(b"k", b"v", [("null", None), ("empty", b""), ("", b"no name"), ("null", None)]),
    Record("schlüssel".encode(), b"wert", [("größe ☃", b"\xff\xfe")]),
    Record(b"from Connect's dead letters", b"v", [(f"{CONNECT}task.id", b"1"), (f"{CONNECT}task.id", b"1")]),
    Record(b"time", b"v", timestamp=1),
    Record(b"large", b"x" * 300_000, [("large", b"y" * 100_000)]),
]


def test_dead_letters_equal_their_records_byte_for_byte(stage: Stage) -> None:
    """Records of all kinds, all of them dead, several in a row, in the second of three partitions."""
    stage.create_topic(3)
    stage.produce_numbers(9, 3)
    records = [
        record._replace(partition=1, timestamp=record.timestamp or YEAR_2020 + number)
        for number, record in enumerate(ODD)
    ]
    dead = stage.produce(records)
    stage.produce_numbers(9, 3)
    before = datetime.now(UTC)
    sidecar, _ = start_failing(stage, dead)
    check_left_out(stage, dead)
    assert sidecar.lambda_status().dead_letters == len(ODD)
    assert partition_count(stage.broker.address, dead_topic(stage)) == 3
    letters = read_dead(stage)
    assert [letter.partition for letter in letters] == [1] * len(ODD)
    for (_, offset), record, letter in zip(dead, records, letters, strict=True):
        assert letter[3:5] == (record.key, record.value), f"at {offset}"
        assert abs(before.timestamp() - letter.timestamp / 1000) < 2 * PATIENCE, "it is as old as its writing"
        assert letter.headers is not None
        assert letter.headers[: -len(ADDED)] == [*record.headers], f"at {offset}"
        said = added(letter)
        assert "cannot read message" in said.pop(f"{CONNECT}exception.stacktrace")
        first, last = (datetime.fromisoformat(said.pop(f"{OURS}{name}.failure")) for name in ("first", "last"))
        assert first == last, "it was tried once"
        assert abs((before - first).total_seconds()) < 2 * PATIENCE
        assert said == {
            f"{CONNECT}topic": stage.topic,
            f"{CONNECT}partition": "1",
            f"{CONNECT}offset": str(offset),
            f"{CONNECT}exception.class.name": "ValueError",
            f"{CONNECT}exception.message": f"cannot read message {offset}",
            f"{OURS}timestamp": str(record.timestamp),
            f"{OURS}timestamp.type": "create_time",
            f"{OURS}code": "handler_failed",
            f"{OURS}attempts": "1",
            f"{OURS}lambda": NAME,
            f"{OURS}lambda.version": "failing-7",
            f"{OURS}group": stage.group,
        }
    # The partition goes on like any other.
    stage.produce_numbers(9, 3)
    check_left_out(stage, dead)


def test_records_between_checkpoint_and_failure_come_again(stage: Stage) -> None:
    stage.create_topic(3)
    stage.produce_numbers(12 * 3, 3)
    stage.produce([Record(value=b"last", partition=1)])
    sidecar, _ = start_failing(stage, [(1, 6)], every=4)
    check_left_out(stage, [(1, 6)])
    leases = stage.history.events("created", partition=1)
    assert [(event.start, event.attempt) for event in leases] == [(0, 1), (4, 1)]
    handled = [event.offset for event in stage.history.handled(partition=1)]
    assert handled == [0, 1, 2, 3, 4, 5, 4, 5, 7, 8, 9, 10, 11, 12]
    assert [event.offset for event in stage.history.events("failing")] == [6]
    for partition in (0, 2):
        assert len(stage.history.events("created", partition=partition)) == 1, "the others have noticed nothing"
    checks.leases_go_on(stage.history.events(), exactly=True)
    assert sources(read_dead(stage)) == [(1, 6)]
    sidecar.wait_for_log("record becomes a dead letter", partition=1, offset=6)


def test_dead_letters_at_any_offset_of_any_partition(stage: Stage) -> None:
    """The first, the last, some in a row, all of them; all partitions at once."""
    stage.create_topic(5)
    stage.produce_numbers(8 * 5, 5)
    record_ids = {0: [0], 1: [7], 2: [3, 4, 5], 3: [*range(8)]}
    dead = [(partition, offset) for partition, offsets in record_ids.items() for offset in offsets]
    sidecar, _ = start_failing(stage, dead, every=3, idle=0.1)
    check_left_out(stage, dead)
    assert stage.committed() == dict.fromkeys(range(5), 8)
    letters = read_dead(stage)
    assert sources(letters) == dead, "each once"
    assert all(letter.partition == int(added(letter)[f"{CONNECT}partition"]) for letter in letters)
    stage.produce_numbers(8 * 5, 5)
    check_left_out(stage, dead)
    assert sidecar.lambda_status().dead_letters == len(dead)
    assert sorted(failures_of(stage)) == dead, "the dead were shown to the lambda once"


@pytest.mark.kafka
def test_the_last_record_of_a_transaction_becomes_a_dead_letter(kafka_stage: Stage) -> None:
    """The marker after it has an offset of its own, which must be committed too."""
    stage = kafka_stage
    stage.create_topic()
    producer = Producer({"bootstrap.servers": stage.broker.address, "transactional.id": stage.topic})
    producer.init_transactions(PATIENCE)
    producer.begin_transaction()
    for number in range(4):
        producer.produce(stage.topic, b"%d" % number, partition=0)
    producer.commit_transaction(PATIENCE)
    start_failing(stage, [(0, 3)])
    wait_for(lambda: stage.committed() == {0: 5}, lambda: f"{stage.committed()}")
    assert [event.offset for event in stage.history.handled()] == [0, 1, 2]
    assert sources(read_dead(stage)) == [(0, 3)]


@pytest.mark.kafka
def test_a_record_that_the_broker_accepts_only_compressed_becomes_a_dead_letter(kafka_stage: Stage) -> None:
    """The broker's limit is for the stored size: a record as large as this is accepted only compressed."""
    stage = kafka_stage
    stage.create_topic()
    record = Record(b"k", b"x" * 3_000_000, partition=0)
    large = {"compression.type": "zstd", "message.max.bytes": 10_000_000}
    stage.produced += produce(stage.broker.address, stage.topic, [record], large)
    start_failing(stage, [(0, 0)])
    check_left_out(stage, [(0, 0)])
    assert [letter.value for letter in read_dead(stage)] == [record.value]


@pytest.mark.parametrize("when", ["before", "after"])
def test_sidecar_is_killed_around_the_write(stage: Stage, when: str) -> None:
    """Nothing is committed before the dead letter is written: the next sidecar gets the record again."""
    stage.create_topic()
    stage.produce_numbers(5)
    # The group notices a killed member when its session expires.
    kafka = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}
    options: dict[str, Any] = {"on_critical": "dead-letter", "kafka": kafka}
    sidecar = stage.sidecar(checkpoint={"interval": "1h"}, **options)
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client, hand_client(sidecar.address) as heir:
        client.offer(NAME)
        client.take()
        client.hear("batch")
        assert fail(client, 2) == pb.ERROR_OUTCOME_DEAD_LETTERED
        heir.offer(NAME)
        if when == "after":
            heir.take()
            sidecar.wait_for_log("dead letter written", offset=2)
        else:
            heir.hear("assigned")  # it will never be ready
        sidecar.kill()
    assert stage.committed() == {0: 0}, "where the group began, and nothing more"
    again = stage.sidecar(label="again", **options)
    stage.process(again, module="failing", fail_records=[(0, 2)])
    check_left_out(stage, [(0, 2)])
    assert sources(read_dead(stage)) == [(0, 2)] * (2 if when == "after" else 1)


def test_rebalances_while_records_become_dead_letters(stage: Stage) -> None:
    """One sidecar joins, another leaves, and each tenth record fails."""
    stage.create_topic(4)
    dead = [(partition, offset) for partition in range(4) for offset in range(7, 2000, 10)]
    kafka = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}
    # Written to a file: a command line is too short for so many.
    options: dict[str, Any] = {"on_critical": "dead-letter", "kafka": kafka, "settings": {"fail_records": dead}}
    first = stage.sidecar(label="a", **options)
    stage.process(first, module="failing", every=3, idle=0.1)
    with Traffic(stage, 4, 0.03):
        wait_for(lambda: first.lambda_status().dead_letters >= 4, "some dead letters")
        second = stage.sidecar(label="b", **options)
        stage.process(second, "p2", module="failing", every=3, idle=0.1)
        wait_for(lambda: second.lambda_status().dead_letters >= 4, "some of the other's", 2 * PATIENCE)
        assert first.terminate() == 0
        count = second.lambda_status().dead_letters
        wait_for(lambda: second.lambda_status().dead_letters >= count + 8, "more of them")
    dead = sorted({*dead} & {*stage.produced})
    check_left_out(stage, dead)
    assert sorted(set(sources(read_dead(stage)))) == dead


def test_one_dead_letter_topic_for_several_topics(stage: Stage) -> None:
    address, other, name = stage.broker.address, f"{stage.topic}-other", f"{stage.topic}-dead"
    stage.create_topic(3)
    create_topic(address, other, 1)
    create_topic(address, name, 2)
    stage.produce(Record(b"mine", b"%d" % n, partition=2) for n in range(3))
    stage.produce(Record(b"mine", b"%d" % n, partition=1) for n in range(3))
    produce(address, other, [Record(b"other", b"%d" % n, partition=0) for n in range(3)])
    config = stage.config(on_critical="dead-letter", dead_letter_topic=name)
    lambda_ = config["lambdas"][NAME]
    lambda_["topics"] = [lambda_.pop("topic"), other]
    sidecar = stage.sidecar(config)
    stage.process(sidecar, module="failing", fail_records=[(2, 1), (1, 1), (0, 1)])
    sidecar.wait_for_log("dead letter written", count=3)
    stage.wait_until_handled(6)
    stage.wait_until_caught_up()
    letters = read_dead(stage, name)
    found = {(added(one)[f"{CONNECT}topic"], *sources([one]), one.key, one.value) for one in letters}
    mine = {(stage.topic, (partition, 1), b"mine", b"1") for partition in (1, 2)}
    assert found == {*mine, (other, (0, 1), b"other", b"1")}
    where = {sources([one])[0]: one.partition for one in letters}
    assert (where[1, 1], where[0, 1]) == (1, 0), "the same partition, where there is one"
    assert partition_count(address, dead_topic(stage)) == 0
