"""The state of a checkpoint comes back with its place, and a lambda hears of a commit when Kafka has it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.hand_client import HandClient, hand_client
from tests.integration.harness import NAME, Sidecar, Stage

ACCEPTED = pb.CHECKPOINT_OUTCOME_ACCEPTED
SHORT_SESSION = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}
"""A killed sidecar's partitions go to others soon."""
NOT_KEPT = "the broker does not keep the metadata of commits"


@contextmanager
def taking(sidecar: Sidecar) -> Iterator[tuple[HandClient, pb.Assigned]]:
    """A lambda that has a partition and its first records."""
    with hand_client(sidecar.address) as hand:
        hand.offer(NAME, capabilities=["committed"])
        assigned = hand.take()
        hand.hear_next("batch")
        yield hand, assigned


def started(stage: Stage, label: str = "sidecar", **options: Any) -> Sidecar:
    kafka = SHORT_SESSION if stage.broker.name == "kafka" else {}
    sidecar = stage.sidecar(stage.config(kafka=kafka, label=label, **options), label)
    sidecar.wait_until_listening()
    return sidecar


def ten_records(stage: Stage, partitions: int = 1) -> None:
    stage.create_topic(partitions)
    stage.produce_numbers(10 * partitions, partitions)


def place(assigned: pb.Assigned) -> tuple[int, bytes]:
    return assigned.start_offset, assigned.state


def test_a_killed_lambdas_successor_gets_the_state_of_the_checkpoint_where_it_starts(stage: Stage) -> None:
    ten_records(stage)
    sidecar = started(stage, checkpoint={"interval": "1h"})
    with taking(sidecar) as (hand, assigned):
        assert place(assigned) == (0, b"")
        assert hand.checkpoint(3, state=b"\x00three").outcome == ACCEPTED
        assert hand.checkpoint(4).outcome == ACCEPTED
        assert hand.checkpoint(6, state=b"x" * 2049).outcome == pb.CHECKPOINT_OUTCOME_STATE_TOO_LARGE
    with taking(sidecar) as (hand, assigned):
        assert place(assigned) == (5, b"\x00three"), "of the accepted checkpoint, committed or not"
        hand.close(pb.CLOSED_REASON_STOPPED, 7, b"x" * 2048)
        hand.ended()
    with taking(sidecar) as (hand, assigned):
        assert place(assigned) == (8, b"x" * 2048)
        assert hand.checkpoint(8, state=b"").outcome == ACCEPTED
    with taking(sidecar) as (_, assigned):
        assert place(assigned) == (9, b"")


def test_after_a_kill_of_the_sidecar_the_state_is_that_of_the_committed_place(kafka_stage: Stage) -> None:
    stage = kafka_stage
    ten_records(stage)
    states = {4: b"three", 7: b"six", 9: b"eight"}
    sidecar = started(stage)
    with taking(sidecar) as (hand, _):
        for start in (4, 7):
            hand.checkpoint(start - 1, state=states[start])
        assert hand.hear_next("committed").offset in (3, 6)
        hand.checkpoint(8, state=states[9])  # whether it is committed yet, nobody knows
        sidecar.kill()
    sidecar = started(stage, "second")
    with taking(sidecar) as (_, assigned):
        assert states[assigned.start_offset] == assigned.state
        assert stage.committed() == {0: assigned.start_offset}


def test_another_sidecar_gets_the_state_with_the_partition(kafka_stage: Stage) -> None:
    stage = kafka_stage
    ten_records(stage)
    first, second = started(stage), started(stage, "second")
    with taking(first) as (hand, _), hand_client(second.address) as other:
        other.offer(NAME)
        hand.checkpoint(3, state=b"three")
        first.signal(signal.SIGTERM)
        assert hand.hear_next("revoked").reason == pb.REVOKE_REASON_SHUTDOWN
        hand.close(pb.CLOSED_REASON_REVOKED, 5, b"five")
        hand.ended()
        assert place(other.take()) == (6, b"five")
    second.wait_for_log("partitions assigned")


def test_a_seek_drops_the_state(kafka_stage: Stage) -> None:
    stage = kafka_stage
    ten_records(stage)
    sidecar = started(stage)
    with taking(sidecar) as (hand, _):
        hand.checkpoint(4, state=b"four")
        assert hand.hear_next("committed").offset == 4
        assert sidecar.partitions()[0].state_bytes == 4
        assert sidecar.cli("seek", f"{NAME}/{stage.topic}/0", "--to", "5").returncode == 0
    sidecar.wait_for_log("the lambda's state is dropped: it belongs to another offset", bytes=4, offset=5)
    sidecar.kill()
    with taking(started(stage, "second")) as (_, assigned):
        assert place(assigned) == (5, b"")


def test_a_broker_that_keeps_no_metadata_is_a_warning_once(embedded_stage: Stage) -> None:
    stage = embedded_stage
    ten_records(stage)
    sidecar = started(stage)
    with taking(sidecar) as (hand, _):
        for offset in (3, 5):
            hand.checkpoint(offset, state=b"state")
            assert hand.hear_next("committed").offset == offset
        sidecar.wait_for_log(NOT_KEPT)
        hand.checkpoint(7, state=b"state")
        assert hand.hear_next("committed").offset == 7
    assert len([line for line in sidecar.text().splitlines() if NOT_KEPT in line]) == 1


# --- commits --------------------------------------------------------------------------------------------------------


def test_nobody_hears_of_a_commit_before_kafka_has_it(stage: Stage) -> None:
    ten_records(stage)
    sidecar = started(stage)
    with taking(sidecar) as (hand, _):
        for offset in range(10):
            hand.checkpoint(offset)
            assert hand.hear_next("committed").offset == offset
            assert stage.committed()[0] >= offset + 1


@pytest.mark.parametrize("how", ["shutdown", "rebalance"])
def test_a_lambda_may_wait_for_a_commit_before_it_closes(kafka_stage: Stage, how: str) -> None:
    """The commits at an interval would come too late."""
    stage = kafka_stage
    ten_records(stage, 2)
    slow: dict[str, Any] = {"checkpoint": {"interval": "1h"}, "rebalance_drain": "20s", "shutdown_drain": "20s"}
    first, second = started(stage, **slow), started(stage, "second", **slow)
    with taking(first) as one, taking(first) as two, hand_client(second.address) as other:
        if how == "shutdown":
            first.signal(signal.SIGTERM)
            revoked, reason = [one, two], pb.REVOKE_REASON_SHUTDOWN
        else:
            other.offer(NAME)
            gone = first.wait_for_log("partitions revoked")["partitions"]
            revoked = [held for held in (one, two) if f"{stage.topic}/{held[1].partition}" == gone]
            reason = pb.REVOKE_REASON_REBALANCE
            assert len(revoked) == 1
        for hand, assigned in revoked:
            assert hand.hear_next("revoked").reason == reason
            assert hand.checkpoint(6).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING
            assert hand.hear_next("committed").offset == 6
            assert stage.committed()[assigned.partition] == 7
            hand.close(pb.CLOSED_REASON_REVOKED)
            hand.ended()
