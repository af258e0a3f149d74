"""The life of a partition, rule by rule: waiting, starting, running, falling over, and who gets it next."""

import pytest

from sidecar.partitions.backoff import delay
from sidecar.partitions.processes import PENALTY_S, QUARANTINE_S
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    FailureKind,
    Limits,
    Report,
    State,
)

from .lab import LANE0, LANE3, P0, P1, P2, P3, Lab

FIRST = Limits().backoff_first


# --- waiting, starting, running ---------------------------------------------------------------------------------


def test_a_partition_waits_for_a_stream_then_starts_at_its_resume_offset() -> None:
    lab = Lab()
    lab.table.assigned([P0], lab.now)
    assert lab.state() is State.RESOLVING
    lab.offer(1)
    assert lab.seen() == []  # where to start is not known yet
    lab.table.resolved(P0, 17, lab.now, committed=True)
    assert lab.seen() == [("assign", 1, "L1", P0, 17, 1)]
    assert lab.state() is State.STARTING
    lab.ready(1, "L1")
    assert lab.state() is State.RUNNING


def test_partitions_without_a_process_wait_in_their_order() -> None:
    lab = Lab()
    lab.own(P1, P0)
    assert (lab.state(P0), lab.state(P1)) == (State.WAITING, State.WAITING)
    lab.offer(1)
    lab.offer(2)
    assert [entry[1:4:2] for entry in lab.seen()] == [(1, P1), (2, P0)]


def test_nothing_is_sent_before_ready() -> None:
    lab = Lab()
    lab.own(P0)
    assert lab.table.records.may_send(LANE0) == 0
    lab.offer(1)
    assert lab.table.records.may_send(LANE0) == 0
    lab.ready(1, "L1")
    assert lab.table.records.may_send(LANE0) == lab.table.limits.window_messages
    assert lab.table.records.may_send(LANE3) == 0


def test_at_most_two_frames_are_in_flight() -> None:
    lab = Lab()
    lab.run()
    lab.send(0, 0, written=False)
    assert lab.table.records.may_send(LANE0) > 0
    lab.send(1, 1, written=False)
    assert lab.table.records.may_send(LANE0) == 0
    assert lab.table.streams.written(1) == LANE0
    assert lab.table.records.may_send(LANE0) > 0
    assert lab.table.streams.written(99) is None


@pytest.mark.parametrize("lease", ["", "L2", "nonsense"])
def test_ready_with_another_lease_ends_the_stream(lease: str) -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.ready(1, lease)
    (end,) = lab.commands(EndStream)
    assert end.reason is EndReason.PROTOCOL
    assert "ready.lease" in end.text
    assert lab.state() is State.STARTING


def test_ready_twice_ends_the_stream() -> None:
    lab = Lab()
    lease = lab.run()
    lab.ready(1, lease)
    assert lab.seen() == [("end", 1, EndReason.PROTOCOL)]


def test_ready_of_a_stream_without_a_partition_is_ignored() -> None:
    lab = Lab()
    lab.offer(1)
    lab.ready(1, "L1")
    lab.ready(2, "L1")
    assert lab.seen() == []


# --- restart ----------------------------------------------------------------------------------------------------


def test_after_an_error_and_its_back_off_delivery_starts_after_the_last_checkpoint() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    assert lab.checkpoint(lease, 3)[0] is CheckpointOutcome.ACCEPTED
    lab.offer(2)
    assert lab.fail(lease) == (ErrorOutcome.RESTARTING, FIRST)
    assert lab.state() is State.BACKING_OFF
    assert lab.seen() == [("rewind", P0, 4)]
    assert lab.table.next_due(lab.now) == lab.now + FIRST
    lab.wait(FIRST - 0.01)
    assert lab.seen() == []
    lab.wait(0.02)
    assert lab.seen() == [("assign", 2, "L2", P0, 4, 2)]


def test_the_back_off_doubles_up_to_its_maximum_and_attempts_are_counted() -> None:
    lab = Lab(Limits(backoff_first=1.0, backoff_most=5.0))
    lease = lab.run()
    seconds, attempts = [], []
    for stream in range(2, 7):
        lab.offer(stream)
        seconds.append(lab.fail(lease)[1])
        lab.commands(Report)
        lab.wait(5.0)
        assign = lab.assigned()
        attempts.append(assign.attempt)
        lease = assign.lease
        lab.ready(stream, lease)
    assert seconds == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert attempts == [2, 3, 4, 5, 6]
    assert lab.table.counts.restarts == {FailureKind.FAILED: 5}


