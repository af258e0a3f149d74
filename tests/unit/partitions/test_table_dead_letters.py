"""What a critical error does, as the policy says: dead letters, the end of the sidecar, and too many restarts."""

import pytest

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    DeadLetter,
    ErrorAction,
    ErrorOutcome,
    Exit,
    Lane,
    Limits,
    Pausing,
    Policy,
    RevokeReason,
    State,
)

from .lab import LANE0, P0, P1, Lab

CRITICAL = ErrorAction.CRITICAL
DRAIN = 2.0
KEEPS = Limits(policy=Policy.DEAD_LETTER)


def sent(limits: Limits = KEEPS) -> Lab:
    """Ten records are out, 0 and 1 are checkpointed; a spare stream 2 waits."""
    lab = Lab(limits)
    lease = lab.run()
    lab.offer(2)
    lab.send(0, 9)
    lab.checkpoint(lease, 1)
    lab.seen()
    return lab


def failed(offset: int = 5) -> tuple[Lab, DeadLetter]:
    """The record at ``offset`` is to become a dead letter."""
    lab = sent()
    assert lab.fail("L1", CRITICAL, offset=offset) == (ErrorOutcome.DEAD_LETTERED, 0.0)
    return lab, lab.partition().dead[offset]


def answer(lab: Lab, letter: DeadLetter, offset: int = 5, error: str = "") -> None:
    lab.table.records.dead_lettered(LANE0, offset, letter, error, DRAIN, lab.now)


# --- a record is decided upon -----------------------------------------------------------------------------------


def test_the_partition_goes_on_from_its_checkpoint_without_back_off() -> None:
    lab, letter = failed()
    assert lab.seen() == [("rewind", P0, 2), ("assign", 2, "L2", P0, 2, 1)]
    assert {*lab.partition().dead} == {5}
    assert lab.partition().skip == set()  # not before it is written
    assert (letter.failure.offset, letter.attempts, letter.last_failed_at) == (5, 1, lab.now)
    assert lab.checkpoint("L1", 4)[0] is CheckpointOutcome.STALE_LEASE


def test_the_last_checkpoint_of_the_error_counts_first() -> None:
    lab = sent()
    assert lab.fail("L1", CRITICAL, offset=5, last=4)[0] is ErrorOutcome.DEAD_LETTERED
    assert lab.partition().offsets.resume_at == 5


@pytest.mark.parametrize("offset", [None, 0, 1, 10, 4711])
def test_an_error_that_names_no_outstanding_record_halts(offset: int | None) -> None:
    lab = sent()
    assert lab.fail("L1", CRITICAL, offset=offset) == (ErrorOutcome.HALTED, 0.0)
    assert lab.state() is State.HALTED
    assert lab.partition().trouble.reason.endswith("(no dead letter: the error names no record that is under way)")


def test_a_record_voided_by_a_pause_still_counts_as_delivered() -> None:
    lab = sent()
    lab.table.streams.pause(1, Pausing(1, 4), lab.now)
    assert lab.fail("L1", CRITICAL, offset=7)[0] is ErrorOutcome.DEAD_LETTERED
    assert {*lab.partition().dead} == {7}


def test_a_failing_create_makes_no_dead_letter() -> None:
    lab = Lab(KEEPS)
    lab.own(P0)
    lab.offer(1)
    assert lab.fail("L1", CRITICAL, offset=0)[0] is ErrorOutcome.RESTARTING
    assert lab.partition().dead == {}


def test_a_partition_that_is_being_released_makes_no_dead_letter() -> None:
    lab = sent()
    lab.table.revoke([P0], RevokeReason.REBALANCE, DRAIN, lab.now)
    assert lab.fail("L1", CRITICAL, offset=5)[0] is ErrorOutcome.RESTARTING
    assert lab.partition().dead == {}


def test_a_partition_drained_for_a_pause_pauses_and_keeps_its_dead_letter() -> None:
    lab = sent()
    lab.table.operator.pause(P0, "", DRAIN, lab.now)
    assert lab.fail("L1", CRITICAL, offset=5)[0] is ErrorOutcome.DEAD_LETTERED
    assert lab.state() is State.PAUSED
    lab.table.operator.resume(P0, lab.now, skip=False)
    assert {*lab.partition().dead} == {5}


def test_the_failed_stream_does_not_count_for_its_process_any_more() -> None:
    lab = Lab(KEEPS)
    lease = lab.run(P0, stream=1, process="a")
    lab.own(P1)
    lab.offer(2, "b")
    lab.ready(2, "L2")
    lab.offer(3, "b")
    lab.offer(4, "a")
    lab.send(0, 3)
    lab.seen()
    lab.fail(lease, CRITICAL, offset=2)
    assert lab.seen()[-1] == ("assign", 4, "L3", P0, 0, 1)


