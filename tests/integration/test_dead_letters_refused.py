"""`on_critical: dead-letter` when a dead letter cannot be written, or not yet: nothing is dropped."""

from __future__ import annotations

import time
from pathlib import Path
from random import randbytes

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.dead import (
    CONNECT,
    OURS,
    added,
    check_left_out,
    dead_topic,
    fail,
    read_dead,
    sources,
    start_failing,
)
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, PATIENCE, Broker, Stage, needs_extension, wait_for
from tests.servers.kafka import KafkaServer
from tests.servers.topics import (
    Record,
    alter_topic,
    create_topic,
    partition_count,
    produce_non_utf8_header,
)

YEAR_2020 = 1_577_836_800_000


@pytest.mark.kafka
def test_a_dead_letter_topic_that_refuses_the_record(kafka_stage: Stage) -> None:
    """The partition halts, and goes on when the topic accepts the record."""
    stage = kafka_stage
    address = stage.broker.address
    create_topic(address, dead_topic(stage), 2, {"max.message.bytes": "2000"})
    stage.create_topic(2)
    values = [randbytes(5000) for _ in range(12)]  # which no compression makes small
    stage.produce(Record(value=value, partition=number % 2) for number, value in enumerate(values))
    sidecar, _ = start_failing(stage, [(1, 3)])
    halted = sidecar.wait_for_state("halted", 1)
    assert "the dead letter for offset 3 cannot be written" in halted.reason
    assert dead_topic(stage) in halted.reason
    assert halted.failing_offset == 3
    sidecar.wait_for_log("dead letter cannot be written: halting", partition=1, offset=3)
    stage.wait_until_handled(6 + 3)
    wait_for(lambda: stage.committed() == {0: 6, 1: 3}, lambda: f"{stage.committed()}")
    assert [event.offset for event in stage.history.handled(partition=1)] == [0, 1, 2]
    # Resumed too early: the lambda gets the record again, and the partition halts again.
    target = f"{NAME}/{stage.topic}/1"
    assert sidecar.cli("resume", target).returncode == 0
    sidecar.wait_for_log("dead letter cannot be written: halting", count=2)
    sidecar.wait_for_state("halted", 1)
    assert len(stage.history.events("failing")) == 2
    assert (sidecar.lambda_status().dead_letters, read_dead(stage)) == (0, [])
    alter_topic(address, dead_topic(stage), {"max.message.bytes": "100000"})
    assert sidecar.cli("resume", target).returncode == 0
    check_left_out(stage, [(1, 3)])
    assert len(stage.history.events("failing")) == 3
    [letter] = read_dead(stage)
    assert (letter.partition, letter.value) == (1, values[7])
    assert sidecar.lambda_status().dead_letters == 1


@pytest.mark.kafka
def test_broker_is_away_during_the_write(kafka: Broker, tmp_path: Path) -> None:
    """The sidecar has the record when the broker stops, and writes the dead letter when the broker is back."""
    with KafkaServer() as server:
        stage = Stage(Broker("kafka", server.address), tmp_path, "away")
        try:
            check_broker_away(stage, server)
        except AssertionError:
            print(stage.logs())
            raise
        finally:
            stage.close()