def test_a_checkpoint_resets_the_number_of_attempts() -> None:
    lab = Lab()
    lease = lab.run()
    lab.fail(lease)
    lab.offer(2)
    lab.wait(FIRST)
    lease = lab.assigned().lease
    lab.ready(2, lease)
    lab.send(0, 3)
    lab.checkpoint(lease, 1)
    assert lab.partition().trouble.attempt == 1
    assert lab.fail(lease)[1] == FIRST


def test_jitter_shortens_the_back_off_by_up_to_half() -> None:
    assert delay(1, 1.0, 30.0, lambda: 0.0) == 0.5
    assert delay(3, 1.0, 30.0, lambda: 0.5) == 3.0
    assert delay(10_000, 1.0, 30.0, lambda: 1.0) == 30.0


def test_the_stream_of_a_dead_lease_has_some_time_to_close() -> None:
    lab = Lab()
    lab.fail(lab.run())
    lab.wait(lab.table.limits.close_timeout - 0.01)
    assert ("end", 1, EndReason.TOO_LATE) not in lab.seen()
    lab.wait(0.01)
    assert lab.seen() == [("end", 1, EndReason.TOO_LATE)]
    assert len(lab.table.processes) == 0


def test_closed_without_an_error_before_it_is_a_failure_when_the_reason_says_so() -> None:
    for reason in (ClosedReason.ERROR, ClosedReason.UNSPECIFIED, ClosedReason.DECLINED):
        lab = Lab()
        lab.run()
        lab.close(1, reason)
        assert lab.state() is State.BACKING_OFF
        assert lab.partition().trouble.attempt == 2


# --- a broken stream --------------------------------------------------------------------------------------------


def test_the_first_retry_after_a_broken_stream_is_immediate() -> None:
    lab = Lab()
    lab.run(process="one")
    lab.offer(2, "two")
    lab.send(0, 4)
    lab.lose(1)
    assert lab.seen() == [("rewind", P0, 0), ("assign", 2, "L2", P0, 0, 2)]


def test_the_second_broken_stream_in_a_row_backs_off() -> None:
    lab = Lab()
    lab.run(process="one")
    lab.lose(1)
    assert lab.state() is State.WAITING
    lab.run(stream=2, process="two")
    lab.offer(3, "three")
    lab.lose(2)
    assert lab.state() is State.BACKING_OFF
    assert lab.seen() == []


def test_a_process_whose_stream_broke_gets_nothing_for_a_moment() -> None:
    lab = Lab()
    lab.run()
    lab.offer(2)  # the same process's spare, about to break too
    lab.lose(1)
    assert lab.seen() == []
    assert lab.state() is State.WAITING
    assert lab.table.next_due(lab.now) == lab.now + QUARANTINE_S
    lab.wait(QUARANTINE_S)
    assert lab.seen() == [("assign", 2, "L2", P0, 0, 2)]


def test_a_dying_processs_spare_breaks_before_its_quarantine_is_over() -> None:
    lab = Lab()
    lab.run()
    lab.offer(2)
    lab.lose(1)
    lab.lose(2)
    assert len(lab.table.processes) == 0
    lab.wait(QUARANTINE_S)
    assert lab.seen() == []
    lab.offer(3, "next")
    assert lab.seen() == [("assign", 3, "L2", P0, 0, 2)]


# --- create failed, ready late ----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [ErrorAction.RESTART, ErrorAction.CRITICAL])
def test_a_failed_create_restarts_whatever_it_calls_itself(action: ErrorAction) -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    assert lab.fail("L1", action) == (ErrorOutcome.RESTARTING, FIRST)
    assert lab.state() is State.BACKING_OFF


def test_a_process_whose_create_failed_comes_last_for_a_while() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1, "ill")
    lab.offer(2, "ill")
    lab.fail("L1")
    lab.offer(3, "well")
    lab.seen()
    lab.wait(FIRST)
    assert lab.assigned().stream == 3
    lab.offer(4, "well")
    lab.own(P1)
    assert lab.assigned().stream == 4  # not the emptiest, but it is not ill
    lab.offer(5, "well")
    lab.wait(PENALTY_S)
    lab.own(P2)
    assert lab.assigned().stream == 2  # well again, and the emptiest