def test_attempts_and_the_first_failure_are_kept() -> None:
    lab = sent()
    began = lab.now
    lab.fail("L1")
    lab.wait(0.5)
    lab.ready(2, "L2")
    lab.send(2, 9)
    lab.wait(3.0)
    lab.fail("L2", CRITICAL, offset=5)
    letter = lab.partition().dead[5]
    assert (letter.attempts, letter.first_failed_at, letter.last_failed_at) == (2, began, began + 3.5)
    assert lab.partition().trouble.attempt == 1


# --- and written, or not ----------------------------------------------------------------------------------------


def test_a_written_dead_letter_is_skipped_and_counted() -> None:
    lab, letter = failed()
    answer(lab, letter)
    assert (lab.partition().skip, lab.partition().dead) == ({5}, {})
    assert lab.table.counts.dead_letters == 1
    answer(lab, letter)
    assert lab.table.counts.dead_letters == 1


def test_a_checkpoint_after_the_failing_record_cancels_its_dead_letter() -> None:
    lab, letter = failed()
    lab.ready(2, "L2")
    lab.table.rewound(Lane(P0))
    lab.send(2, 4)
    answer(lab, letter)
    lab.table.records.sent(LANE0, 6, 9, 4, 40, None, lab.now)
    assert lab.checkpoint("L2", 9)[0] is CheckpointOutcome.ACCEPTED
    assert (lab.partition().skip, lab.partition().offsets.resume_at) == (set(), 10)


def test_when_a_dead_letter_cannot_be_written_the_lambda_finishes_and_the_partition_halts() -> None:
    lab, letter = failed()
    lab.ready(2, "L2")
    lab.table.rewound(Lane(P0))
    lab.send(2, 4)
    lab.seen()
    answer(lab, letter, error="no room")
    assert lab.seen() == [("revoke", 2, RevokeReason.HALTED, DRAIN)]
    lab.close(2, ClosedReason.REVOKED, last=4)
    partition = lab.partition()
    assert (lab.state(), partition.offsets.resume_at, partition.trouble.failing_offset) == (State.HALTED, 5, 5)
    assert partition.trouble.reason == "the dead letter for offset 5 cannot be written: no room"
    assert (partition.skip, lab.table.counts.dead_letters) == (set(), 0)
    assert lab.seen() == [("rewind", P0, 5)]
    assert lab.table.operator.resume(P0, lab.now, skip=True) == (5, 5)


@pytest.mark.parametrize("state", [State.WAITING, State.PAUSED])
def test_a_dead_letter_that_cannot_be_written_halts_a_partition_without_a_lambda_at_once(state: State) -> None:
    lab, letter = failed()
    lab.lose(2)
    if state is State.PAUSED:
        lab.table.operator.pause(P0, "", DRAIN, lab.now)
    assert lab.state() is state
    answer(lab, letter, error="no room")
    assert (lab.state(), lab.partition().trouble.failing_offset) == (State.HALTED, 5)
    lab.offer(3, "other")
    lab.wait(60.0)
    assert lab.state() is State.HALTED


def test_a_dead_letter_that_fails_during_a_drain_halts_after_it_unless_the_partition_is_released() -> None:
    for leaves in (False, True):
        lab, letter = failed()
        lab.ready(2, "L2")
        if leaves:
            lab.table.revoke([P0], RevokeReason.REBALANCE, DRAIN, lab.now)
        else:
            lab.table.operator.pause(P0, "", DRAIN, lab.now)
        answer(lab, letter, error="no room")
        lab.close(2, ClosedReason.REVOKED)
        assert lab.state() is (State.DRAINING if leaves else State.HALTED)


def test_an_answer_for_a_partition_that_was_moved_or_assigned_anew_changes_nothing() -> None:
    lab, letter = failed()
    lab.table.operator.seek(P0, 3, lab.now)
    answer(lab, letter)
    assert (lab.partition().skip, lab.partition().dead) == (set(), {})
    lab, letter = failed()
    lab.table.lost([P0], lab.now)
    answer(lab, letter, error="late")
    lab.own(P0)
    answer(lab, letter, error="late")
    assert lab.state() is not State.HALTED


