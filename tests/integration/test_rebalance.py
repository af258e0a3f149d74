"""Rebalances between two sidecars, each with its own lambda process, lose no records."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2
from tests.integration import checks
from tests.integration.harness import Program, Sidecar, Stage, Traffic, wait_for, written

pytestmark = pytest.mark.kafka

PARTITIONS = 8
DRAIN = 2.0
"""`rebalance_drain`; a lambda's close takes 1.5 s of it."""
QUICK = {"heartbeat.interval.ms": 1000}
"""Members learn of a rebalance by heartbeats."""
PROTOCOLS: dict[str, dict[str, Any]] = {
    "range": {"partition.assignment.strategy": "range", **QUICK},
    "cooperative-sticky": {"partition.assignment.strategy": "cooperative-sticky", **QUICK},
    "consumer": {"group.protocol": "consumer"},
}


def start_pair(stage: Stage, label: str, kafka: dict[str, Any], **settings: Any) -> tuple[Sidecar, Program]:
    """Start a sidecar and its lambda process, both named after ``label``."""
    sidecar = stage.sidecar(label=label, kafka=kafka, rebalance_drain=f"{DRAIN}s")
    return sidecar, stage.process(sidecar, f"for-{label}", **settings)


def running(sidecar: Sidecar) -> set[int]:
    """The partitions that its lambda process handles."""
    partitions = sidecar.partitions().items()
    return {number for number, one in partitions if one.state == admin_pb2.PARTITION_STATE_RUNNING}


def wait_until_shared(first: Sidecar, second: Sidecar) -> None:
    """Wait until each sidecar runs half of the partitions."""
    wait_for(
        lambda: len(running(first)) == len(running(second)) == PARTITIONS // 2,
        lambda: f"four each: {running(first)}, {running(second)}",
    )


@pytest.mark.alone
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_slow_drain(kafka_stage: Stage, protocol: str) -> None:
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    # The only checkpoint is the last one of `close`; the next owner starts after it.
    slow = {"every": 0, "close_takes": 1.5, "at_close": True}
    first, first_process = start_pair(stage, "a", PROTOCOLS[protocol], **slow)
    with Traffic(stage, PARTITIONS, 0.02):
        wait_for(lambda: len({event.partition for event in stage.history.handled()}) == PARTITIONS, "all to flow")
        joins = time.monotonic()
        second, _ = start_pair(stage, "b", PROTOCOLS[protocol], **slow)
        wait_until_shared(first, second)
        kept = running(first)
        wait_for(
            lambda: len({event.partition for event in stage.history.handled("for-b")}) == PARTITIONS // 2,
            "the second to flow",
        )
        assert second.terminate() == 0
        wait_for(lambda: running(first) == {*range(PARTITIONS)}, "the first to have all again")
        back = time.monotonic()
        wait_for(
            lambda: len({e.partition for e in stage.history.handled("for-a") if e.at > back}) == PARTITIONS,
            "all to flow at the first again",
        )
    stage.wait_until_handled()
    assert first_process.terminate() == 0
    stage.wait_until_caught_up()
    assert first.terminate() == 0

    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events, exactly=True)
    for sidecar in (first, second):
        assert not sidecar.log("drain deadline passed")
    if protocol != "range":
        # During the drain Kafka's client fetches nothing, not even for the partitions that stay.
        for partition in kept:
            during = [e for e in stage.history.handled("for-a", partition) if joins <= e.at <= back]
            gap = checks.longest_gap(during)
            # Three drains of 1.5 s, one after the other, would take longer than this.
            assert gap < 2 * DRAIN, f"partition {partition}, which stays, stood still for {gap:.2f} s"
            assert len({event.lease for event in during}) == 1, "its lambda has noticed nothing"


@pytest.mark.alone
@pytest.mark.parametrize("protocol", ["cooperative-sticky", "range"])
def test_one_of_two_sidecars_ends(kafka_stage: Stage, protocol: str) -> None:
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    kafka = PROTOCOLS[protocol]
    first, first_process = start_pair(stage, "a", kafka)
    first.wait_for_log("partitions assigned")
    second, _ = start_pair(stage, "b", kafka)
    with Traffic(stage, PARTITIONS, 0.02):
        wait_until_shared(first, second)
        wait_for(lambda: len(stage.history.handled("for-b")) > 100, "the second to flow")
        assert second.terminate() == 0
        left = written(second.wait_for_log("left the group"))
        wait_for(lambda: running(first) == {*range(PARTITIONS)}, "the first to have all")
        took = stage.history.events("created", process="for-a")[-1].utc - left
    # Two heartbeats of 1 s; on a busy machine more. Without leaving the group it would be noticed after 45 s.
    assert took < 15.0, f"the first had all {took:.1f} s after the second had left"
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert first_process.terminate() == 0
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events, exactly=True)


