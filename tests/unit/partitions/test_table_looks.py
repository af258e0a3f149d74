"""What operators are shown of a partition: since when, what it waits for, what failed last."""

import pytest

from sidecar.partitions.vocabulary import (
    ClosedReason,
    ErrorAction,
    FailureKind,
    LastFailure,
    Limits,
    Pausing,
    Policy,
    RevokeReason,
    State,
    WaitsFor,
)
from sidecar.partitions.waiting import waits_for

from .lab import LANE0, P0, Lab

NARROW = Limits(window_messages=5)


def waits(lab: Lab, *, has_leader: bool = True, end: int | None = None) -> WaitsFor:
    return waits_for(lab.partition(), has_leader=has_leader, end=end)


# --- since when ---------------------------------------------------------------------------------------------------


def test_a_state_has_its_time() -> None:
    lab = Lab()
    began = lab.now
    lab.table.assigned([P0], lab.now)
    assert (lab.state(), lab.partition().state_since) == (State.RESOLVING, began)
    lab.now += 3
    lab.table.resolved(P0, 5, lab.now, committed=True)
    assert (lab.state(), lab.partition().state_since) == (State.WAITING, began + 3)
    lab.now += 4
    lab.offer(1)
    assert (lab.state(), lab.partition().state_since) == (State.STARTING, began + 7)
    assert lab.partition().held.since == began + 7
    lab.now += 1
    lab.ready(1, "L1")
    assert (lab.state(), lab.partition().state_since) == (State.RUNNING, began + 8)
    assert lab.partition().held.since == began + 7


def test_a_pause_that_the_lambda_asks_for_again_keeps_its_time() -> None:
    lab = Lab()
    lab.run()
    lab.table.streams.pause(1, Pausing(1), lab.now)
    began = lab.now
    lab.now += 5
    lab.table.streams.pause(1, Pausing(2), lab.now)
    assert (lab.state(), lab.partition().state_since) == (State.PAUSED, began)


def test_a_drain_of_what_nobody_holds_has_its_time() -> None:
    lab = Lab()
    lab.own(P0)
    lab.now += 2
    lab.table.revoke([P0], RevokeReason.REBALANCE, 5, lab.now)
    assert (lab.state(), lab.partition().state_since) == (State.DRAINING, lab.now)


def test_the_oldest_outstanding_record_has_the_time_at_which_it_was_sent() -> None:
    lab = Lab()
    lease = lab.run()
    assert lab.partition().window.oldest_sent_at is None
    first = lab.now
    lab.send(0, 9)
    lab.now += 7
    lab.send(10, 19)
    lab.checkpoint(lease, 4)
    assert lab.partition().window.oldest_sent_at == first
    lab.checkpoint(lease, 9)
    assert lab.partition().window.oldest_sent_at == first + 7
    lab.checkpoint(lease, 9, beyond=10)  # nothing of it is outstanding
    assert lab.partition().window.oldest_sent_at is None
    lab.checkpoint(lease, 19)
    assert lab.partition().window.oldest_sent_at is None


def test_rates_count_what_was_sent_and_what_checkpoints_passed() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 99)
    lab.checkpoint(lease, 29)
    lab.now += 2
    assert lab.partition().sent.rate(lab.now) == 50.0
    assert lab.partition().done.rate(lab.now) == 15.0


# --- what it waits for --------------------------------------------------------------------------------------------


def test_before_a_lambda_has_it() -> None:
    lab = Lab()
    lab.table.assigned([P0], lab.now)
    assert waits(lab) is WaitsFor.OFFSET
    assert waits(lab, has_leader=False) is WaitsFor.LEADER
    lab.table.resolved(P0, 0, lab.now, committed=True)
    assert waits(lab) is WaitsFor.PROCESS
    lab.offer(1)
    assert waits(lab) is WaitsFor.READY


def test_while_it_runs() -> None:
    lab = Lab(NARROW)
    lease = lab.run(at=10)
    assert waits(lab) is WaitsFor.RECORDS
    assert waits(lab, end=10) is WaitsFor.RECORDS
    assert waits(lab, end=11) is WaitsFor.FETCH
    assert waits(lab, has_leader=False) is WaitsFor.LEADER
    lab.send(10, 13)
    assert waits(lab, has_leader=False) is WaitsFor.LAMBDA
    lab.send(14, 14)
    assert waits(lab) is WaitsFor.CHECKPOINT
    lab.checkpoint(lease, 14)
    assert waits(lab, end=15) is WaitsFor.RECORDS


