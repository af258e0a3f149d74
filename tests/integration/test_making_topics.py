"""Topics that the sidecar creates, and topics that it must not create, on a broker with automatic creation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.conftest import _staged
from tests.integration.dead import OURS, added, check_left_out, dead_topic, read_dead, sources, start_failing
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, Broker, Sidecar, Stage, wait_for
from tests.servers.kafka import KafkaServer
from tests.servers.topics import (
    Record,
    create_topic,
    delete_topic,
    partition_count,
    produce,
    read_all,
    topic_config,
)

DAY = 24 * 3600 * 1000
WEEK = 7 * DAY
YEAR_2020 = 1_577_836_800_000

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def making_kafka(kafka: Broker) -> Iterator[KafkaServer]:
    """A broker with automatic topic creation. It needs ``kafka`` so that it is skipped together with it."""
    with KafkaServer({"auto.create.topics.enable": True, "num.partitions": 1}) as server:
        yield server


@pytest.fixture
def stage(making_kafka: KafkaServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on that broker."""
    yield from _staged(Broker("kafka", making_kafka.address), tmp_path, request)


# --- dead letters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("retention", "made"), [(DAY, WEEK), (30 * DAY, 30 * DAY), (-1, -1)])
def test_the_dead_letter_topics_retention_is_the_topics_and_a_week(stage: Stage, retention: int, made: int) -> None:
    stage.create_topic(3, {"retention.ms": str(retention), "cleanup.policy": "compact,delete"})
    stage.produce([Record(b"k", b"v", partition=2)])
    sidecar, _ = start_failing(stage, [(2, 0)])
    check_left_out(stage, [(2, 0)])
    found = topic_config(stage.broker.address, dead_topic(stage))
    assert (found["retention.ms"], found["cleanup.policy"]) == (str(made), "delete")
    assert found["retention.bytes"] == "-1"
    assert partition_count(stage.broker.address, dead_topic(stage)) == 3
    assert sidecar.log("made the topic for dead letters")[0]["retention_ms"] == made


def test_the_dead_letter_of_an_old_record_has_a_new_timestamp(stage: Stage) -> None:
    """The broker's retention check, which deletes a record of that age in another topic, does not delete it."""
    old = [Record(b"k", b"v", partition=0, timestamp=YEAR_2020)]
    stage.create_topic()
    stage.produce(old)
    sidecar, _ = start_failing(stage, [(0, 0)])
    check_left_out(stage, [(0, 0)])
    witness = f"{stage.topic}-witness"
    create_topic(stage.broker.address, witness, 1, {"retention.ms": str(WEEK)})
    produce(stage.broker.address, witness, old)

    def deleted() -> bool:
        try:
            return not read_all(stage.broker.address, witness)
        except KafkaException as error:  # between the question where the log begins and the fetch there
            if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
                raise
            return True

    wait_for(deleted, "the broker's check")
    (letter,) = read_dead(stage)
    said = added(letter)
    assert (said[f"{OURS}timestamp"], said[f"{OURS}timestamp.type"]) == (str(YEAR_2020), "create_time")
    assert sidecar.lambda_status().dead_letters == 1


def test_a_deleted_dead_letter_topic_is_created_again_with_the_same_settings(stage: Stage) -> None:
    """The write does not create it with one partition, too few for the last partition's dead letter."""
    stage.create_topic(3, {"retention.ms": str(30 * DAY)})
    stage.produce_numbers(3, 3)
    sidecar, _ = start_failing(stage, [(2, 0), (2, 1), (1, 1)])
    check_left_out(stage, [(2, 0)])
    delete_topic(stage.broker.address, dead_topic(stage))
    stage.produce_numbers(3, 3)
    check_left_out(stage, [(2, 0), (2, 1), (1, 1)])
    assert partition_count(stage.broker.address, dead_topic(stage)) == 3
    assert topic_config(stage.broker.address, dead_topic(stage))["retention.ms"] == str(30 * DAY)
    letters = read_dead(stage)
    assert sources(letters) == [(1, 1), (2, 1)]
    assert sorted(letter.partition for letter in letters) == [1, 2]
    assert sidecar.state(2) == "running"
    assert not sidecar.log("dead letter cannot be written")


