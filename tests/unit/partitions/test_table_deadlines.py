"""A lambda with a deadline: what counts as progress, and what happens when none comes."""

import pytest

from sidecar.partitions.partition import AfterDrain
from sidecar.partitions.table import PROGRESS_CHECK_INTERVAL_S
from sidecar.partitions.vocabulary import (
    ClosedReason,
    ErrorAction,
    ErrorOutcome,
    FailureKind,
    Hung,
    Lease,
    Limits,
    Pausing,
    Policy,
    Progress,
    Report,
    Revoke,
    RevokeReason,
    State,
)

from .lab import P0, Lab

DEADLINE, DRAIN = 60.0, 10.0
LIMITS = Limits(deadline=DEADLINE, hand_over_drain=DRAIN)
REVOKED = ("revoke", 1, RevokeReason.DEADLINE, DRAIN)


def running(limits: Limits = LIMITS) -> tuple[Lab, Lease]:
    """Ten records were sent to a lambda just now."""
    lab = Lab(limits)
    lease = lab.run()
    lab.send(0, 9)
    lab.wait(0.0)
    lab.seen()
    return lab, lease


def missed(limits: Limits = LIMITS) -> Lab:
    """The deadline is over, and the lambda was told."""
    lab, _ = running(limits)
    lab.wait(DEADLINE)
    assert lab.seen() == [REVOKED]
    return lab


def test_a_lambda_that_makes_no_progress_is_revoked_and_that_is_said_once() -> None:
    lab, _ = running()
    lab.wait(DEADLINE - 0.1)
    assert lab.seen() == []
    lab.wait(PROGRESS_CHECK_INTERVAL_S)
    commands = lab.table.take_commands()
    assert [command for command in commands if isinstance(command, Revoke)] == [Revoke(*REVOKED[1:])]
    (said,) = [command for command in commands if isinstance(command, Report)]
    assert said.event == "lambda misses its deadline: it is ended, and counts as failed"
    assert said.fields["reason"] == "neither a checkpoint nor progress for 60 s (`deadline`)"
    failure = lab.partition().last_failure
    assert failure is not None
    assert failure.kind is FailureKind.DEADLINE
    lab.wait(1.0)
    assert lab.seen() == []


def test_without_a_deadline_nothing_is_ended() -> None:
    lab, _ = running(Limits())
    lab.wait(1e6)
    assert lab.seen() == []


@pytest.mark.parametrize("way", ["checkpoint", "completed", "says", "resumed"])
def test_each_sign_of_progress_counts_from_there(way: str) -> None:
    lab, lease = running()
    lab.wait(DEADLINE - 1.0)
    match way:
        case "checkpoint":
            lab.checkpoint(lease, 0)
        case "completed":
            lab.checkpoint(lease, None, beyond=1)
        case "says":
            lab.table.streams.says(1, "43 %", lab.now)
            assert lab.partition().held.progress_text == "43 %"
        case _:
            lab.table.streams.pause(1, Pausing(1), lab.now)
            lab.table.streams.resume(1, lab.now)
            lab.table.take_commands()
    assert lab.partition().overdue_at == lab.now + DEADLINE
    lab.wait(DEADLINE - 1.0)
    assert lab.seen() == []
    lab.wait(2.0)
    assert lab.seen() == [REVOKED]


def test_a_checkpoint_of_what_was_completed_before_counts_too() -> None:
    """It makes no room in the window: the records did not fill it any more."""
    lab, lease = running()
    lab.checkpoint(lease, None, beyond=3)
    lab.wait(30.0)
    lab.table.streams.checkpoint(lease, Progress(2), lab.now)
    assert lab.partition().overdue_at == lab.now + DEADLINE


@pytest.mark.parametrize("progress", [Progress(), Progress(handled=5), Progress(None, 0), Progress(20)])
def test_what_changes_nothing_does_not_count(progress: Progress) -> None:
    lab, lease = running()
    lab.wait(DEADLINE - 1.0)
    lab.table.streams.checkpoint(lease, progress, lab.now)
    lab.wait(2.0)
    assert lab.seen() == [REVOKED]


def test_the_clock_does_not_run_without_outstanding_records() -> None:
    lab, lease = running()
    lab.checkpoint(lease, 9)
    assert lab.partition().overdue_at is None
    lab.wait(10 * DEADLINE)
    lab.send(10, 10)
    assert lab.partition().overdue_at == lab.now + DEADLINE


