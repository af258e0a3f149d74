"""Topics and partitions that are created while a group runs are consumed from their first record.

That takes less than a test's timeout, which is far below the 5 minutes of librdkafka's default metadata refresh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import NAME, PATIENCE, Broker, Sidecar, Stage, wait_for
from tests.servers import topics
from tests.servers.kafka import KafkaServer
from tests.servers.topics import Record

PROTOCOLS: list[dict[str, Any]] = [{}, {"partition.assignment.strategy": "range"}, {"group.protocol": "consumer"}]
IDS = ["cooperative", "range", "consumer"]


def handled(stage: Stage) -> list[tuple[str, int, int]]:
    return sorted({(event.topic, event.partition, event.offset) for event in stage.history.handled()})


def sidecar_at_rest(stage: Stage, **options: Any) -> Sidecar:
    """Start a sidecar that is in the group and whose lambda has no records."""
    sidecar = stage.sidecar(**options)
    stage.process(sidecar)
    sidecar.wait_for_log("partitions assigned")
    wait_for(lambda: {p.state for p in sidecar.partitions().values()} == {3}, "all to run")
    return sidecar


@pytest.mark.kafka
@pytest.mark.parametrize("properties", PROTOCOLS, ids=IDS)
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_topic_that_appears_later_is_consumed_from_its_first_record(
    kafka_stage: Stage, properties: dict[str, Any], start: str
) -> None:
    stage = kafka_stage
    later = f"{stage.topic}-later"
    stage.create_topic()
    sidecar = sidecar_at_rest(stage, topics=[stage.topic, later], start=start, kafka=properties)
    assert "missing topics" in sidecar.lambda_status().problem
    topics.create_topic(stage.broker.address, later, 2)
    topics.produce(stage.broker.address, later, [Record(value=b"v", partition=p) for p in (0, 1)] * 5)
    wait_for(lambda: len(handled(stage)) == 10, lambda: f"{handled(stage)}")
    assert sidecar.lambda_status().problem == ""


@pytest.mark.kafka
@pytest.mark.parametrize("properties", PROTOCOLS, ids=IDS)
def test_partitions_that_are_added_start_at_their_first_record(
    kafka_stage: Stage, properties: dict[str, Any]
) -> None:
    """Also with `start: latest`, which only applies to a new group, and when the sidecar was down meanwhile."""
    stage = kafka_stage
    stage.create_topic(2)
    stage.produce_numbers(4, 2)
    sidecar = sidecar_at_rest(stage, start="latest", kafka=properties)
    topics.add_partitions(stage.broker.address, stage.topic, 4)
    stage.produce([Record(value=b"v", partition=p) for p in (2, 3)] * 10)
    expected = [(stage.topic, p, offset) for p in (2, 3) for offset in range(10)]
    wait_for(lambda: handled(stage) == expected, lambda: f"{handled(stage)}")
    stage.wait_until_caught_up()
    assert sidecar.terminate() == 0
    topics.add_partitions(stage.broker.address, stage.topic, 5)
    stage.produce([Record(value=b"v", partition=4)] * 3)
    sidecar_at_rest(stage, label="again", start="latest", kafka=properties)
    expected += [(stage.topic, 4, offset) for offset in range(3)]
    wait_for(lambda: handled(stage) == expected, lambda: f"{handled(stage)}")


@pytest.mark.kafka
@pytest.mark.parametrize("properties", PROTOCOLS, ids=IDS)
def test_topics_by_a_pattern(kafka_stage: Stage, properties: dict[str, Any]) -> None:
    """Existing and new topics match; the lambda's own dead-letter topic never does."""
    stage = kafka_stage
    first, second = f"{stage.topic}-1", f"{stage.topic}-2"
    own = f"{first}.{NAME}.dead-letter"
    for name in (first, own, f"other-{stage.topic}"):
        topics.create_topic(stage.broker.address, name)
    sidecar = sidecar_at_rest(
        stage, topic=f"^{stage.topic}-.*", start="latest", on_critical="dead-letter", kafka=properties
    )
    topics.create_topic(stage.broker.address, second)
    for name in (first, own, f"other-{stage.topic}", second):
        topics.produce(stage.broker.address, name, [Record(value=b"v")] * 3)
    expected = [(name, 0, offset) for name in (first, second) for offset in range(3)]
    wait_for(lambda: handled(stage) == expected, lambda: f"{handled(stage)}")
    assert {p.topic for p in sidecar.lambda_status().partitions} == {first, second}


