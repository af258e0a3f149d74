"""Balance: partitions move between the processes of one sidecar in order, without loss and without a rebalance."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2
from tests.integration import checks
from tests.integration.harness import Program, Sidecar, Stage, Traffic, wait_for

pytestmark = pytest.mark.alone

PARTITIONS = 8
EVERY = 0.02
"""Seconds between two records of a partition."""
GAP = 4.0
"""Seconds for which a partition may make no progress on a busy machine; without a failure it takes a tenth.

A partition that waits for trust (5 s), for the end of a drain (10 s) or for a silent peer (10 s) takes longer."""
FLAPS = 30.0
"""Seconds for which a process is killed and restarted repeatedly."""


def shares(sidecar: Sidecar) -> list[int]:
    """The number of partitions that each process runs, in ascending order."""
    status = sidecar.lambda_status()
    held = {process.process_id: 0 for process in status.processes}
    for one in status.partitions:
        if one.state == admin_pb2.PARTITION_STATE_RUNNING and one.process_id in held:
            held[one.process_id] += 1
    return sorted(held.values())


def wait_for_shares(sidecar: Sidecar, *wanted: int) -> None:
    """Wait until the processes have these numbers of partitions."""
    wait_for(lambda: shares(sidecar) == [*wanted], lambda: f"shares {wanted}, they are {shares(sidecar)}")


def wait_until_all_flow(stage: Stage, *processes: str) -> None:
    """Wait until one of these processes has handled a new record of each partition."""
    now = time.monotonic()
    wait_for(
        lambda: (
            len({e.partition for e in stage.history.handled() if e.at > now and e.process in processes}) == PARTITIONS
        ),
        f"all partitions to flow at {processes}",
    )


def start_one(stage: Stage, **settings: Any) -> tuple[Sidecar, Program]:
    """Start a sidecar with a process that has all partitions."""
    stage.create_topic(PARTITIONS)
    sidecar = stage.sidecar()
    process = stage.process(sidecar, **settings)
    wait_for_shares(sidecar, PARTITIONS)
    return sidecar, process


def start_two(stage: Stage) -> Sidecar:
    """Start a sidecar with two processes that have half of the partitions each."""
    sidecar, _ = start_one(stage)
    stage.process(sidecar, "p2")
    wait_for_shares(sidecar, PARTITIONS // 2, PARTITIONS // 2)
    return sidecar


def longest_gap(stage: Stage) -> float:
    """The longest time without progress of any partition, in seconds."""
    return max(checks.longest_gap(stage.history.handled(partition=number)) for number in range(PARTITIONS))


def check_nothing_was_lost_or_repeated(stage: Stage, sidecar: Sidecar) -> None:
    """Every lambda was closed in order, and each one started right after the one before."""
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events, exactly=True)
    assert not sidecar.log("partition backs off")
    assert not sidecar.log("partition restarts at once")
    assert sidecar.lambda_status().restarts == 0
    assert len(sidecar.log("partitions assigned")) == 1, "the group has not noticed"
    gap = longest_gap(stage)
    assert gap < GAP, f"a partition stood still for {gap:.2f} s"


def check_healthy_went_on(stage: Stage, sidecar: Sidecar, sick: set[str]) -> None:
    """All records were handled and no partition stopped, whatever the ``sick`` processes did."""
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events, killed=sick)
    assert len(sidecar.log("partitions assigned")) == 1, "the group has not noticed"
    gap = longest_gap(stage)
    assert gap < GAP, f"a partition stood still for {gap:.2f} s"


def test_one_that_joins_later_gets_its_share(stage: Stage) -> None:
    sidecar, _ = start_one(stage)
    with Traffic(stage, PARTITIONS, EVERY):
        wait_until_all_flow(stage, "p1")
        second = stage.process(sidecar, "p2")
        second.wait_for_log("the recorder is loaded")
        loaded = time.monotonic()
        wait_for_shares(sidecar, PARTITIONS // 2, PARTITIONS // 2)
        wait_until_all_flow(stage, "p1", "p2")
    check_nothing_was_lost_or_repeated(stage, sidecar)
    moved = stage.history.events("created", process="p2")
    assert moved[0].at - loaded > 4.0, "it has been there for a while first"
    assert len(moved) == len({event.partition for event in moved}) == PARTITIONS // 2
    closed = stage.history.events("closed")
    assert [event.reason for event in closed] == ["rebalanced"] * (PARTITIONS // 2)
    # One at a time: no partition begins to close before the one before it runs again.
    closing = stage.history.events("closing")
    for begun, lives in zip(closing[1:], moved, strict=False):
        assert begun.at > lives.at, f"partition {begun.partition} moved while {lives.partition} did"
    assert sidecar.lambda_status().hand_overs == PARTITIONS // 2
    assert len(sidecar.log("partition is handed over to another process")) == PARTITIONS // 2
    assert f"{PARTITIONS // 2} hand-overs" in sidecar.cli("status").stdout


def test_a_redeploy_with_both_processes_at_once_causes_no_pause(stage: Stage) -> None:
    sidecar, old = start_one(stage)
    with Traffic(stage, PARTITIONS, EVERY):
        wait_until_all_flow(stage, "p1")
        stage.process(sidecar, "p2")
        wait_for(lambda: sum(one.spare for one in sidecar.lambda_status().processes) == 2, "the new process")
        assert old.terminate() == 0
        wait_until_all_flow(stage, "p2")
    check_nothing_was_lost_or_repeated(stage, sidecar)
    assert {event.reason for event in stage.history.events("closed")} == {"stopped"}
    assert [event.process for event in stage.history.events("created")] == ["p1"] * PARTITIONS + ["p2"] * PARTITIONS
    assert sidecar.lambda_status().hand_overs == 0, "nobody asked for one"


def test_a_redeploy_while_partitions_move_keeps_the_order(embedded_stage: Stage) -> None:
    stage = embedded_stage
    # Long enough for the process to end in the middle of a hand-over.
    sidecar, old = start_one(stage, close_takes=0.3)
    with Traffic(stage, PARTITIONS, EVERY):
        wait_until_all_flow(stage, "p1")
        stage.process(sidecar, "p2")
        sidecar.wait_for_log("partition is handed over to another process", count=2)
        assert old.terminate() == 0
        wait_until_all_flow(stage, "p2")
    check_nothing_was_lost_or_repeated(stage, sidecar)


def flap(stage: Stage, sidecar: Sidecar, seconds: float) -> list[str]:
    """Kill a process again and again, a second after it is ready. Returns its names.

    The first kill comes before the process gets a partition, the others a second after it got one.
    """
    names: list[str] = []
    end = time.monotonic() + seconds
    for number in itertools.count():
        names.append(f"flap{number}")
        process = stage.process(sidecar, names[-1])
        process.wait_for_log("the recorder is loaded")
        if number:
            wait_until_it_holds(stage, names[-1], end)
        kill_in(process, 1.0)
        if time.monotonic() > end:
            return names
    raise AssertionError("never comes here")


def wait_until_it_holds(stage: Stage, name: str, end: float) -> None:
    """Wait until a process has its first partition, or until the time ``end``."""
    left = max(0.0, end - time.monotonic())
    wait_for(
        lambda: time.monotonic() > end or stage.history.events("created", process=name), "never fails", left + 1.0
    )


def kill_in(process: Program, seconds: float) -> None:
    """Kill a process after some seconds."""
    due = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > due, "the time to pass")
    process.kill()


def test_a_flapping_process_gets_partitions_less_and_less_often(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start_two(stage)
    before = sidecar.lambda_status().hand_overs
    with Traffic(stage, PARTITIONS, EVERY):
        wait_until_all_flow(stage, "p1", "p2")
        names = flap(stage, sidecar, FLAPS)
        wait_for_shares(sidecar, PARTITIONS // 2, PARTITIONS // 2)
        wait_until_all_flow(stage, "p1", "p2")
    check_healthy_went_on(stage, sidecar, {*names})
    # The first hand-overs go to it, two for its third of eight partitions. They fail and delay the next ones by 10 s,
    # 20 s and 40 s, one partition each.
    taken = {name: len(stage.history.events("created", process=name)) for name in names}
    assert taken["flap0"] == 0, "it was there for a second"
    assert 1 <= sum(taken.values()) <= 5, f"it was given {taken}"
    hand_overs = sidecar.lambda_status().hand_overs - before
    assert hand_overs <= 6, f"{hand_overs} hand-overs in {FLAPS:g} s"
    starts = len(stage.history.events("created", process="p1")) + len(stage.history.events("created", process="p2"))
    assert starts <= PARTITIONS + before + 6, "the healthy two took back what it had, and nothing else"


def test_a_process_whose_create_fails_gets_few_partitions(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start_two(stage)
    before = sidecar.lambda_status().hand_overs
    with Traffic(stage, PARTITIONS, EVERY):
        wait_until_all_flow(stage, "p1", "p2")
        stage.process(sidecar, "p3", module="uncreatable")
        wait_for(lambda: stage.history.events("failing"), "its first try")
        failed = time.monotonic()
        wait_for(lambda: time.monotonic() > failed + 12.0, "the time in which it could have had more")
        wait_for_shares(sidecar, 0, PARTITIONS // 2, PARTITIONS // 2)
        wait_until_all_flow(stage, "p1", "p2")
    check_healthy_went_on(stage, sidecar, set())
    assert len(stage.history.events("failing")) == 1
    assert sidecar.lambda_status().hand_overs == before + 1