def test_close_takes_longer_than_it_may(kafka_stage: Stage) -> None:
    """The deadline holds: the next owner starts after the last checkpoint that came in time; nothing is lost."""
    stage = kafka_stage
    stage.create_topic(2)
    stage.produce_numbers(90, 2)
    kafka = PROTOCOLS["cooperative-sticky"]
    first = stage.sidecar(label="a", kafka=kafka, rebalance_drain="500ms")
    process = stage.process(first, "for-a", every=10, close_takes=3.0, at_close=True)
    stage.wait_until_handled()
    second = stage.sidecar(label="b", kafka=kafka)
    stage.process(second, "for-b")
    wait_for(lambda: len(running(second)) == 1, "the second to have one")
    # 45 records, a checkpoint every 10: five were handled and come again.
    assert [event.start for event in stage.history.events("created", process="for-b")] == [40]
    wait_for(lambda: len(stage.history.handled("for-b")) == 5, "the records after the checkpoint")
    moved = running(second).pop()
    wait_for(lambda: stage.history.events("closed", process="for-a", partition=moved), "the late close")
    # Its last checkpoint came too late to count.
    assert stage.history.events("checkpointed", process="for-a", partition=moved)[-1].offset == 44
    stage.produce_numbers(20, 2, first=90)
    stage.wait_until_handled()
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    assert "close is still running after its deadline" in process.text()
    wait_for(lambda: stage.committed()[moved] == 55, lambda: f"{stage.committed()}")


@pytest.mark.alone  # it has to be back within its session
def test_static_member_comes_back_without_a_rebalance(kafka_stage: Stage) -> None:
    """Kafka keeps a static member's partitions until its session expires: the other member sees no rebalance."""
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    kafka = {**PROTOCOLS["cooperative-sticky"], "session.timeout.ms": 45_000}
    first, _ = start_pair(stage, "a", {**kafka, "group.instance.id": "a"})
    second, _ = start_pair(stage, "b", {**kafka, "group.instance.id": "b"})
    wait_until_shared(first, second)
    with Traffic(stage, PARTITIONS, 0.02):
        wait_for(lambda: len(stage.history.handled("for-b")) > 100, "the second to flow")
        own, changes = running(second), len(first.log("partitions "))
        assert second.terminate() == 0
        again = stage.sidecar(second.config, "b2")
        wait_for(lambda: running(again) == own, lambda: f"its own partitions: {running(again)}, {own}")
        wait_for(lambda: len(running(first)) == PARTITIONS // 2, "the first to have its own")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert len(first.log("partitions ")) == changes, "the first has noticed nothing"
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.leases_go_on(events, exactly=True)


@pytest.mark.parametrize("protocol", ["cooperative-sticky", "consumer"])
def test_lost_partitions_are_fenced_and_not_committed(kafka_stage: Stage, protocol: str) -> None:
    """A sidecar that is frozen for longer than its session finds its partitions with another member."""
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    stage.produce_numbers(PARTITIONS * 20, PARTITIONS)
    session = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}
    kafka = {**PROTOCOLS[protocol], **(session if protocol != "consumer" else {})}
    # Checkpoints come only at close: if one counted, the committed offset would show it.
    first, process = start_pair(stage, "a", kafka, every=0, at_close=True)
    stage.wait_until_handled()
    first.signal(signal.SIGSTOP)
    second, _ = start_pair(stage, "b", kafka, every=0)
    wait_for(lambda: running(second) == {*range(PARTITIONS)}, "the second to have all")
    wait_for(lambda: len(stage.history.handled("for-b")) == PARTITIONS * 20, "all of them again")
    first.signal(signal.SIGCONT)
    first.wait_for_log("partitions lost")
    wait_for(lambda: len(stage.history.events("closed", process="for-a")) >= PARTITIONS, "its lambdas to close")
    checks.gapless_leases(stage.produced, stage.history.events())
    assert process.running()
    assert second.terminate() == 0
    assert not any(stage.committed().values()), f"nobody's checkpoint counted: {stage.committed()}"
