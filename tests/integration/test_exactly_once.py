"""Exactly-once on real Kafka: what a lambda produces becomes visible once, in order, whatever is killed."""

from __future__ import annotations

import random
import signal
import sys
from typing import Any

import grpc
import pytest
from confluent_kafka import KafkaException

from sdk_python.protocol import admin_pb2, lambda_pb2 as pb
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, PATIENCE, Program, Sidecar, Stage, Traffic, wait_for
from tests.integration.test_produce import out_topic
from tests.servers.topics import Stored, end_offsets, read_all

pytestmark = pytest.mark.kafka

PARTITIONS = 3


def copier(stage: Stage, sidecar: Sidecar, out: str, how: str = "commit", label: str = "p1") -> Program:
    command = [sys.executable, "-m", "tests.integration.copier", sidecar.address, NAME, out, how]
    return stage.program(label, command)


def visible(stage: Stage, out: str) -> list[Stored]:
    """What readers with read_committed, the default, see."""
    return read_all(stage.broker.address, out)


def copies(stage: Stage, out: str) -> dict[int, list[int]]:
    """The offsets that were copied, by their partition, in the order in which they are in ``out``."""
    found: dict[int, list[int]] = {}
    for record in visible(stage, out):
        partition, offset, _, _ = (record.value or b"").decode().split(":")
        assert int(partition) == record.partition
        found.setdefault(record.partition, []).append(int(offset))
    return found


def committed(stage: Stage) -> dict[int, int]:
    """The group's committed offsets; empty while Kafka does not tell them, since a transaction is open."""
    try:
        return stage.committed()
    except KafkaException:
        return {}


def produced(stage: Stage) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for partition, offset in stage.produced:
        found.setdefault(partition, []).append(offset)
    return found


def wait_until_copied(stage: Stage, out: str) -> None:
    wanted = produced(stage)
    ends = {partition: offsets[-1] + 1 for partition, offsets in wanted.items()}
    wait_for(lambda: committed(stage) == ends, lambda: f"{ends} to be committed, {committed(stage)} is")
    wait_for(lambda: not missing(copies(stage, out), wanted), "no transaction to be open, so that all can be read")
    assert copies(stage, out) == wanted


def missing(found: dict[int, list[int]], wanted: dict[int, list[int]]) -> dict[int, list[int]]:
    """What was not copied, or cannot be read yet: a sidecar that was killed left a transaction open."""
    left = {partition: sorted({*offsets} - {*found.get(partition, [])}) for partition, offsets in wanted.items()}
    return {partition: offsets for partition, offsets in left.items() if offsets}


@pytest.mark.parametrize("how", ["commit", "held", "sources"])
def test_all_is_copied_once_by_each_way(kafka_stage: Stage, how: str) -> None:
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    out = out_topic(stage, PARTITIONS)
    stage.produce_numbers(3_000, PARTITIONS)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once")
    copier(stage, sidecar, out, how)
    wait_until_copied(stage, out)


