"""A running group's offset is no longer in the log: `on_offset_lost` decides, a log line says so, work goes on."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.integration.harness import NAME, Sidecar, Stage, wait_for
from tests.servers.topics import delete_topic

pytestmark = pytest.mark.kafka

POLICIES = ["earliest", "latest", "halt"]


def topic_is_there(stage: Stage) -> bool:
    """Whether the broker still shows the topic."""
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    return stage.topic in admin.list_topics(timeout=60).topics


def resume(sidecar: Sidecar, stage: Stage) -> None:
    done = sidecar.cli("resume", f"{NAME}/{stage.topic}/0")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("policy", POLICIES)
def test_retention_passes_a_lambda_that_is_far_behind(kafka_stage: Stage, policy: str) -> None:
    """It never checkpoints, and when it dies, the records to repeat are no longer in the log."""
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(20)
    sidecar = stage.sidecar(on_offset_lost=policy, window={"messages": 5})
    stuck = stage.process(sidecar, every=0)
    stage.wait_until_handled(5)
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    begin = TopicPartition(stage.topic, 0, 12)
    assert [one.result(10).low_watermark for one in admin.delete_records([begin]).values()] == [12]
    stuck.kill()
    stage.process(sidecar, "p2")
    said = "halting" if policy == "halt" else f"going on at the {policy}"
    line = sidecar.wait_for_log(f"offset lost: {said}", level="error", partition=0)
    assert (line["offset"], line["place"], line["earliest"], line["latest"]) == (0, 0, 12, 20)
    if policy == "halt":
        assert "offset 0 is not in the log, which has 12 to 20" in sidecar.wait_for_state("halted").reason
        resume(sidecar, stage)
    first = 20 if policy == "latest" else 12
    stage.produce_numbers(5, first=20)
    wait_for(lambda: len(stage.history.handled("p2")) == 25 - first, "what is left")
    assert [event.offset for event in stage.history.handled("p2")] == [*range(first, 25)]
    stage.wait_until_caught_up()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("protocol", ["cooperative-sticky", "range"])
@pytest.mark.parametrize("noticed", [False, True], ids=["at once", "noticed"])
def test_a_topic_is_deleted_and_recreated(kafka_stage: Stage, noticed: bool, policy: str, protocol: str) -> None:
    """The new topic has the same name and fewer records than were done. Kafka deletes the group's offsets with it.

    Either the sidecar only sees that the offset is out of range, or the group lost the partition meanwhile and gets
    it again without a committed offset.
    """
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(20)
    kafka = {"topic.metadata.refresh.interval.ms": 500, "partition.assignment.strategy": protocol}
    sidecar = stage.sidecar(
        kafka=kafka, on_offset_lost=policy, start="latest" if policy == "earliest" else "earliest"
    )
    stage.process(sidecar)
    sidecar.wait_for_log("partitions assigned")
    stage.produce_numbers(10, first=20)
    wait_for(lambda: stage.committed() == {0: 30}, lambda: f"{stage.committed()}")
    old = len(stage.history.handled())
    delete_topic(stage.broker.address, stage.topic)
    wait_for(lambda: not topic_is_there(stage), "the topic to be gone")
    if noticed:
        wait_for(lambda: sidecar.log("partitions lost") or sidecar.log("partitions revoked"), "that to be noticed")
    stage.create_topic()
    stage.produce_numbers(5)
    said = "halting" if policy == "halt" else f"going on at the {policy}"
    line = sidecar.wait_for_log(f"offset lost: {said}", level="error", partition=0)
    assert line["offset"] == 30
    # The sidecar may have noticed before the first of the five was produced.
    assert line["earliest"] == 0 <= line["latest"] <= 5
    known = len(sidecar.log("no committed offset"))
    if policy == "halt":
        sidecar.wait_for_state("halted")
        assert len(stage.history.handled()) == old
        resume(sidecar, stage)
    if policy == "latest":
        stage.produce_numbers(5, first=5)
        wait_for(lambda: stage.history.handled()[-1].offset == 9, "what came last")
        begun = [event.offset for event in stage.history.handled()[old:]]
        assert begun == [*range(line["latest"], 10)], (
            "it begins after the records that existed when the loss was noticed"
        )
    else:
        wait_for(lambda: len(stage.history.handled()) == old + 5, "the new records")
        assert [event.offset for event in stage.history.handled()[old:]] == [0, 1, 2, 3, 4]
    stage.wait_until_caught_up()
    assert len(sidecar.log("no committed offset")) == known == 1, "it had one, and lost it"
