"""Checkpoints: what moves the place, what does not, and what a full window says."""

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    ErrorAction,
    ErrorOutcome,
    Lane,
    Limits,
    Progress,
    Report,
    RevokeReason,
    State,
)

from .lab import LANE0, P0, Lab

ACCEPTED = CheckpointOutcome.ACCEPTED
LOWER = CheckpointOutcome.IGNORED_LOWER
BEYOND = CheckpointOutcome.BEYOND_DELIVERED
STALE = CheckpointOutcome.STALE_LEASE


def test_a_checkpoint_moves_the_resume_offset_and_must_be_committed() -> None:
    lab = Lab()
    lease = lab.run(at=5)
    assert lab.partition().offsets.to_commit() is None
    lab.send(5, 9)
    assert lab.checkpoint(lease, 7) == (ACCEPTED, None)
    partition = lab.partition()
    assert (partition.offsets.resume_at, partition.offsets.checkpoint, partition.offsets.to_commit()) == (8, 7, 8)
    partition.offsets.committed = 8
    assert partition.offsets.to_commit() is None


def test_each_record_is_delayed_from_its_frame_to_the_checkpoint_that_passes_it() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.wait(1.0)
    lab.send(10, 19)
    lab.wait(0.5)
    lab.checkpoint(lease, 14)
    assert lab.table.counts.delays.now.total == 10 * 1.5 + 5 * 0.5
    lab.wait(10.0)
    for offset in (14, 3, 17, 99):  # repeated, lower, and beyond what was delivered: these count nothing twice
        lab.checkpoint(lease, offset)
    delays = lab.table.counts.delays.now
    assert sum(delays.counts) == 18
    assert delays.total == 10 * 1.5 + 5 * 0.5 + 3 * 10.5


def test_a_resolved_start_must_be_committed_unless_kafka_has_it() -> None:
    lab = Lab()
    lab.table.assigned([P0], lab.now)
    assert lab.partition().offsets.to_commit() is None
    lab.table.resolved(P0, 3, lab.now, committed=False)
    assert lab.partition().offsets.to_commit() == 3


def test_a_checkpoint_in_a_gap_counts_up_to_it() -> None:
    lab = Lab()
    lease = lab.run()
    lab.table.records.sent(LANE0, 0, 10, 3, 30, [0, 4, 10], lab.now)
    assert lab.checkpoint(lease, 6) == (ACCEPTED, None)
    assert lab.partition().window.records == 1
    assert lab.partition().offsets.resume_at == 7


def test_lower_is_ignored_and_equal_is_not_lower() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, 5)
    assert lab.checkpoint(lease, 4) == (LOWER, None)
    assert lab.checkpoint(lease, 5) == (ACCEPTED, None)
    assert lab.partition().offsets.resume_at == 6
    assert lab.partition().window.records == 4


def test_a_checkpoint_beyond_delivery_changes_nothing_and_is_answered_with_the_delivered_offset() -> None:
    lab = Lab()
    lease = lab.run(at=3)
    assert lab.checkpoint(lease, 3) == (BEYOND, None)
    lab.send(3, 6)
    assert lab.checkpoint(lease, 7) == (BEYOND, 6)
    assert lab.partition().offsets.resume_at == 3
    assert lab.checkpoint(lease, 6) == (ACCEPTED, None)


def test_an_unknown_lease_is_stale() -> None:
    lab = Lab()
    lab.run()
    for lease in ("", "L2", "nonsense"):
        assert lab.checkpoint(lease, 0) == (STALE, None)


def test_checkpoints_must_grow_within_one_lease_only() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, 5)
    lab.close(1, ClosedReason.STOPPED)
    lease = lab.run(stream=2, process="next")
    lab.send(6, 9)
    assert lab.checkpoint(lease, 6) == (ACCEPTED, None)
    assert lab.checkpoint(lease, 2) == (LOWER, None)


def test_a_checkpoint_during_a_drain_is_answered_with_draining() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    assert lab.checkpoint(lease, 4) == (CheckpointOutcome.ACCEPTED_DRAINING, None)
    assert lab.checkpoint(lease, 3) == (LOWER, None)
    assert lab.partition().offsets.resume_at == 5


def test_closed_carries_the_last_checkpoint() -> None:
    lab = Lab()
    lab.run()
    lab.send(0, 9)
    lab.close(1, ClosedReason.STOPPED, last=8)
    assert lab.partition().offsets.resume_at == 9


def test_closed_with_a_checkpoint_beyond_or_lower_keeps_the_resume_offset() -> None:
    for last in (10, 1):
        lab = Lab()
        lease = lab.run()
        lab.send(0, 9)
        lab.checkpoint(lease, 2)
        lab.close(1, ClosedReason.STOPPED, last=last)
        assert lab.partition().offsets.resume_at == 3