def outlast(seconds: float) -> None:
    """Wait for a time in which something must not happen."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, "the time to pass")


def check_broker_away(stage: Stage, server: KafkaServer) -> None:
    """Two dead letters: before the first the broker is killed, before the second it is frozen."""
    stage.create_topic()
    stage.produce_numbers(6)
    sidecar = stage.sidecar(on_critical="dead-letter")
    sidecar.wait_until_listening()
    for offset in (1, 4):
        with hand_client(sidecar.address) as client, hand_client(sidecar.address) as heir:
            client.offer(NAME)
            client.take()
            client.hear("batch")
            assert fail(client, offset) == pb.ERROR_OUTCOME_DEAD_LETTERED
            heir.offer(NAME)
            heir.lease = heir.hear("assigned").lease
            # All the other records have been fetched, so that no fetch is needed before the write.
            wait_for(lambda: sidecar.partitions()[0].waiting == 6, lambda: f"{sidecar.partitions()}")
            if offset == 1:
                server.kill()
            else:
                server.pause()
            heir.say(ready=pb.Ready(lease=heir.lease))
            assert heir.hear("batch").first_offset == 0
            outlast(1.5)
            assert sidecar.state(0) == "running"
            assert sidecar.lambda_status().dead_letters == (0 if offset == 1 else 1)
            if offset == 1:
                server.start()
            else:
                server.resume()
            sidecar.wait_for_log("dead letter written", offset=offset, timeout=2 * PATIENCE)
    stage.process(sidecar)
    check_left_out(stage, [(0, 1), (0, 4)])
    assert sorted(set(sources(read_dead(stage)))) == [(0, 1), (0, 4)]


def test_record_over_the_clients_limit(stage: Stage) -> None:
    """It is not the lambda's fault: its lease lives on and gets the records after it."""
    stage.create_topic()
    stage.produce(Record(b"k", b"x" * size, [("n", None)], 0, YEAR_2020) for size in (10, 10, 20_000, 10, 20_000))
    sidecar = stage.sidecar(on_critical="dead-letter")
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME, max_message_bytes=4096)
        assert client.take().start_offset == 0
        assert [len(value) for value in client.hear("batch").values] == [10, 10]
        batch = client.hear("batch")
        assert (batch.first_offset, len(batch.values)) == (3, 1)
        assert client.checkpoint(3).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED
        stage.wait_until_caught_up()
        letters = read_dead(stage)
        assert sources(letters) == [(0, 2), (0, 4)]
        for letter in letters:
            assert letter[:1] + letter[3:5] == (0, b"k", b"x" * 20_000)
            assert (letter.headers or [])[0] == ("n", None)
            said = added(letter)
            assert said[f"{OURS}code"] == "undeliverable"
            assert said[f"{OURS}timestamp"] == str(YEAR_2020)
            assert "more than the lambda process accepts (4096)" in said[f"{CONNECT}exception.message"]
        assert sidecar.lambda_status().restarts == 0
        assert sidecar.state(0) == "running"


def test_a_header_name_that_is_not_utf8_cannot_become_a_dead_letter(stage: Stage) -> None:
    """It cannot be written byte for byte: the partition halts as without dead letters."""
    stage.create_topic()
    stage.produce_numbers(5)
    sidecar, _ = start_failing(stage, [(0, 3)], native=False)
    check_left_out(stage, [(0, 3)])
    stage.produced.append(produce_non_utf8_header(stage.broker.address, stage.topic, 0, value=b"hostile"))
    stage.produce_numbers(3)
    sidecar.wait_for_log("record cannot be delivered", offset=5)
    halted = sidecar.wait_for_state("halted")
    assert halted.failing_offset == 5
    assert "not UTF-8" in halted.reason
    assert stage.committed() == {0: 5}
    assert sidecar.cli("resume", f"{NAME}/{stage.topic}/0", "--skip").returncode == 0
    check_left_out(stage, [(0, 3), (0, 5)])
    assert sources(read_dead(stage)) == [(0, 3)]
    assert sidecar.lambda_status().dead_letters == 1


@needs_extension
@pytest.mark.parametrize(
    ("name", "why"), [(b"\xff\xfe", "a header name is not UTF-8"), (b"a\0b", "a header name has a NUL")]
)
def test_a_header_name_that_is_delivered_but_cannot_be_written(embedded_stage: Stage, name: bytes, why: str) -> None:
    """The extension can read it, but the binding's producer cannot write it."""
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(5)
    stage.produced.append(produce_non_utf8_header(stage.broker.address, stage.topic, 0, value=b"hostile", name=name))
    stage.produce_numbers(3)
    sidecar, _ = start_failing(stage, [(0, 5)])
    sidecar.wait_for_log("record becomes a dead letter", offset=5)
    halted = sidecar.wait_for_state("halted")
    assert halted.failing_offset == 5
    assert why in halted.reason
    assert sidecar.cli("resume", f"{NAME}/{stage.topic}/0", "--skip").returncode == 0
    check_left_out(stage, [(0, 5)])


