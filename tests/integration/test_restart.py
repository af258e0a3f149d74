"""Lambdas that fail and processes that die: when and from which offset they go on; others are not affected."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration import checks
from tests.integration.harness import NAME, Sidecar, Stage, wait_for

PARTITIONS = 3


def start_failing(stage: Stage, **settings: Any) -> Sidecar:
    """Produce ten records to each of three partitions; start a lambda that fails in partition 1 at offset 6."""
    stage.create_topic(PARTITIONS)
    stage.produce_numbers(10 * PARTITIONS, PARTITIONS)
    sidecar = stage.sidecar()
    stage.process(sidecar, module="failing", fail_partition=1, fail_offset=6, **settings)
    return sidecar


def created(stage: Stage, partition: int) -> list[tuple[int | None, int]]:
    """The start offset and the attempt of each lambda of a partition."""
    return [(event.start, event.attempt) for event in stage.history.events("created", partition=partition)]


def test_recoverable_error(stage: Stage) -> None:
    sidecar = start_failing(stage, fail_how="restart", fail_attempts=2)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    # The same start offset with the next attempt, after pauses; the others are not affected.
    assert created(stage, 1) == [(0, 1), (6, 2), (6, 3)]
    assert created(stage, 0) == created(stage, 2) == [(0, 1)]
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events)
    failures = stage.history.events("failing")
    assert [event.offset for event in failures] == [6, 6]
    retries = stage.history.events("created", partition=1)[1:]
    pauses = [again.at - failed.at for failed, again in zip(failures, retries, strict=True)]
    assert 0.25 <= pauses[0] <= 1.5, "first back-off: between a quarter and half a second"
    assert 0.5 <= pauses[1] <= 2.0, "second back-off: between half a second and one second"
    assert [line["attempt"] for line in sidecar.log("partition backs off", partition=1)] == [2, 3]
    assert [event.reason for event in stage.history.events("closed", partition=1)][:2] == ["error", "error"]
    assert sidecar.lambda_status().restarts == 2


def test_exception_halts_the_partition(stage: Stage) -> None:
    sidecar = start_failing(stage, fail_attempts=1)
    halted = sidecar.wait_for_state("halted", 1)
    assert (halted.failing_offset, halted.checkpoint) == (6, 5)
    assert "cannot read message 6" in halted.reason
    stage.wait_until_handled(26)
    # The others have gone on; this partition's commit is not above the failing offset.
    wait_for(lambda: stage.committed() == {0: 10, 1: 6, 2: 10}, lambda: f"committed {stage.committed()}")
    sidecar.wait_for_log("partition halted", partition=1, offset=6)

    target = f"{NAME}/{stage.topic}"
    for wrong, why in (
        (f"{target}/0", "is neither halted nor paused, it is running"),
        (f"{target}/7", "is not assigned to this sidecar"),
        (f"other/{stage.topic}/1", "there is no lambda 'other'"),
    ):
        refused = sidecar.cli("resume", wrong)
        assert refused.returncode == 1, wrong
        assert why in refused.stderr

    resumed = sidecar.cli("resume", f"{target}/1")
    assert (resumed.returncode, resumed.stdout) == (0, f"{target}/1 goes on from offset 6\n")
    # It fails while the attempt is 1, which it is again: the record is delivered again, the partition halts again.
    sidecar.wait_for_log("partition halted", count=2, partition=1)
    assert [event.offset for event in stage.history.events("failing")] == [6, 6]
    sidecar.wait_for_state("halted", 1)
    skipped = sidecar.cli("resume", f"{target}/1", "--skip")
    assert (skipped.returncode, skipped.stdout) == (0, f"{target}/1 goes on from offset 6, leaving out offset 6\n")
    stage.wait_until_handled(29)
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events, left_out=[(1, 6)])
    checks.gapless_leases(stage.produced, events, left_out=[(1, 6)])


def test_last_record_of_a_partition_is_skipped(stage: Stage) -> None:
    stage.create_topic()
    stage.produce_numbers(5)
    sidecar = stage.sidecar()
    stage.process(sidecar, module="failing", fail_offset=4)
    sidecar.wait_for_state("halted")
    assert sidecar.cli("resume", f"{NAME}/{stage.topic}/0", "--skip").returncode == 0
    wait_for(lambda: len(created(stage, 0)) == 2, "a new lambda")
    stage.wait_until_caught_up()
    stage.produce_numbers(5, first=5)
    stage.wait_until_handled(9)
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events(), left_out=[(0, 4)])


def test_only_process_is_killed(stage: Stage) -> None:
    stage.create_topic(2)
    stage.produce_numbers(400, 2)
    sidecar = stage.sidecar()
    process = stage.process(sidecar, handler_takes=0.002, every=7)
    stage.wait_until_handled(200)
    wait_for(lambda: all(one.checkpoint for one in sidecar.partitions().values()), "both to have a checkpoint")
    known = {number: one.checkpoint for number, one in sidecar.partitions().items()}
    process.kill()
    stage.process(sidecar, "p2", every=7, idle=0.1)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    starts = {event.partition: event.start or 0 for event in stage.history.events("created", process="p2")}
    for partition in range(2):
        made = {event.offset for event in stage.history.events("checkpointed", process="p1", partition=partition)}
        # A checkpoint that had not left the process is lost with it; on a busy machine, several are.
        assert starts[partition] > known[partition], "it goes on from the checkpoint"
        assert starts[partition] - 1 in made, "it goes on from a checkpoint"
    checks.leases_go_on(events, killed={"p1"})
    assert len(sidecar.log("partitions assigned")) == 1


def test_one_of_two_processes_is_killed(stage: Stage) -> None:
    stage.create_topic(4)
    stage.produce_numbers(40, 4)
    sidecar = stage.sidecar()
    first = stage.process(sidecar, handler_takes=0.001)
    stage.wait_until_handled()
    stage.process(sidecar, "p2", handler_takes=0.001)
    wait_for(lambda: len(sidecar.lambda_status().processes) == 2, "the second process")
    stage.produce_numbers(2000, 4, first=40)
    stage.wait_until_handled(500)
    pid = stage.history.events("started", process="p1")[0].pid
    holder = next(one.process_id for one in sidecar.lambda_status().processes if one.pid == pid)
    orphans = {number for number, one in sidecar.partitions().items() if one.process_id == holder}
    assert orphans
    killed = time.monotonic()
    first.signal(signal.SIGKILL)

    def heirs() -> dict[int, float]:
        """The times at which the other process handled its first message of each orphaned partition."""
        events = [event for event in stage.history.handled("p2") if event.partition in orphans and event.at > killed]
        return {event.partition: event.at for event in reversed(events)}

    wait_for(lambda: len(heirs()) == len(orphans), "the second process to take over")
    # A tenth of a second, on a busy machine some.
    assert max(heirs().values()) - killed < 9.0, "by the broken connection: a ping is given up after 10 s"
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events, killed={"p1"})
    assert {line["partition"] for line in sidecar.log("partition restarts at once")} == orphans
    assert len(sidecar.log("partitions assigned")) == 1, "the group has not noticed"


@pytest.mark.alone
def test_a_redeploy_is_no_failure(stage: Stage) -> None:
    stage.create_topic(2)
    stage.produce_numbers(20, 2)
    sidecar = stage.sidecar()
    old = stage.process(sidecar)
    stage.wait_until_handled()
    assert old.terminate() == 0
    stage.produce_numbers(20, 2, first=20)
    new = stage.process(sidecar, "p2")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    created_ = stage.history.events("created", process="p2")
    assert [(event.start, event.attempt) for event in created_] == [(10, 1), (10, 1)]
    assert not sidecar.log("partition backs off")
    assert not sidecar.log("partition restarts at once")
    assert sidecar.lambda_status().restarts == 0
    assert new.terminate() == 0
    checks.all_handled_once(stage.produced, stage.history.events())


@pytest.mark.parametrize("end", ["sidecar", "process", "process killed", "sidecar killed"])
def test_handled_records_without_a_checkpoint_come_again(stage: Stage, end: str) -> None:
    """All records are delivered, and the last three are not done: no orderly end may commit them."""
    stage.create_topic()
    stage.produce_numbers(10)
    # The group notices a killed member when its session expires.
    sidecar = stage.sidecar(kafka={"session.timeout.ms": 2000, "heartbeat.interval.ms": 500})
    process = stage.process(sidecar, every=7)
    stage.wait_until_handled()
    wait_for(lambda: stage.committed() == {0: 7}, lambda: f"{stage.committed()}")
    ways: dict[str, Callable[[], object]] = {
        "sidecar": sidecar.terminate,
        "process": process.terminate,
        "process killed": process.kill,
        "sidecar killed": sidecar.kill,
    }
    ways[end]()
    if end.startswith("sidecar"):
        process.kill()
        sidecar = stage.sidecar(sidecar.config, "sidecar2")
    else:
        # Time for some commits, although no lambda runs.
        sidecar.wait_for_state("waiting")
        again = time.monotonic() + 0.3
        wait_for(lambda: time.monotonic() > again, "some commit intervals")
    assert stage.committed() == {0: 7}
    stage.process(sidecar, "p2")
    wait_for(lambda: len(stage.history.handled("p2")) == 3, "the three again")
    assert [event.offset for event in stage.history.handled("p2")] == [7, 8, 9]
    stage.wait_until_caught_up()