def test_while_it_stands_still() -> None:
    lab = Lab()
    lease = lab.run()
    lab.table.streams.pause(1, Pausing(1), lab.now)
    assert waits(lab) is WaitsFor.PAUSE
    lab.table.operator.pause(P0, "", 5.0, lab.now)
    assert waits(lab) is WaitsFor.DRAIN
    lab.close(1, ClosedReason.REVOKED)
    assert waits(lab) is WaitsFor.RESUME
    lab.table.operator.resume(P0, lab.now, skip=False)
    lease = lab.run(stream=2)
    lab.fail(lease)
    assert waits(lab) is WaitsFor.RETRY
    lab.wait(60)
    lease = lab.run(stream=3)
    lab.fail(lease, ErrorAction.CRITICAL)
    assert waits(lab) is WaitsFor.RESUME


def test_while_a_dead_letter_is_written() -> None:
    lab = Lab(Limits(policy=Policy.DEAD_LETTER))
    lease = lab.run()
    lab.send(0, 9)
    lab.fail(lease, ErrorAction.CRITICAL, offset=0)
    lab.run(stream=2)
    assert waits(lab) is WaitsFor.RECORDS
    lab.table.records.waits_for_dead_letter(LANE0, 0)
    assert waits(lab) is WaitsFor.DEAD_LETTER
    lab.table.records.dead_lettered(LANE0, 0, lab.partition().dead[0], "", 5.0, lab.now)
    assert waits(lab) is WaitsFor.RECORDS


# --- what failed last ---------------------------------------------------------------------------------------------


def last(lab: Lab) -> LastFailure:
    failure = lab.partition().last_failure
    assert failure is not None
    return failure


def test_errors_of_the_lambda() -> None:
    lab = Lab()
    lease = lab.run()
    assert lab.partition().last_failure is None
    lab.send(0, 9)
    lab.fail(lease, offset=3)
    assert last(lab) == LastFailure(FailureKind.FAILED, "db: away", 3, lab.now)
    lab.wait(60)
    lease = lab.run(stream=2)
    lab.checkpoint(lease, None)
    assert last(lab).kind is FailureKind.FAILED  # success does not hide what was
    lab.send(0, 9)
    lab.fail(lease, ErrorAction.CRITICAL, offset=4)
    assert last(lab) == LastFailure(FailureKind.CRITICAL, "db: away", 4, lab.now)


def test_a_create_that_fails_and_one_that_takes_too_long() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.fail("L1")
    assert last(lab).kind is FailureKind.CREATE
    lab.wait(40)
    lab.offer(2)
    lab.wait(61)
    assert (last(lab).kind, last(lab).text) == (FailureKind.LATE, "Ready did not come in time")


def test_streams_that_break_close_or_do_not_give_back() -> None:
    lab = Lab()
    lab.run()
    lab.lose(1)
    assert (last(lab).kind, last(lab).text) == (FailureKind.BROKE, "the stream broke")
    lab.wait(1)
    lab.run(stream=2)
    lab.close(2, ClosedReason.ERROR)
    assert last(lab).kind is FailureKind.CLOSED
    lab.wait(60)
    lab.run(stream=3)
    lab.table.operator.pause(P0, "", 5.0, lab.now)
    lab.wait(6)
    assert last(lab).kind is FailureKind.LATE


@pytest.mark.parametrize("reason", [ClosedReason.STOPPED, ClosedReason.REVOKED])
def test_an_orderly_end_is_no_failure(reason: ClosedReason) -> None:
    lab = Lab()
    lab.run()
    lab.close(1, reason)
    assert lab.partition().last_failure is None


def test_records_and_offsets_that_cannot_be_used() -> None:
    lab = Lab()
    lab.run()
    lab.table.records.undeliverable(LANE0, 3, "too large", 5.0, lab.now)
    assert last(lab) == LastFailure(FailureKind.UNDELIVERABLE, "too large", 3, lab.now)
    lab = Lab()
    lab.run()
    lab.table.offset_lost(P0, 40, lab.now, "the log begins at 40")
    assert last(lab) == LastFailure(FailureKind.OFFSET_LOST, "the log begins at 40", 0, lab.now)
    lab = Lab(Limits(policy=Policy.DEAD_LETTER))
    lease = lab.run()
    lab.send(0, 9)
    lab.fail(lease, ErrorAction.CRITICAL, offset=2)
    lab.table.records.dead_lettered(LANE0, 2, lab.partition().dead[2], "no such topic", 5.0, lab.now)
    assert (last(lab).kind, last(lab).offset) == (FailureKind.DEAD_LETTER, 2)