def test_record_that_is_too_large_before_one_that_cannot_be_read(stage: Stage) -> None:
    """The second is removed when it is first seen: reading it again would crash the process."""
    stage.create_topic()
    stage.produce([Record(b"k", b"x" * 20_000, [], 0, YEAR_2020)])
    stage.produced.append(produce_non_utf8_header(stage.broker.address, stage.topic, 0, value=b"hostile"))
    stage.produce_numbers(3)
    sidecar = stage.sidecar(on_critical="dead-letter", native=False)
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME, max_message_bytes=4096)
        client.take()
        sidecar.wait_for_log("dead letter written", offset=0)
        assert client.hear("revoked").reason == pb.REVOKE_REASON_HALTED
        client.close(pb.CLOSED_REASON_REVOKED)
        assert sidecar.wait_for_state("halted").failing_offset == 1
    assert sources(read_dead(stage)) == [(0, 0)]
    assert sidecar.cli("resume", f"{NAME}/{stage.topic}/0", "--skip").returncode == 0
    stage.process(sidecar)
    stage.wait_until_handled(3)
    stage.wait_until_caught_up()


def test_a_dead_letter_is_written_although_a_later_record_halts(embedded_stage: Stage) -> None:
    """While the lambda fails at one record, a later one turns out to be unreadable."""
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(5)
    stage.produced.append(produce_non_utf8_header(stage.broker.address, stage.topic, 0, value=b"hostile"))
    stage.produce_numbers(3)
    sidecar, _ = start_failing(stage, [(0, 3)], native=False)
    target = f"{NAME}/{stage.topic}/0"
    sidecar.wait_for_state("halted")
    # On a busy machine the lambda may hear of the halt before it reaches the record, and leaves it to the next one.
    while not sidecar.lambda_status().dead_letters:
        assert sidecar.cli("resume", target).returncode == 0
        sidecar.wait_for_state("halted")
    sidecar.wait_for_log("record becomes a dead letter", offset=3)
    sidecar.wait_for_log("record cannot be delivered", offset=5)
    assert sidecar.cli("resume", target, "--skip").returncode == 0
    check_left_out(stage, [(0, 3), (0, 5)])
    assert sources(read_dead(stage)) == [(0, 3)]


def test_error_about_no_record_under_way(embedded_stage: Stage) -> None:
    """It names no record, one that was not delivered, or one that is done: there is no record to remove."""
    stage = embedded_stage
    stage.create_topic(3)
    stage.produce_numbers(15, 3)
    sidecar = stage.sidecar(on_critical="dead-letter")
    sidecar.wait_until_listening()
    done: list[checks.RecordId] = []
    for offset in (None, 7, 1):
        with hand_client(sidecar.address) as client:
            client.offer(NAME)
            partition = client.take().partition
            client.hear("batch")
            if offset == 1:
                client.checkpoint(2)
                done = [(partition, number) for number in range(3)]
            assert fail(client, offset) == pb.ERROR_OUTCOME_HALTED
            halted = sidecar.wait_for_state("halted", partition)
        assert "cannot (no dead letter: the error names no record that is under way)" in halted.reason
        line = sidecar.wait_for_log("partition halted", partition=partition)
        assert line["reason"] == halted.reason
        assert len(sidecar.log("partition halted", partition=partition)) == 1
    assert partition_count(stage.broker.address, dead_topic(stage)) == 0
    # After a repair, all unfinished records are delivered again.
    stage.process(sidecar)
    for number in range(3):
        assert sidecar.cli("resume", f"{NAME}/{stage.topic}/{number}").returncode == 0
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events(), left_out=done)