def test_a_dead_letter_topic_that_is_recreated_with_fewer_partitions(stage: Stage) -> None:
    """The user re-creates it: dead letters go to the partitions that exist."""
    stage.create_topic(3)
    stage.produce_numbers(3, 3)
    start_failing(stage, [(2, 0), (2, 1)])
    check_left_out(stage, [(2, 0)])
    delete_topic(stage.broker.address, dead_topic(stage))
    wait_for(lambda: partition_count(stage.broker.address, dead_topic(stage)) == 0, "it to be gone")
    create_topic(stage.broker.address, dead_topic(stage), 1)
    stage.produce_numbers(3, 3)
    check_left_out(stage, [(2, 0), (2, 1)])
    assert [(letter.partition, sources([letter])) for letter in read_dead(stage)] == [(0, [(2, 1)])]


def test_headers_do_not_grow_when_a_dead_letter_is_replayed_and_fails_again(stage: Stage) -> None:
    own: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", b"2"), ("", None), ("A", b"1")]
    stage.create_topic()
    stage.produce([Record(b"k", b"v", own, 0)])
    start_failing(stage, [(0, offset) for offset in range(6)])
    for attempt in range(6):
        check_left_out(stage, [(0, offset) for offset in range(attempt + 1)])
        letter = read_dead(stage)[-1]
        headers = letter.headers or []
        assert headers[: len(own)] == own
        assert sources([letter]) == [(0, attempt)]
        assert len(headers) == len(own) + len(added(letter))
        # Once like a tool that does not keep the case of names, once like one that does.
        back = [(name.upper() if attempt % 2 and name.startswith("__") else name, value) for name, value in headers]
        if attempt < 5:
            stage.produce([Record(letter.key, letter.value, back, 0)])


# --- what lambdas produce -------------------------------------------------------------------------------------------


def answer_for(sidecar: Sidecar, topic: str) -> pb.ProduceResponse:
    """The response for three records for this topic."""
    with hand_client(sidecar.address) as client:
        client.offer(NAME)
        client.take()
        request = pb.ProduceRequest(lease=client.lease, topics=[topic], values=[b"1", b"2", b"3"])
        answer: pb.ProduceResponse = client.stub.Produce(request, timeout=25)
    return answer


def test_a_lambdas_record_does_not_create_a_missing_topic(stage: Stage) -> None:
    stage.create_topic()
    out = f"{stage.topic}-out"
    sidecar = stage.sidecar(produce=out)
    sidecar.wait_until_listening()
    answer = answer_for(sidecar, out)
    assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_FAILED] * 3
    assert answer.errors[0].startswith(f"the topic {out!r} does not exist: make it")
    assert partition_count(stage.broker.address, out) == 0
    create_topic(stage.broker.address, out, 1)

    def written() -> bool:
        outcomes = [*answer_for(sidecar, out).outcomes]
        return outcomes == [pb.PRODUCE_OUTCOME_WRITTEN] * 3

    wait_for(written, "the new topic to be known")


def test_a_topic_is_created_if_the_config_allows_it(stage: Stage) -> None:
    stage.create_topic()
    out = f"{stage.topic}-out"
    kafka: dict[str, Any] = {"allow.auto.create.topics": True}
    sidecar = stage.sidecar(produce=out, kafka=kafka)
    sidecar.wait_until_listening()
    assert [*answer_for(sidecar, out).outcomes] == [pb.PRODUCE_OUTCOME_WRITTEN] * 3
    assert partition_count(stage.broker.address, out) == 1


def test_a_record_without_a_key_for_a_compacted_topic_fails_alone(stage: Stage) -> None:
    """The broker refuses its whole batch; when the records are sent again, each has its own outcome."""
    stage.create_topic()
    out = f"{stage.topic}-out"
    create_topic(stage.broker.address, out, 1, {"cleanup.policy": "compact"})
    sidecar = stage.sidecar(produce=out)
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME)
        client.take()
        request = pb.ProduceRequest(
            lease=client.lease, topics=[out], values=[b"1", b"2", b"3"], keys=[b"a", b"", b"c"], null_keys=[1]
        )
        first, second = (client.stub.Produce(request, timeout=15) for _ in range(2))
    assert [*first.outcomes] == [pb.PRODUCE_OUTCOME_FAILED] * 3
    assert "each goes alone" in first.errors[0]
    failed, written = pb.PRODUCE_OUTCOME_FAILED, pb.PRODUCE_OUTCOME_WRITTEN
    assert [*second.outcomes] == [written, failed, written]
    assert [record.value for record in read_all(stage.broker.address, out)] == [b"1", b"3"]