def test_a_pattern_that_nothing_matches_yet(stage: Stage) -> None:
    sidecar = stage.sidecar(topic=f"^{stage.topic}")
    stage.process(sidecar)
    wait_for(lambda: "no topic matches" in sidecar.lambda_status().problem, "the status to say so")
    assert sidecar.health() == "SERVING"
    stage.create_topic()
    stage.produce_numbers(5)
    stage.wait_until_handled()
    wait_for(lambda: sidecar.lambda_status().problem == "", "no problem to be left")


@pytest.mark.kafka
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_groups_start_offset_survives_a_kill_before_the_first_checkpoint(kafka_stage: Stage, start: str) -> None:
    """Records that were delivered and never checkpointed come again, wherever the log then ends."""
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(3)
    quick = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}  # for the member that is killed
    sidecar = stage.sidecar(start=start, checkpoint={"interval": "60s"}, kafka=quick)
    stage.process(sidecar, every=0)
    sidecar.wait_for_state("running")
    first = 3 if start == "latest" else 0
    stage.produce_numbers(5, first=3)
    wait_for(lambda: len(handled(stage)) == 8 - first, lambda: f"{handled(stage)}")
    sidecar.kill()
    again = stage.sidecar(label="again", start=start)
    stage.process(again, "p2")
    wait_for(lambda: len(stage.history.handled("p2")) == 8 - first, "they come again")
    assert [event.offset for event in stage.history.handled("p2")] == [*range(first, 8)]


@pytest.mark.kafka
def test_one_topic_of_two_never_had_a_commit_and_is_new_to_the_group(kafka_stage: Stage) -> None:
    """For a topic with records that is added to the config `start` decides, since the group never consumed it."""
    stage = kafka_stage
    added = f"{stage.topic}-added"
    stage.create_topic()
    topics.create_topic(stage.broker.address, added)
    topics.produce(stage.broker.address, added, [Record(value=b"old")] * 3)
    assert sidecar_at_rest(stage, start="latest").terminate() == 0
    sidecar_at_rest(stage, label="again", topics=[stage.topic, added], start="latest")
    topics.produce(stage.broker.address, added, [Record(value=b"new")] * 2)
    wait_for(lambda: handled(stage) == [(added, 0, 3), (added, 0, 4)], lambda: f"{handled(stage)}")


@pytest.mark.kafka
@pytest.mark.timeout(300)  # its own broker is started twice
def test_partitions_assigned_after_a_broker_restart_start(tmp_path: Path, kafka: Broker) -> None:
    """Requests that were made while the broker was down do not block later ones."""
    assert kafka.name == "kafka", "the jars are there"
    with KafkaServer() as server:
        stage = Stage(Broker("kafka", server.address), tmp_path, "restarted")
        try:
            stage.create_topic()
            sidecar = sidecar_at_rest(stage)
            server.kill()
            wait_for(lambda: "Kafka" in sidecar.lambda_status().problem, "it to be noticed", 2 * PATIENCE)
            server.start()
            topics.add_partitions(stage.broker.address, stage.topic, 3)
            stage.produce([Record(value=b"v", partition=p) for p in (0, 1, 2)])
            stage.wait_until_handled(timeout=4 * PATIENCE)
            stage.wait_until_caught_up(2 * PATIENCE)
            wait_for(lambda: sidecar.lambda_status().problem == "", "no problem to be left", 2 * PATIENCE)
        finally:
            stage.close()