def test_only_the_answer_to_the_latest_dead_letter_counts() -> None:
    lab, first = failed()
    lab.table.operator.seek(P0, 2, lab.now)
    lab.ready(2, "L2")
    lab.offer(3)
    lease = lab.partition().lease
    assert lease is not None
    stream = lab.partition().held.stream
    assert stream is not None
    lab.ready(stream, lease)
    lab.table.rewound(Lane(P0))
    lab.send(2, 9)
    lab.fail(lease, CRITICAL, offset=5)
    answer(lab, first)
    assert {*lab.partition().dead} == {5}
    answer(lab, lab.partition().dead[5])
    assert lab.partition().skip == {5}


def test_where_the_log_has_no_such_record_the_partition_halts() -> None:
    """There is nothing to keep, and the lambda would fail at it for ever."""
    lab, letter = failed()
    lab.table.records.no_such_record(LANE0, 5, DRAIN, lab.now)
    answer(lab, letter)
    assert (lab.partition().skip, lab.partition().dead, lab.table.counts.dead_letters) == (set(), {}, 0)


# --- a record that cannot be delivered --------------------------------------------------------------------------


def test_a_record_that_is_only_too_large_becomes_a_dead_letter() -> None:
    lab = sent()
    assert lab.table.records.undeliverable(LANE0, 10, "too large", DRAIN, lab.now, readable=True)
    assert lab.state() is State.RUNNING
    assert lab.partition().dead[10].failure.code == "undeliverable"
    lab = sent()
    assert not lab.table.records.undeliverable(LANE0, 10, "broken", DRAIN, lab.now)
    assert lab.state() is State.DRAINING
    lab = sent(Limits())
    assert not lab.table.records.undeliverable(LANE0, 10, "too large", DRAIN, lab.now, readable=True)
    assert lab.state() is State.DRAINING


def test_a_failure_before_a_halting_record_is_handled_first() -> None:
    lab = sent()
    lab.table.records.undeliverable(LANE0, 10, "broken", DRAIN, lab.now)
    assert lab.fail("L1", CRITICAL, offset=5)[0] is ErrorOutcome.DEAD_LETTERED
    assert (lab.state(), lab.partition().trouble.failing_offset, {*lab.partition().dead}) == (
        State.STARTING,
        None,
        {5},
    )


# --- the other policies -----------------------------------------------------------------------------------------


def test_exit_halts_and_asks_for_the_end_of_the_sidecar() -> None:
    lab = sent(Limits(policy=Policy.EXIT))
    assert lab.fail("L1", CRITICAL, offset=5) == (ErrorOutcome.EXITING, 0.0)
    assert lab.state() is State.HALTED
    assert lab.commands(Exit) == [Exit("words/0: db: away")]


def test_exit_asks_for_the_end_when_a_record_cannot_be_delivered() -> None:
    lab = sent(Limits(policy=Policy.EXIT))
    lab.table.records.undeliverable(LANE0, 10, "broken", DRAIN, lab.now)
    assert lab.commands(Exit) == [Exit("words/0: broken")]
    assert lab.state() is State.DRAINING


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        (Policy.HALT, ErrorOutcome.HALTED),
        (Policy.EXIT, ErrorOutcome.EXITING),
        (Policy.DEAD_LETTER, ErrorOutcome.DEAD_LETTERED),
    ],
)
def test_after_so_many_restarts_the_next_failure_is_critical(policy: Policy, outcome: ErrorOutcome) -> None:
    lab = sent(Limits(policy=policy, max_restarts=1))
    assert lab.fail("L1", offset=5)[0] is ErrorOutcome.RESTARTING
    lab.wait(0.5)
    lab.ready(2, "L2")
    lab.send(2, 9)
    assert lab.fail("L2", offset=5) == (outcome, 0.0)


def test_a_checkpoint_resets_the_number_of_restarts() -> None:
    lab = sent(Limits(max_restarts=1))
    lab.fail("L1")
    lab.wait(0.5)
    lab.ready(2, "L2")
    lab.send(2, 9)
    lab.checkpoint("L2", 2)
    assert lab.fail("L2")[0] is ErrorOutcome.RESTARTING


def test_streams_that_break_and_creates_that_fail_count_too() -> None:
    lab = sent(Limits(policy=Policy.DEAD_LETTER, max_restarts=0))
    lab.lose(1)
    assert lab.state() is State.HALTED  # nobody knows about which record
    assert lab.partition().trouble.reason.startswith("0 restarts did not help: the stream broke")
    lab = Lab(Limits(max_restarts=0))
    lab.own(P0)
    lab.offer(1)
    assert lab.fail("L1")[0] is ErrorOutcome.HALTED
