"""A topic that is deleted and re-created: its first records are handled, with and without a sidecar meanwhile.

The old offset exists in the new log, so no offset is out of range: only the topic's id shows the change.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.harness import Sidecar, Stage, wait_for
from tests.servers import topics

pytestmark = pytest.mark.kafka

OLD, NEW = 20, 50


def made_anew(stage: Stage, partitions: int = 1) -> None:
    """Delete the topic, re-create it as soon as the broker allows, and produce more records than the old offset."""
    topics.delete_topic(stage.broker.address, stage.topic)
    stage.create_topic(partitions)
    stage.produced.clear()
    stage.produce_numbers(NEW * partitions, partitions)


def new_offsets(stage: Stage, since: int, partition: int = 0) -> list[int]:
    """The offsets handled after the first ``since`` events, each once."""
    return sorted({event.offset for event in stage.history.handled()[since:] if event.partition == partition})


def begun(stage: Stage, partitions: int = 1, **options: Any) -> Sidecar:
    stage.create_topic(partitions)
    sidecar = stage.sidecar(**options)
    stage.process(sidecar)
    stage.produce_numbers(OLD * partitions, partitions)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    return sidecar


@pytest.mark.parametrize("protocol", ["cooperative-sticky", "range", ""])
def test_a_topic_is_recreated_while_the_sidecar_runs(kafka_stage: Stage, protocol: str) -> None:
    stage = kafka_stage
    kafka = {"partition.assignment.strategy": protocol} if protocol else {"group.protocol": "consumer"}
    sidecar = begun(stage, kafka=kafka)
    since = len(stage.history.handled())
    made_anew(stage)
    wait_for(lambda: new_offsets(stage, since) == [*range(NEW)], lambda: f"{new_offsets(stage, since)}")
    line = sidecar.wait_for_log("offset lost: going on at the earliest")
    # The sidecar may have read the new topic from the old offset before it saw the id: those are handled again, too.
    assert line["offset"] in range(OLD, NEW + 1)
    stage.wait_until_caught_up()


def test_a_topic_is_recreated_while_no_sidecar_runs(kafka_stage: Stage) -> None:
    """Kafka deletes the group's offsets with the topic, or keeps them: then the commit's metadata has the old id."""
    stage = kafka_stage
    assert begun(stage).terminate() == 0
    since = len(stage.history.handled())
    made_anew(stage)
    sidecar = stage.sidecar(label="again")
    stage.process(sidecar, "p2")
    wait_for(lambda: new_offsets(stage, since) == [*range(NEW)], lambda: f"{new_offsets(stage, since)}")
    stage.wait_until_caught_up()


def test_an_offset_of_the_old_topic_that_kafka_still_has(kafka_stage: Stage) -> None:
    """As if a broker kept it, or another member committed late: its metadata shows that it is old."""
    stage = kafka_stage
    assert begun(stage).terminate() == 0
    old = topics.committed_metadata(stage.broker.address, stage.group, stage.topic)
    since = len(stage.history.handled())
    made_anew(stage)
    topics.commit(stage.broker.address, stage.group, stage.topic, {0: OLD}, metadata=old[0])
    sidecar = stage.sidecar(label="again")
    stage.process(sidecar, "p2")
    line = sidecar.wait_for_log("offset lost: going on at the earliest")
    assert "its id was" in line["reason"]
    wait_for(lambda: new_offsets(stage, since) == [*range(NEW)], lambda: f"{new_offsets(stage, since)}")


def test_a_topic_is_recreated_during_a_rebalance(kafka_stage: Stage) -> None:
    stage = kafka_stage
    first = begun(stage, 2)
    since = len(stage.history.handled())
    second = stage.sidecar(label="second")
    stage.process(second, "p2")
    first.wait_for_log("partitions revoked")
    made_anew(stage, 2)
    for partition in (0, 1):
        wait_for(
            lambda p=partition: new_offsets(stage, since, p) == [*range(NEW)],  # type: ignore[misc]
            lambda p=partition: f"{p}: {new_offsets(stage, since, p)}",  # type: ignore[misc]
            30.0,
        )


def test_an_offset_committed_by_another_tool_counts(kafka_stage: Stage) -> None:
    """Without our metadata the sidecar cannot know to which topic the offset belongs."""
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(OLD)
    topics.commit(stage.broker.address, stage.group, stage.topic, {0: 15}, metadata="somebody's")
    stage.process(stage.sidecar())
    wait_for(lambda: len(stage.history.handled()) == OLD - 15, "the rest")
    assert [event.offset for event in stage.history.handled()] == [*range(15, OLD)]
