"""Exactly-once on real Kafka: a dead letter that Kafka refuses halts its lane, as with at-least-once."""

from __future__ import annotations

from random import randbytes

import pytest
from confluent_kafka.admin import AdminClient

from sdk_python.protocol import admin_pb2
from tests.integration.dead import check_left_out, dead_topic, read_dead, sources
from tests.integration.harness import NAME, Sidecar, Stage, wait_for
from tests.servers.secured import SecuredKafka
from tests.servers.topics import Record, alter_topic, create_topic

pytestmark = pytest.mark.kafka


def wait_until_dead(sidecar: Sidecar, count: int) -> None:
    """The commit is in Kafka before the sidecar knows that it is."""
    wait_for(lambda: sidecar.lambda_status().dead_letters == count, f"{count} dead letters")


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_dead_letter_topic_that_refuses_the_record(kafka_stage: Stage, lanes: int) -> None:
    """The lane halts at its record, all others go on, and so does the lane when the topic accepts the record."""
    stage = kafka_stage
    address = stage.broker.address
    create_topic(address, dead_topic(stage), 2, {"max.message.bytes": "2000"})
    stage.create_topic(2)
    values = [randbytes(5000) for _ in range(12)]  # which no compression makes small
    # One key, and so one lane, of each partition.
    stage.produce(Record(b"k", value=value, partition=number % 2) for number, value in enumerate(values))
    sidecar = stage.sidecar(on_critical="dead-letter", guarantee="exactly-once", lanes=lanes)
    stage.process(sidecar, module="failing", fail_records=[(1, 3)])
    halted = wait_for(lambda: halted_lanes(sidecar), "a lane to halt")[0]
    assert "the dead letter for offset 3 cannot be written" in halted.reason
    assert f"Broker: Message size too large (topic {dead_topic(stage)})" in halted.reason
    assert (halted.partition, halted.failing_offset) == (1, 3)
    assert halted.last_error.kind == admin_pb2.FAILURE_KIND_DEAD_LETTER
    sidecar.wait_for_log("dead letter cannot be written: halting", partition=1, offset=3)
    wait_for(lambda: stage.committed() == {0: 6, 1: 3}, lambda: f"{stage.committed()}")
    # Resumed too early: the lambda gets the record again, and the lane halts again.
    target = f"{NAME}/{stage.topic}/1"
    before = len(stage.history.events("failing"))
    assert sidecar.cli("resume", target).returncode == 0
    sidecar.wait_for_log("dead letter cannot be written: halting", count=2)
    wait_for(lambda: halted_lanes(sidecar), "the lane to halt again")
    assert len(halted_lanes(sidecar)) == 1
    assert len(stage.history.events("failing")) > before
    status = sidecar.lambda_status()
    assert (status.transactions_aborted, status.dead_letters, read_dead(stage)) == (2, 0, [])
    assert not status.problems
    alter_topic(address, dead_topic(stage), {"max.message.bytes": "100000"})
    assert sidecar.cli("resume", target).returncode == 0
    check_left_out(stage, [(1, 3)])
    [letter] = read_dead(stage)
    assert (letter.partition, letter.value) == (1, values[7])
    wait_until_dead(sidecar, 1)
    assert sidecar.lambda_status().transactions_aborted == 2


def halted_lanes(sidecar: Sidecar) -> list[admin_pb2.Partition]:
    return [one for one in sidecar.lambda_status().partitions if one.state == admin_pb2.PARTITION_STATE_HALTED]


def test_a_dead_letter_topic_that_is_deleted_is_made_anew(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(5)
    sidecar = stage.sidecar(on_critical="dead-letter", guarantee="exactly-once")
    stage.process(sidecar, module="failing", fail_records=[(0, 3), (0, 7)])
    check_left_out(stage, [(0, 3)])
    assert sources(read_dead(stage)) == [(0, 3)]
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    for future in admin.delete_topics([dead_topic(stage)]).values():
        future.result()
    stage.produce_numbers(5)
    check_left_out(stage, [(0, 3), (0, 7)])
    assert sources(read_dead(stage)) == [(0, 7)]
    wait_until_dead(sidecar, 2)
    assert not sidecar.log("dead letter cannot be written: halting")


def test_a_right_to_the_dead_letter_topic_that_is_taken_away(secured_stage: Stage, secured: SecuredKafka) -> None:
    """The broker lets the topic join no transaction, and librdkafka does not say which record that concerns."""
    stage = secured_stage
    stage.create_topic()
    dead = dead_topic(stage)
    create_topic(secured.address, dead, 1)
    secured.allow([stage.topic], [stage.group], [dead], transactions=[stage.group])
    stage.produce_numbers(5)
    options = {"on_critical": "dead-letter", "guarantee": "exactly-once"}
    sidecar = stage.sidecar(stage.config(kafka=secured.client(), **options))
    stage.process(sidecar, module="failing", fail_records=[(0, 3), (0, 7)])
    check_left_out(stage, [(0, 3)])
    secured.forbid([dead])
    secured.allow(describes=[dead])
    stage.produce_numbers(5)
    halted = sidecar.wait_for_state("halted")
    said = f"the dead letter for offset 7 cannot be written: Broker: Topic authorization failed (topic {dead})"
    assert halted.reason == said
    assert halted.failing_offset == 7
    wait_for(lambda: stage.committed() == {0: 7}, lambda: f"{stage.committed()}")
    wait_for(lambda: not sidecar.lambda_status().problems, "transactions to be taken again")
    secured.allow(writes=[dead])
    assert sidecar.cli("resume", f"{NAME}/{stage.topic}/0").returncode == 0
    check_left_out(stage, [(0, 3), (0, 7)])
    assert sources(read_dead(stage)) == [(0, 3), (0, 7)]