def test_a_process_with_a_penalty_gets_a_partition_when_there_is_no_other() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.offer(2)
    lab.fail("L1")
    lab.seen()
    lab.wait(FIRST)
    assert lab.assigned().stream == 2


def test_ready_after_its_deadline_counts_as_a_failed_create() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.seen()
    assert lab.table.next_due(lab.now) == lab.now + lab.table.limits.ready_timeout
    lab.wait(lab.table.limits.ready_timeout)
    assert lab.seen() == [("end", 1, EndReason.TOO_LATE)]
    assert lab.state() is State.BACKING_OFF
    lab.ready(1, "L1")
    assert lab.checkpoint("L1", 0)[0] is CheckpointOutcome.STALE_LEASE
    lab.offer(2)
    lab.wait(FIRST)
    assert lab.seen() == [("assign", 2, "L2", P0, 0, 2)]


# --- declined, redeployed ---------------------------------------------------------------------------------------


def test_declining_a_partition_is_not_an_attempt() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1, "full")
    lab.offer(2, "free")
    lab.seen()
    lab.close(1, ClosedReason.DECLINED)
    assert lab.seen() == [("assign", 2, "L2", P0, 0, 1)]
    assert lab.table.counts.restarts == {}


def test_a_redeploy_waits_without_back_off_and_keeps_the_resume_offset() -> None:
    lab = Lab()
    lab.run()
    lab.send(0, 9)
    lab.close(1, ClosedReason.STOPPED, last=6)
    assert lab.state() is State.WAITING
    assert lab.seen() == [("rewind", P0, 7)]
    lab.offer(2, "the next version")
    assert lab.seen() == [("assign", 2, "L2", P0, 7, 1)]
    assert lab.table.counts.restarts == {}


def test_closed_before_assigned_arrived_is_a_redeploy_too() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.close(1, ClosedReason.STOPPED)  # said before it heard of L1
    assert lab.state() is State.WAITING


def test_events_of_an_ended_stream_are_ignored() -> None:
    lab = Lab()
    lease = lab.run()
    lab.close(1, ClosedReason.STOPPED)
    lab.close(1, ClosedReason.STOPPED, last=5)
    lab.lose(1)
    assert lab.checkpoint(lease, 0)[0] is CheckpointOutcome.STALE_LEASE
    assert lab.fail(lease) == (ErrorOutcome.STALE_LEASE, 0.0)
    assert lab.partition().offsets.resume_at == 0


# --- who gets it ------------------------------------------------------------------------------------------------


def test_the_process_with_the_fewest_partitions_gets_the_next() -> None:
    lab = Lab()
    for stream in (1, 2, 3):
        lab.offer(stream, "first")
    for stream in (4, 5, 6):
        lab.offer(stream, "second")
    lab.own(P0, P1, P2, P3)
    assert [entry[1] for entry in lab.seen()] == [1, 4, 2, 5]
    assert sorted(lab.table.processes) == [("first", 2, True), ("second", 2, True)]


def test_a_process_is_known_by_its_id_and_counts_over_all_its_streams() -> None:
    lab = Lab()
    lab.run(P0, stream=1, process="one")
    lab.offer(2, "one")
    lab.offer(3, "two")
    lab.own(P1)
    assert lab.assigned().stream == 3


# --- the group --------------------------------------------------------------------------------------------------


def test_the_group_is_wanted_from_the_first_process_until_some_time_after_the_last() -> None:
    lab = Lab(Limits(leave_group_after=60.0))
    assert not lab.table.wants_group(lab.now)
    lab.offer(1)
    lab.offer(2, "another")
    assert lab.table.wants_group(lab.now + 1e6)
    lab.lose(1)
    assert lab.table.wants_group(lab.now + 1e6)
    lab.close(2, ClosedReason.STOPPED)
    assert lab.table.wants_group(lab.now + 59.9)
    assert not lab.table.wants_group(lab.now + 60.0)
    lab.offer(3)
    assert lab.table.wants_group(lab.now + 1e6)