def test_records_that_come_while_others_are_outstanding_do_not_set_it_back() -> None:
    lab, _ = running()
    lab.wait(30.0)
    lab.send(10, 19)
    assert lab.partition().overdue_at == lab.now - 30.0 + DEADLINE


def test_it_does_not_run_during_a_pause_or_a_drain() -> None:
    lab, _ = running()
    lab.table.streams.pause(1, Pausing(1), lab.now)
    assert lab.partition().overdue_at is None
    lab.wait(10 * DEADLINE)
    assert lab.state() is State.PAUSED
    lab.table.streams.resume(1, lab.now)
    lab.table.revoke([P0], RevokeReason.REBALANCE, 10 * DEADLINE, lab.now)
    lab.table.take_commands()
    lab.wait(2 * DEADLINE)
    assert lab.seen() == []


# --- the end of its drain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [ClosedReason.REVOKED, ClosedReason.STOPPED, ClosedReason.ERROR])
def test_closing_in_time_is_a_failure_all_the_same(reason: ClosedReason) -> None:
    lab = missed()
    lab.close(1, reason)
    assert lab.state() is State.BACKING_OFF
    assert lab.table.counts.restarts == {FailureKind.DEADLINE: 1}
    trouble = lab.partition().trouble
    assert (trouble.attempt, trouble.failures) == (2, 1)
    assert trouble.reason == "neither a checkpoint nor progress for 60 s (`deadline`)"
    lab.offer(2, "next")
    lab.wait(LIMITS.backoff_first)
    assert lab.assigned().attempt == 2


def test_a_last_checkpoint_in_time_counts() -> None:
    lab = missed()
    lab.close(1, ClosedReason.REVOKED, last=4)
    assert lab.partition().offsets.resume_at == 5
    assert lab.partition().trouble.attempt == 2


def test_a_stream_that_breaks_meanwhile_is_no_other_failure() -> None:
    lab = missed()
    lab.lose(1)
    assert lab.state() is State.BACKING_OFF, "no retry at once: it was no killed process"
    assert lab.table.counts.restarts == {FailureKind.DEADLINE: 1}


def test_without_closed_its_stream_ends_and_its_process_is_said_to_be_stuck() -> None:
    lab = missed()
    lab.wait(DRAIN)
    assert [type(command).__name__ for command in lab.table.take_commands() if not isinstance(command, Report)] == [
        "Hung",
        "EndStream",
        "Rewind",
    ]
    assert lab.state() is State.BACKING_OFF
    assert lab.table.counts.restarts == {FailureKind.DEADLINE: 1}


def test_the_process_of_another_drain_is_not_stuck() -> None:
    lab, _ = running()
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    lab.wait(2.0)
    assert lab.commands(Hung) == []


def test_its_process_is_the_last_to_get_a_partition_again() -> None:
    lab = missed()
    lab.offer(2, "process")
    lab.offer(3, "another")
    lab.wait(DRAIN)
    lab.wait(LIMITS.backoff_first)
    assert lab.assigned().stream == 3


def test_max_restarts_makes_it_critical() -> None:
    lab = missed(Limits(deadline=DEADLINE, hand_over_drain=DRAIN, max_restarts=0))
    lab.close(1, ClosedReason.REVOKED)
    assert lab.state() is State.HALTED


def test_a_rebalance_meanwhile_takes_the_partition() -> None:
    lab = missed()
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    assert lab.partition().after_drain is AfterDrain.RELEASE
    lab.close(1, ClosedReason.REVOKED)
    assert lab.state() is State.DRAINING
    assert lab.table.counts.restarts == {}


def test_a_record_that_it_names_meanwhile_becomes_a_dead_letter_and_nothing_backs_off() -> None:
    limits = Limits(deadline=DEADLINE, hand_over_drain=DRAIN, policy=Policy.DEAD_LETTER)
    lab = missed(limits)
    assert lab.fail("L1", ErrorAction.CRITICAL, offset=3) == (ErrorOutcome.DEAD_LETTERED, 0.0)
    assert lab.state() is State.WAITING
    assert {*lab.partition().dead} == {3}
