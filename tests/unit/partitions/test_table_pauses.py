"""A lambda that wants no records for a while, and gets some of them again."""

import pytest

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    ErrorOutcome,
    Lane,
    Pausing,
    Report,
    Resumed,
    RevokeReason,
    Rewind,
    State,
)

from .lab import LANE0, P0, Lab


def paused(offset: int | None = None, *, seconds: float | None = None, checkpoint: int | None = 1) -> Lab:
    """Ten records are out, 0 and 1 are checkpointed, and its lambda pauses. The commands are kept."""
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, checkpoint)
    lab.seen()
    lab.table.streams.pause(1, Pausing(1, offset, "database is down", seconds), lab.now)
    return lab


def resumed(lab: Lab) -> tuple[int, int]:
    """The one Resumed since the last look: its number, and from where."""
    (command,) = lab.commands(Resumed)
    assert command.stream == 1
    return command.number, command.from_offset


def test_nothing_is_sent_to_a_paused_partition_and_its_lease_and_resume_offset_stay() -> None:
    lab = paused()
    assert lab.state() is State.PAUSED
    assert lab.table.records.may_send(LANE0) == 0
    assert (lab.partition().lease, lab.partition().offsets.resume_at, lab.partition().trouble.attempt) == (
        "L1",
        2,
        1,
    )
    assert lab.partition().trouble.reason == "database is down"
    lab.wait(10_000.0)
    assert lab.state() is State.PAUSED


def test_checkpoints_count_during_a_pause() -> None:
    lab = paused()
    assert lab.checkpoint("L1", 9)[0] is CheckpointOutcome.ACCEPTED
    assert lab.partition().offsets.resume_at == 10
    assert lab.partition().caught_up


def test_resume_goes_on_after_the_last_delivered_record() -> None:
    lab = paused()
    lab.table.streams.resume(1, lab.now)
    assert resumed(lab) == (1, 10)
    assert (lab.state(), lab.partition().trouble.reason) == (State.RUNNING, "")
    assert lab.table.records.may_send(LANE0) > 0


def test_a_pause_with_an_offset_goes_on_at_that_offset() -> None:
    lab = paused(5)
    assert lab.commands(Rewind) == [Rewind(Lane(P0), 5)]
    assert lab.partition().offsets.rewind_pending
    lab.table.rewound(Lane(P0))
    assert lab.partition().window.records == 3
    lab.table.streams.resume(1, lab.now)
    assert resumed(lab) == (1, 5)
    lab.send(5, 9)
    assert lab.checkpoint("L1", 9)[0] is CheckpointOutcome.ACCEPTED


@pytest.mark.parametrize(("offset", "again"), [(0, 2), (2, 2), (9, 9), (10, None), (500, None)])
def test_an_offset_outside_of_the_outstanding_records_is_moved_to_their_nearer_end(
    offset: int, again: int | None
) -> None:
    lab = paused(offset)
    assert [rewind.offset for rewind in lab.commands(Rewind)] == ([] if again is None else [again])
    lab.table.streams.resume(1, lab.now)
    assert resumed(lab) == (1, 10 if again is None else again)


def test_nothing_is_sent_before_the_client_is_moved_back() -> None:
    lab = paused(5)
    lab.table.streams.resume(1, lab.now)
    assert lab.table.records.may_send(LANE0) == 0
    lab.table.rewound(Lane(P0))
    assert lab.table.records.may_send(LANE0) > 0


def test_a_checkpoint_of_a_voided_record_counts_only_after_it_is_delivered_again() -> None:
    lab = paused(5)
    lab.table.rewound(Lane(P0))
    assert lab.checkpoint("L1", 7) == (CheckpointOutcome.BEYOND_DELIVERED, 4)
    assert lab.partition().offsets.resume_at == 2
    lab.table.streams.resume(1, lab.now)
    lab.send(5, 7)
    assert lab.checkpoint("L1", 7)[0] is CheckpointOutcome.ACCEPTED


def test_when_all_records_are_voided_none_counts_as_delivered() -> None:
    lab = paused(0, checkpoint=None)
    assert lab.checkpoint("L1", 3) == (CheckpointOutcome.BEYOND_DELIVERED, None)


def test_voided_records_do_not_count_as_completed() -> None:
    lab = paused()
    lab.checkpoint("L1", 1, beyond=5)
    lab.table.streams.pause(1, Pausing(2, 5), lab.now)
    assert lab.partition().window.records == 3
    assert lab.partition().window.outstanding == 3


def test_a_pause_with_retry_after_ends_by_itself() -> None:
    lab = paused(seconds=5.0)
    assert lab.table.next_due(lab.now) == lab.now + 5.0
    lab.wait(4.9)
    assert lab.state() is State.PAUSED
    lab.wait(0.1)
    assert resumed(lab) == (1, 10)
    assert lab.table.next_due(lab.now) is None
    lab.table.streams.resume(1, lab.now)  # crossed it on its way
    assert lab.commands(Resumed) == []


