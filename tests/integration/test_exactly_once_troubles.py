"""Exactly-once on real Kafka: dead letters, lanes and states in transactions; fenced producers; missing rights."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.dead import check_left_out, read_dead, sources
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, PATIENCE, Stage, Traffic, wait_for
from tests.integration.test_exactly_once import (
    PARTITIONS,
    begin,
    copier,
    copies,
    missing,
    options,
    produced,
    wait_for_copies,
    wait_until_copied,
)
from tests.integration.test_produce import out_topic
from tests.servers.secured import SecuredKafka
from tests.servers.topics import committed_metadata

pytestmark = pytest.mark.kafka


def test_a_dead_letter_is_in_the_transaction_with_the_place_after_it(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic(2)
    stage.produce_numbers(400, 2)
    dead = [(0, 7), (0, 8), (1, 199)]
    sidecar = stage.sidecar(on_critical="dead-letter", guarantee="exactly-once")
    stage.process(sidecar, module="failing", fail_records=dead)
    check_left_out(stage, dead)
    assert sources(read_dead(stage)) == dead
    # The commit is in Kafka before the sidecar knows that it is.
    wait_for(lambda: sidecar.lambda_status().dead_letters == 3, "the dead letters to be counted")
    assert sidecar.lambda_status().transactions_aborted == 0


def test_the_lanes_of_a_partition_share_its_transactions(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    with Traffic(stage, PARTITIONS, 0.004):
        for number in range(3):
            sidecar = stage.sidecar(label=f"s{number}", lanes=4, **options(out))
            process = copier(stage, sidecar, out, ("commit", "held")[number % 2], f"p{number}")
            wait_for_copies(stage, out)
            sidecar.kill()
            process.kill()
    last = stage.sidecar(label="last", lanes=4, **options(out))
    copier(stage, last, out, label="p")
    wanted = produced(stage)
    wait_for(lambda: not missing(copies(stage, out), wanted), "all to be copied")
    assert {partition: sorted(offsets) for partition, offsets in copies(stage, out).items()} == wanted


def test_the_state_is_that_of_what_is_visible(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage, 1)
    stage.produce_numbers(4)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once")
    sidecar.wait_until_listening()
    for state, offset in ((b"one", 0), (b"two", 2)):
        with hand_client(sidecar.address) as client:
            client.offer(NAME, capabilities=["exactly-once"])
            assigned = client.take()
            assert assigned.state == (b"" if offset == 0 else b"one")
            client.hear("batch")
            request = pb.ProduceRequest(lease=client.lease, topics=[out], values=[state])
            request.commit.offset, request.commit.state = offset, state
            answer = client.stub.Produce(request, timeout=PATIENCE)
            assert answer.commit.outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED
            assert stage.committed() == {0: offset + 1}
    assert committed_metadata(stage.broker.address, stage.group, stage.topic)[0].startswith("kafka-sidecar/1:")


def test_a_producer_that_is_fenced_is_made_anew(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    kafka = {"group.instance.id": "one"}
    sidecar = stage.sidecar(stage.config(kafka=kafka, **options(out)))
    copier(stage, sidecar, out)
    name = f"kafka-sidecar-{stage.group}-{NAME}-one"
    with Traffic(stage, PARTITIONS, 0.004):
        for _ in range(3):
            wait_for_copies(stage, out)
            thief = Producer({"bootstrap.servers": stage.broker.address, "transactional.id": name})
            thief.init_transactions(PATIENCE)
        wait_for_copies(stage, out)
    wait_until_copied(stage, out)
    assert sidecar.lambda_status().transactions_aborted > 0


def test_without_the_right_to_its_transactional_id_it_is_not_ready_and_says_so(
    secured_stage: Stage, secured: SecuredKafka
) -> None:
    stage = secured_stage
    stage.create_topic()
    out = out_topic(stage)
    stage.produce_numbers(10)
    secured.allow([stage.topic], [stage.group], [out])
    sidecar = stage.sidecar(stage.config(kafka=secured.client(), **options(out)))
    copier(stage, sidecar, out)
    wait_for(
        lambda: "allow the user Write and Describe on the transactional id" in str(sidecar.lambda_status().problems),
        "the problem",
    )
    assert sidecar.health() == "NOT_SERVING"
    assert copies(stage, out) == {}
    secured.allow(transactions=[stage.group])
    wait_until_copied(stage, out)
    wait_for(lambda: sidecar.health() == "SERVING", "the health")
