"""The consequences of errors: with `max_restarts`, and with `on_critical: exit`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.integration import checks
from tests.integration.dead import CONNECT, OURS, added, check_left_out, dead_topic, read_dead, sources
from tests.integration.harness import NAME, Program, Sidecar, Stage, wait_for
from tests.servers.topics import Record, partition_count, produce_non_utf8_header


def start_failing(stage: Stage, settings: dict[str, Any], **options: Any) -> tuple[Sidecar, Program]:
    """Produce eight records to each of two partitions; start a lambda that fails in partition 1 at offset 4."""
    stage.create_topic(2)
    stage.produce_numbers(16, 2)
    sidecar = stage.sidecar(**options)
    return sidecar, stage.process(sidecar, module="failing", fail_partition=1, fail_offset=4, **settings)


def attempts(stage: Stage, partition: int = 1) -> list[tuple[int | None, int]]:
    """The start offset and the attempt of each lambda of a partition."""
    return [(event.start, event.attempt) for event in stage.history.events("created", partition=partition)]


# --- counting -------------------------------------------------------------------------------------------------


def test_after_max_restarts_the_record_becomes_a_dead_letter(stage: Stage) -> None:
    sidecar, _ = start_failing(
        stage, {"fail_how": "restart", "fail_named": True}, on_critical="dead-letter", max_restarts=2
    )
    check_left_out(stage, [(1, 4)])
    # The third attempt is the last one; after the record, counting starts again.
    assert attempts(stage) == [(0, 1), (4, 2), (4, 3), (4, 1)]
    assert attempts(stage, 0) == [(0, 1)]
    assert len(stage.history.events("failing")) == 3
    [letter] = read_dead(stage)
    said = added(letter)
    assert sources([letter]) == [(1, 4)]
    assert said[f"{OURS}attempts"] == "3"
    assert said[f"{CONNECT}exception.class.name"] == "ConnectionError"
    assert said[f"{CONNECT}exception.message"] == "the store is away"
    first, last = (datetime.fromisoformat(said[f"{OURS}{name}.failure"]) for name in ("first", "last"))
    # The sidecar hears of a failure before it restarts the lambda. Its log has milliseconds.
    failures = [event.utc for event in stage.history.events("failing")]
    assert failures[0] - 0.01 < first.timestamp() < failures[1] < failures[2] < last.timestamp() + 0.01
    assert len(sidecar.log("partition backs off", partition=1)) == 2
    sidecar.wait_for_log("record becomes a dead letter", partition=1, offset=4)


def test_after_max_restarts_without_a_named_record_the_partition_halts(stage: Stage) -> None:
    sidecar, _ = start_failing(stage, {"fail_how": "restart"}, on_critical="dead-letter", max_restarts=1)
    halted = sidecar.wait_for_state("halted", 1)
    assert attempts(stage) == [(0, 1), (4, 2)]
    assert "1 restarts did not help" in halted.reason
    assert "the store is away (no dead letter: the error names no record" in halted.reason
    wait_for(lambda: stage.committed() == {0: 8, 1: 4}, lambda: f"{stage.committed()}")
    assert partition_count(stage.broker.address, dead_topic(stage)) == 0


def test_after_max_restarts_the_partition_halts_if_that_is_the_policy(embedded_stage: Stage) -> None:
    stage = embedded_stage
    settings = {"fail_how": "restart", "fail_named": True, "fail_attempts": 1}
    sidecar, _ = start_failing(stage, settings, max_restarts=0)
    halted = sidecar.wait_for_state("halted", 1)
    assert (halted.failing_offset, attempts(stage)) == (4, [(0, 1)])
    assert "the store is away" in halted.reason
    assert sidecar.cli("resume", f"{NAME}/{stage.topic}/1", "--skip").returncode == 0
    check_left_out(stage, [(1, 4)])


def test_progress_resets_the_count(embedded_stage: Stage) -> None:
    """Each of these fails once, and none is given up, although there are more than the allowed restarts."""
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(8)
    sidecar = stage.sidecar(on_critical="dead-letter", max_restarts=1)
    record_ids = [(0, 1), (0, 3), (0, 5)]
    settings: dict[str, Any] = {"fail_how": "restart", "fail_named": True, "fail_once": True}
    stage.process(sidecar, module="failing", fail_records=record_ids, **settings)
    check_left_out(stage, [])
    assert [event.offset for event in stage.history.events("failing")] == [1, 3, 5]
    assert sidecar.lambda_status().dead_letters == 0


def test_without_a_limit_restarts_never_become_critical(embedded_stage: Stage) -> None:
    stage = embedded_stage
    settings = {"fail_how": "restart", "fail_named": True, "fail_attempts": 4}
    sidecar, _ = start_failing(stage, settings, on_critical="dead-letter")
    check_left_out(stage, [])
    assert attempts(stage) == [(0, 1), *((4, attempt) for attempt in range(2, 6))]
    assert sidecar.lambda_status().dead_letters == 0
    assert partition_count(stage.broker.address, dead_topic(stage)) == 0
    checks.all_handled_once(stage.produced, stage.history.events())


def test_killed_and_redeployed_processes_make_no_record_a_dead_letter(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    stage.produce_numbers(400, 2)
    sidecar = stage.sidecar(on_critical="dead-letter")
    for number in range(5):
        # Without a checkpoint the same records are delivered before each death.
        silent = [0, 1] if number < 4 else []
        process = stage.process(sidecar, f"p{number}", handler_takes=0.002, silent=silent)
        wait_for(lambda label=f"p{number}": len(stage.history.handled(label)) >= 20, "some to be handled")  # type: ignore[misc]
        if number < 4:
            process.kill() if number % 2 else process.terminate()
    stage.wait_until_caught_up()
    checks.all_handled(stage.produced, stage.history.events())
    assert sidecar.lambda_status().dead_letters == 0
    assert not sidecar.log("partition halted")
    assert partition_count(stage.broker.address, dead_topic(stage)) == 0


# --- exit -----------------------------------------------------------------------------------------------------


def test_exit_drains_the_others_and_says_why(stage: Stage) -> None:
    stage.create_topic(3)
    stage.produce_numbers(3 * 300, 3)
    # Only the drain commits.
    sidecar = stage.sidecar(on_critical="exit", checkpoint={"interval": "1h"})
    stage.process(
        # The other lambdas are drained while they work, even if they started long before the failing one.
        sidecar,
        module="failing",
        fail_partition=1,
        fail_offset=40,
        handler_takes=0.01,
        every=7,
        at_close=True,
    )
    assert sidecar.ended() == 1
    [why] = sidecar.log("ending: a critical error, and on_critical is exit")
    assert (why["lambda"], why["level"]) == (NAME, "error")
    assert f"{stage.topic}/1" in why["reason"]
    assert "cannot read message 40" in why["reason"]
    [_] = sidecar.log("partition halted: critical error of the lambda", partition=1, offset=40)
    committed = stage.committed()
    assert committed[1] == 35, "what lies between checkpoint and failure comes again"
    for partition in (0, 2):
        handled = stage.history.handled(partition=partition)
        assert [event.reason for event in stage.history.events("closed", partition=partition)] == ["stopped"]
        assert committed[partition] == handled[-1].offset + 1, "what the drain finished counts"
        assert 0 < len(handled) < 300, "it was in the middle of it"
    # The next sidecar goes on from the committed offset.
    stage.process(stage.sidecar(label="again"), "p2")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    drained = [event for event in events if event.partition != 1]
    checks.none_twice(drained)
    checks.leases_go_on(drained, exactly=True)


def test_exit_for_a_record_that_cannot_be_delivered(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(3)
    assert produce_non_utf8_header(stage.broker.address, stage.topic) == (0, 3)
    stage.produce([Record(value=b"behind it", partition=0)])
    sidecar = stage.sidecar(on_critical="exit", native=False)
    stage.process(sidecar)
    assert sidecar.ended() == 1
    [why] = sidecar.log("ending: a critical error, and on_critical is exit")
    assert "not UTF-8" in why["reason"]
    # Records that the lambda has not begun when it hears of it come again: on a busy machine, there are some.
    done = [event.offset for event in stage.history.handled()]
    assert done
    assert done == [0, 1, 2][: len(done)]
    assert stage.committed() == {0: len(done)}


def test_exit_after_counted_restarts(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar, _ = start_failing(stage, {"fail_how": "restart"}, on_critical="exit", max_restarts=1)
    assert sidecar.ended() == 1
    [why] = sidecar.log("ending: a critical error, and on_critical is exit")
    assert "1 restarts did not help: lambda_error: the store is away" in why["reason"]
    assert stage.committed() == {0: 8, 1: 4}


def test_recoverable_errors_do_not_exit(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar, _ = start_failing(stage, {"fail_how": "restart", "fail_attempts": 2}, on_critical="exit")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert sidecar.running()
    assert sidecar.terminate() == 0