def test_the_last_checkpoint_of_a_drain_takes_what_is_held(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    stage.produce_numbers(3_000, PARTITIONS)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once")
    copier(stage, sidecar, out, "closed")
    wait_for(lambda: sum(one.outstanding for one in sidecar.partitions().values()) == 3_000, "all to be delivered")
    assert sidecar.terminate() == 0
    wait_until_copied(stage, out)


def test_a_client_that_does_not_know_of_it_is_refused(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    sidecar = stage.sidecar(guarantee="exactly-once")
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client, pytest.raises(grpc.RpcError) as refused:
        client.offer(NAME)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "exactly-once" in str(refused.value)


def test_a_lambda_that_is_killed_again_and_again(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once", window={"messages": 300})
    with Traffic(stage, PARTITIONS, 0.004):
        for number in range(6):
            process = copier(stage, sidecar, out, ("commit", "held", "sources")[number % 3], f"p{number}")
            wait_for_copies(stage, out)
            process.kill()
    copier(stage, sidecar, out, label="last")
    wait_until_copied(stage, out)


def test_a_sidecar_that_is_killed_again_and_again(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    with Traffic(stage, PARTITIONS, 0.004):
        for number in range(4):
            config = stage.config(label=f"s{number}", **options(out), kafka={"session.timeout.ms": 1000})
            sidecar = stage.sidecar(config, f"s{number}")
            process = copier(stage, sidecar, out, ("commit", "held")[number % 2], f"p{number}")
            wait_for_copies(stage, out)
            sidecar.kill()
            process.kill()
    last = stage.sidecar(label="last", **options(out))
    copier(stage, last, out, label="p")
    wait_until_copied(stage, out)


def test_with_static_membership_a_restart_aborts_what_was_left_open(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    kafka = {"group.instance.id": "one", "session.timeout.ms": 6000}
    with Traffic(stage, PARTITIONS, 0.004):
        for number in range(3):
            sidecar = stage.sidecar(stage.config(label=f"s{number}", **options(out), kafka=kafka), f"s{number}")
            process = copier(stage, sidecar, out, "commit", f"p{number}")
            wait_for_copies(stage, out)
            sidecar.kill()
            process.kill()
    last = stage.sidecar(stage.config(label="last", **options(out), kafka=kafka), "last")
    copier(stage, last, out, label="p")
    wait_until_copied(stage, out)


def test_partitions_move_between_two_sidecars(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    first = stage.sidecar(label="first", **options(out))
    copier(stage, first, out, "held", "p0")
    with Traffic(stage, PARTITIONS, 0.004):
        wait_for_copies(stage, out)
        for number in range(3):
            second = stage.sidecar(label=f"second{number}", **options(out))
            process = copier(stage, second, out, "commit", f"p{number + 1}")
            wait_for(lambda second=second: second.partitions(), "the second to get partitions")  # type: ignore[misc]
            wait_for_copies(stage, out)
            assert second.terminate() == 0
            process.kill()
    wait_until_copied(stage, out)


def test_a_frozen_sidecar_that_wakes_up_commits_nothing(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    kafka = {"session.timeout.ms": 1500}
    frozen = stage.sidecar(stage.config(label="frozen", **options(out), kafka=kafka), "frozen")
    copier(stage, frozen, out, label="p0")
    with Traffic(stage, PARTITIONS, 0.004):
        wait_for_copies(stage, out)
        frozen.signal(signal.SIGSTOP)
        other = stage.sidecar(stage.config(label="other", **options(out), kafka=kafka), "other")
        copier(stage, other, out, label="p1")
        wait_for_copies(stage, out)
        frozen.signal(signal.SIGCONT)
        wait_for_copies(stage, out)
        other.kill()
        wait_for_copies(stage, out)
    wait_until_copied(stage, out)


def test_a_record_that_is_refused_takes_its_checkpoint_with_it(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic(2)
    small, out = out_topic(stage, 1, "small", max_message_bytes="2000"), out_topic(stage, 2)
    stage.produce_numbers(20, 2)
    sidecar = stage.sidecar(produce=[small, out], guarantee="exactly-once")
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as culprit:
        culprit.offer(NAME, capabilities=["exactly-once"])
        assigned = culprit.take()
        culprit.hear("batch")
        copier(stage, sidecar, out)
        answer = culprit.produce(small, b"fits", random.Random(1).randbytes(5_000), commit=4)
        assert answer.commit.outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
        assert [*answer.outcomes] != [pb.PRODUCE_OUTCOME_WRITTEN] * 2
        assert "too large" in "".join(answer.errors).lower()
        revoked = culprit.hear("revoked")
        assert (revoked.reason, revoked.deadline_ms) == (pb.REVOKE_REASON_ABORTED, 0)
        culprit.close(pb.CLOSED_REASON_REVOKED)
        culprit.ended()
    wait_until_copied(stage, out)
    assert read_all(stage.broker.address, small) == []
    status = sidecar.lambda_status()
    assert status.transactions_aborted == 1
    assert sidecar.partitions()[assigned.partition].last_error.kind == admin_pb2.FAILURE_KIND_ABORTED


def test_what_is_held_is_seen_by_nobody_and_ends_with_the_lease(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage, 1)
    stage.produce_numbers(3)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once")
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        welcome = client.offer(NAME, capabilities=["exactly-once", "committed"])
        assert welcome.guarantee == pb.GUARANTEE_EXACTLY_ONCE
        assert {*welcome.capabilities} == {"exactly-once", "committed"}
        client.take()
        client.hear("batch")
        assert [*client.produce(out, b"a").outcomes] == [pb.PRODUCE_OUTCOME_HELD]
        answer = client.produce(out, b"b", commit=0)
        assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_WRITTEN]
        assert answer.commit.outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED
        assert client.hear("committed").offset == 0
        assert [*client.produce(out, b"c").outcomes] == [pb.PRODUCE_OUTCOME_HELD]
        far = client.produce(out, b"d", commit=7)
        assert (far.commit.outcome, [*far.outcomes]) == (
            pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED,
            [pb.PRODUCE_OUTCOME_HELD],
        )
        assert stage.committed() == {0: 1}
        assert client.checkpoint(0).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED  # told again: it takes nothing
        assert client.checkpoint(1).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED
        assert client.hear("committed").offset == 1
        client.produce(out, b"lost")
        client.close(pb.CLOSED_REASON_STOPPED, last=1)
        client.ended()
    assert [one.value for one in read_all(stage.broker.address, out)] == [b"a", b"b", b"c", b"d"]
    assert stage.committed() == {0: 2}


def test_several_entries_of_a_lease_in_one_call_write_each_record_once(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage, 1)
    stage.produce_numbers(3)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once")
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME, capabilities=["exactly-once", "committed"])
        client.take()
        client.hear("batch")
        request = pb.ProduceRequest(lease=client.lease, topics=[out], values=[b"a", b"b"], sources=[0, 1])
        client.stub.Produce(request, timeout=PATIENCE)
        entries = []
        for offset in (0, 1):
            entries.append(pb.CheckpointEntry(lease=client.lease, offset=offset))
            entries.append(pb.CheckpointEntry(lease=client.lease, handled=offset))
        answer = client.stub.Checkpoint(pb.CheckpointRequest(entries=entries), timeout=PATIENCE)
        assert {one.outcome for one in answer.results} == {pb.CHECKPOINT_OUTCOME_ACCEPTED}
        while client.hear("committed").offset < 1:
            pass
    assert [one.value for one in read_all(stage.broker.address, out)] == [b"a", b"b"]


def begin(stage: Stage, partitions: int = PARTITIONS) -> str:
    """The topics. Returns the second."""
    stage.create_topic(partitions)
    return out_topic(stage, partitions)


def options(out: str) -> dict[str, Any]:
    return {"produce": [out], "guarantee": "exactly-once", "window": {"messages": 300}}


def wait_for_copies(stage: Stage, out: str, more: int = 300) -> None:
    """Wait until so many more are there."""
    before = sum(end_offsets(stage.broker.address, out).values())
    wait_for(lambda: sum(end_offsets(stage.broker.address, out).values()) >= before + more, f"{more} copies more")