def test_a_second_pause_replaces_the_first() -> None:
    lab = paused(seconds=5.0)
    lab.table.streams.pause(1, Pausing(2, 7), lab.now)
    assert lab.commands(Rewind) == [Rewind(Lane(P0), 7)]
    lab.wait(6.0)
    assert lab.state() is State.PAUSED
    lab.table.streams.resume(1, lab.now)
    assert resumed(lab) == (2, 7)


def test_resume_without_a_pause_is_ignored() -> None:
    lab = Lab()
    lab.run()
    lab.table.streams.resume(1, lab.now)
    lab.table.streams.resume(99, lab.now)
    assert lab.table.commands == []


def test_a_pause_before_ready_ends_the_stream() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.seen()
    lab.table.streams.pause(1, Pausing(1), lab.now)
    assert lab.seen() == [("end", 1, EndReason.PROTOCOL)]
    assert lab.state() is State.STARTING


def test_a_pause_that_crosses_a_revoke_is_ignored() -> None:
    lab = Lab()
    lab.run()
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    lab.table.streams.pause(1, Pausing(1, 0), lab.now)
    assert lab.state() is State.DRAINING
    assert lab.table.next_due(lab.now) == lab.now + 2.0


def test_a_revoke_ends_the_pause_without_resumed() -> None:
    lab = paused(5, seconds=1.0)
    lab.seen()
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    assert lab.seen() == [("revoke", 1, RevokeReason.REBALANCE, 2.0)]
    lab.wait(1.0)
    assert lab.seen() == []
    lab.table.streams.resume(1, lab.now)
    assert lab.state() is State.DRAINING
    lab.close(1, ClosedReason.REVOKED, last=3)
    assert lab.partition().offsets.resume_at == 4


def test_when_a_paused_lease_ends_the_resume_offset_is_fetched_and_not_the_pauses_offset() -> None:
    lab = paused(5)
    lab.offer(2, "other")
    lab.lose(1)
    assert [rewind.offset for rewind in lab.commands(Rewind)] == [5, 2]
    assert lab.partition().lease == "L2"
    lab = paused(5)
    lab.table.rewound(Lane(P0))
    lab.seen()
    assert lab.fail("L1")[0] is ErrorOutcome.RESTARTING
    assert lab.state() is State.BACKING_OFF
    assert lab.commands(Rewind) == [Rewind(Lane(P0), 2)]


def test_an_operator_may_end_a_lambdas_pause() -> None:
    lab = paused(5)
    assert lab.table.operator.resume(P0, lab.now, skip=False) == (5, None)
    assert resumed(lab) == (1, 5)
    assert lab.state() is State.RUNNING


def test_a_pause_is_logged_with_its_reason_offset_and_time() -> None:
    lab = paused(5, seconds=3.0)
    (report,) = lab.commands(Report)
    assert (report.level, report.lease) == ("warning", "L1")
    assert report.fields == {"reason": "database is down", "again_from": 5, "seconds": 3.0}


# --- stalls -----------------------------------------------------------------------------------------------------


def stalls(lab: Lab) -> int:
    return sum(report.event.startswith("partition is stalled") for report in lab.commands(Report))


def test_records_without_progress_are_a_stall_logged_once() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.wait(lab.table.limits.stall_after)
    assert stalls(lab) == 0
    lab.wait(1.0)
    assert stalls(lab) == 1
    assert lab.partition().held.stalled
    lab.wait(100.0)
    assert stalls(lab) == 0
    lab.checkpoint(lease, 3)
    lab.wait(1.0)
    assert not lab.partition().held.stalled
    lab.wait(lab.table.limits.stall_after)
    assert stalls(lab) == 1


def test_nothing_outstanding_is_no_stall_and_the_time_begins_with_the_first_record() -> None:
    lab = Lab()
    lab.run()
    lab.wait(10_000.0)
    lab.send(0, 0)
    lab.wait(100.0)
    lab.send(1, 1)
    lab.wait(201.0)
    assert stalls(lab) == 1


def test_records_completed_after_the_checkpoint_are_progress() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.wait(200.0)
    lab.checkpoint(lease, None, beyond=4)
    lab.wait(200.0)
    assert stalls(lab) == 0


def test_a_paused_partition_does_not_stall_and_the_time_starts_again_afterwards() -> None:
    lab = paused()
    lab.wait(10_000.0)
    assert stalls(lab) == 0
    lab.table.streams.resume(1, lab.now)
    lab.wait(299.0)
    assert stalls(lab) == 0
    lab.wait(2.0)
    assert stalls(lab) == 1
