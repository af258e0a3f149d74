"""Offsets without records: transaction markers, aborted records, and records removed by compaction."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from tests.integration import checks
from tests.integration.harness import PATIENCE, Stage, wait_for
from tests.servers.topics import read_all

pytestmark = pytest.mark.kafka


def transaction(stage: Stage, numbers: range, *, commit: bool) -> None:
    """Produce one transaction with these records to partition 0, and its marker."""
    end = stage.end_offsets()[0]
    settings = {"bootstrap.servers": stage.broker.address, "transactional.id": f"{stage.topic}-{numbers.start}"}
    producer = Producer(settings)
    producer.init_transactions(PATIENCE)
    producer.begin_transaction()
    for number in numbers:
        producer.produce(stage.topic, b"%d" % number, partition=0)
    # An abort drops unsent records: they must be in the log first.
    assert producer.flush(PATIENCE) == 0
    (producer.commit_transaction if commit else producer.abort_transaction)(PATIENCE)
    # The coordinator's answer comes before the marker is in the partition.
    wait_for(lambda: stage.end_offsets()[0] == end + len(numbers) + 1, "the marker")


def visible(stage: Stage) -> list[checks.RecordId]:
    """The records that a consumer of committed records sees."""
    return [(record.partition, record.offset) for record in read_all(stage.broker.address, stage.topic)]


def check_all(stage: Stage, count: int) -> None:
    """Each visible record was handled once, and the lag is 0."""
    stage.wait_until_handled(count)
    stage.wait_until_caught_up()
    produced, events = visible(stage), stage.history.events()
    assert len(produced) == count
    checks.all_handled_once(produced, events)
    checks.in_order(events)
    checks.gapless_leases(produced, events)


def test_an_aborted_transaction_that_is_larger_than_the_window(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(50)
    transaction(stage, range(1000), commit=False)
    stage.produce_numbers(50)
    sidecar = stage.sidecar(window={"messages": 100})
    stage.process(sidecar, every=80, idle=0.2)
    check_all(stage, 100)
    assert stage.end_offsets() == {0: 50 + 1000 + 1 + 50}


def test_log_ends_with_a_marker(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    sidecar = stage.sidecar()
    stage.process(sidecar)
    stage.produce_numbers(5)
    transaction(stage, range(5), commit=True)
    check_all(stage, 10)
    assert stage.committed() == {0: 11}
    # No visible record is added, and yet the end offset moves.
    transaction(stage, range(10, 20), commit=False)
    stage.wait_until_caught_up()
    assert stage.committed() == {0: 22}
    wait_for(lambda: sidecar.partitions()[0].committed == 22, "the sidecar to hear of it")
    partition = sidecar.partitions()[0]
    assert (partition.checkpoint, partition.committed, partition.outstanding) == (9, 22, 0)


def test_marker_is_not_passed_while_a_record_is_open(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    transaction(stage, range(10), commit=True)
    sidecar = stage.sidecar()
    stage.process(sidecar, every=5)
    stage.wait_until_handled(10)
    stage.wait_until_caught_up()
    transaction(stage, range(20, 23), commit=True)
    stage.wait_until_handled(13)
    # These three are handled without a checkpoint: the committed offset stays before them, even with a marker after
    # them, and also when the sidecar ends.
    assert sidecar.partitions()[0].outstanding == 3
    assert stage.committed() == {0: 11}
    assert sidecar.terminate() == 0
    assert stage.committed() == {0: 11}
    again = stage.sidecar(label="again")
    stage.process(again, "p2")
    stage.wait_until_caught_up()
    assert [event.offset for event in stage.history.handled("p2")] == [11, 12, 13]
    assert stage.committed() == {0: 15}