def test_an_error_carries_the_last_checkpoint() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    assert lab.fail(lease, ErrorAction.CRITICAL, offset=7, last=6)[0] is ErrorOutcome.HALTED
    assert lab.partition().offsets.resume_at == 7
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.fail(lease, last=4)
    assert lab.seen() == [("rewind", P0, 5)]


def test_a_last_checkpoint_at_or_above_the_failing_offset_is_not_taken() -> None:
    for last in (7, 8):
        lab = Lab()
        lease = lab.run()
        lab.send(0, 9)
        lab.checkpoint(lease, 2)
        lab.fail(lease, ErrorAction.CRITICAL, offset=7, last=last)
        assert lab.partition().offsets.resume_at == 3


def test_the_last_checkpoint_of_a_report_counts_like_any_other() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    assert lab.fail(lease, ErrorAction.REPORT, last=4)[0] is ErrorOutcome.REPORTED
    assert lab.partition().offsets.resume_at == 5


def test_completed_beyond_opens_the_window_and_does_not_move_the_resume_offset() -> None:
    lab = Lab(Limits(window_messages=10))
    lease = lab.run()
    lab.send(0, 9)
    assert lab.table.records.may_send(LANE0) == 0
    assert lab.checkpoint(lease, None, beyond=9) == (ACCEPTED, None)
    assert lab.table.records.may_send(LANE0) == 9
    assert lab.partition().offsets.resume_at == 0
    assert lab.partition().offsets.to_commit() is None
    lab.checkpoint(lease, 3, beyond=2)
    assert lab.table.records.may_send(LANE0) == 6


def test_completed_beyond_comes_again_after_a_restart() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, 1, beyond=8)
    lab.fail(lease)
    assert lab.seen() == [("rewind", P0, 2)]


def test_handled_is_kept_for_operators() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.table.streams.checkpoint(lease, Progress(handled=7), lab.now)
    assert (lab.partition().offsets.handled, lab.partition().offsets.resume_at) == (7, 0)
    moved_at = lab.now
    lab.now += 5
    lab.table.streams.checkpoint(lease, Progress(handled=7), lab.now)
    assert lab.partition().offsets.handled_at == moved_at, "the same offset again is no move"


def test_settling_moves_past_offsets_without_records_and_never_back() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, 9)
    lab.partition().settle(12)
    assert (lab.partition().offsets.resume_at, lab.partition().offsets.to_commit()) == (12, 12)
    lab.partition().settle(11)
    assert lab.partition().offsets.resume_at == 12


def test_completed_beyond_counts_with_the_latest_offset_after_a_settle() -> None:
    lab = Lab(Limits(window_messages=10))
    lease = lab.run()
    lab.send(0, 4)
    lab.checkpoint(lease, 4)
    lab.partition().settle(6)  # a marker lies at 5
    lab.send(6, 15)
    assert lab.table.records.may_send(LANE0) == 0
    assert lab.checkpoint(lease, 4, beyond=9) == (ACCEPTED, None)  # 6 is not done, 7 to 15 are
    assert lab.table.records.may_send(LANE0) == 9


# --- the full window --------------------------------------------------------------------------------------------


def blocked_lab() -> tuple[Lab, str]:
    lab = Lab(Limits(window_messages=2, blocked_report_after=30.0))
    lease = lab.run()
    lab.send(0, 1)
    lab.table.records.buffered(LANE0, lab.now)
    return lab, lease


def test_a_window_that_stays_full_is_reported_once() -> None:
    lab, _ = blocked_lab()
    assert lab.partition().held.blocked_since == lab.now
    lab.now += 30.0
    lab.table.records.buffered(LANE0, lab.now)
    assert lab.commands(Report) == []
    lab.now += 0.1
    lab.table.records.buffered(LANE0, lab.now)
    (report,) = lab.commands(Report)
    assert report.level == "warning"
    assert report.lane == Lane(P0)
    assert (report.fields["outstanding"], report.fields["delivered"]) == (2, 1)
    lab.now += 100.0
    lab.table.records.buffered(LANE0, lab.now)
    assert lab.commands(Report) == []


def test_a_checkpoint_that_makes_room_ends_the_block_and_the_next_one_is_reported_again() -> None:
    lab, lease = blocked_lab()
    lab.now += 31.0
    lab.table.records.buffered(LANE0, lab.now)
    lab.checkpoint(lease, 1)
    assert lab.partition().held.blocked_since is None
    lab.commands(Report)
    lab.send(2, 3)
    lab.table.records.buffered(LANE0, lab.now)
    lab.now += 31.0
    lab.table.records.buffered(LANE0, lab.now)
    assert len(lab.commands(Report)) == 1


def test_only_a_running_partition_is_blocked() -> None:
    lab, lease = blocked_lab()
    lab.fail(lease)
    assert lab.state() is State.BACKING_OFF
    lab.table.records.buffered(LANE0, lab.now)
    assert lab.partition().holding is None
