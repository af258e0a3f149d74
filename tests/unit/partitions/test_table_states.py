"""The state that a lambda gives with a checkpoint: it is always that of the place."""

import pytest

from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    Committed,
    ErrorAction,
    Failure,
    Lease,
    Limits,
    Place,
    Progress,
    Report,
    RevokeReason,
)

from .lab import P0, Lab

ACCEPTED = (CheckpointOutcome.ACCEPTED, None)
TOO_LARGE = (CheckpointOutcome.STATE_TOO_LARGE, None)


def running() -> tuple[Lab, Lease]:
    """Ten records were delivered; at most four bytes of state are taken."""
    lab = Lab(Limits(max_state_bytes=4))
    lease = lab.run()
    lab.send(0, 9)
    return lab, lease


def give(lab: Lab, lease: Lease, offset: int | None, state: bytes | None) -> tuple[CheckpointOutcome, int | None]:
    return lab.table.streams.checkpoint(lease, Progress(offset, state=state), lab.now)


def place(lab: Lab) -> Place:
    return lab.partition().offsets.place


def test_the_state_of_the_last_checkpoint_that_had_one_holds() -> None:
    lab, lease = running()
    assert give(lab, lease, 2, b"two") == ACCEPTED
    assert give(lab, lease, 3, None) == ACCEPTED
    assert place(lab) == (4, b"two")
    assert give(lab, lease, 4, b"") == ACCEPTED
    assert place(lab) == (5, b"")


@pytest.mark.parametrize("offset", [None, 1, 2, 10])
def test_a_state_without_a_new_offset_changes_nothing(offset: int | None) -> None:
    lab, lease = running()
    give(lab, lease, 2, b"two")
    give(lab, lease, offset, b"new")
    assert place(lab) == (3, b"two")


def test_a_state_that_is_too_large_changes_nothing() -> None:
    lab, lease = running()
    give(lab, lease, 2, b"two")
    assert lab.table.streams.checkpoint(lease, Progress(3, 2, 20, handled=9, state=b"12345"), lab.now) == TOO_LARGE
    partition = lab.partition()
    assert (place(lab), partition.window.outstanding, partition.offsets.handled) == ((3, b"two"), 7, None)
    assert give(lab, lease, 3, b"1234") == ACCEPTED


@pytest.mark.parametrize("way", ["closed", "error", "report"])
def test_a_last_checkpoint_with_too_large_a_state_is_not_taken_and_that_is_said(way: str) -> None:
    lab, lease = running()
    last = Progress(5, state=b"12345")
    match way:
        case "closed":
            lab.table.streams.closed(1, ClosedReason.STOPPED, last, lab.now)
        case "error":
            lab.table.streams.error(lease, Failure(ErrorAction.RESTART, message="bad"), last, lab.now)
        case _:
            lab.table.streams.error(lease, Failure(ErrorAction.REPORT, message="bad"), last, lab.now)
    said = [report for report in lab.commands(Report) if "state is too large" in report.event]
    assert [report.fields for report in said] == [{"offset": 5, "bytes": 5, "at_most": 4}]
    assert lab.partition().offsets.resume_at == 0


def test_the_next_lambda_gets_it() -> None:
    lab, lease = running()
    give(lab, lease, 2, b"two")
    lab.close(1, ClosedReason.STOPPED)
    lab.offer(2, "next")
    assert lab.assigned() == Assign(2, "L2", lab.partition().lane, 3, 1, b"two")


def test_it_is_there_after_a_restart_from_what_was_committed() -> None:
    lab = Lab()
    lab.table.assigned([P0], lab.now)
    lab.table.resolved(P0, 17, lab.now, committed=True, places=[Place(17, b"seventeen")])
    lab.offer(1)
    assert lab.assigned().state == b"seventeen"


def test_it_goes_past_the_markers_of_transactions_with_the_place() -> None:
    lab, lease = running()
    give(lab, lease, 9, b"nine")
    lab.table.settle(P0, [12])
    assert lab.partition().commitment.place == Place(12, b"nine")


def test_a_seek_drops_it_and_says_so() -> None:
    lab, lease = running()
    give(lab, lease, 4, b"four")
    lab.table.operator.seek(P0, 5, lab.now)
    said = [report for report in lab.commands(Report) if "state is dropped" in report.event]
    assert [report.fields for report in said] == [{"bytes": 4, "state_of": 5, "offset": 5}]
    assert place(lab) == (5, b"")
    assert lab.partition().offsets.to_commit() == 5, "what is committed with this offset has the state"


def test_a_lost_offset_drops_it() -> None:
    lab, lease = running()
    give(lab, lease, 4, b"four")
    lab.table.offset_lost(P0, 20, lab.now, "gone")
    assert place(lab) == (20, b"")
    assert any("state is dropped" in report.event for report in lab.commands(Report))


def test_nothing_is_said_where_there_is_no_state() -> None:
    lab, lease = running()
    lab.checkpoint(lease, 4)
    lab.table.operator.seek(P0, 2, lab.now)
    assert not any("state" in report.event for report in lab.commands(Report))


# --- answers that come late -------------------------------------------------------------------------------------


def test_the_answer_to_a_commit_of_an_earlier_place_does_not_make_a_seek_committed() -> None:
    """The numbers are equal, and the states are not."""
    lab, lease = running()
    give(lab, lease, 4, b"four")
    sent = lab.partition().commitment
    lab.table.operator.seek(P0, 5, lab.now)
    lab.table.committed(P0, [sent], lab.now)
    assert lab.partition().offsets.to_commit() == 5
    lab.committed(5)
    assert lab.partition().offsets.to_commit() is None


def test_an_answer_from_before_a_rebalance_is_none_of_the_partition_that_came_back() -> None:
    lab, lease = running()
    give(lab, lease, 4, b"four")
    sent = lab.partition().commitment
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    lab.close(1, ClosedReason.REVOKED)
    lab.table.forget([P0])
    lab.table.assigned([P0], lab.now)
    lab.table.resolved(P0, 5, lab.now, committed=False)
    lab.table.committed(P0, [sent], lab.now)
    assert lab.partition().offsets.to_commit() == 5


def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    lab, lease = running()
    give(lab, lease, 4, b"four")
    sent = lab.partition().commitment
    give(lab, lease, 6, b"six")
    lab.committed(7)
    lab.table.committed(P0, [sent], lab.now)
    assert lab.partition().offsets.committed == 7


# --- what a lambda is told of commits ---------------------------------------------------------------------------


def test_a_lambda_is_told_of_each_commit_that_has_a_new_checkpoint_of_it() -> None:
    lab, lease = running()
    lab.checkpoint(lease, 4)
    assert lab.commands(Committed) == [], "not before Kafka has it"
    lab.committed(5)
    lab.checkpoint(lease, 6)
    lab.checkpoint(lease, 7)
    lab.committed(8)
    lab.committed(8)
    assert lab.commands(Committed) == [Committed(1, 4), Committed(1, 7)]


def test_it_is_told_of_its_checkpoint_not_of_the_markers_after_it() -> None:
    lab, lease = running()
    lab.checkpoint(lease, 9)
    lab.table.settle(P0, [12])
    lab.committed(12)
    lab.table.settle(P0, [14])
    lab.committed(14)
    assert lab.commands(Committed) == [Committed(1, 9)]


def test_the_next_lambda_hears_of_a_commit_that_was_under_way_when_it_began() -> None:
    """It starts after that checkpoint, and may wait for it."""
    lab, lease = running()
    lab.checkpoint(lease, 4)
    sent = lab.partition().commitment
    lab.close(1, ClosedReason.STOPPED)
    lab.offer(2, "next")
    lab.table.committed(P0, [sent], lab.now)
    assert lab.commands(Committed) == [Committed(2, 4)]


def test_nobody_hears_of_a_commit_after_closed_or_of_a_place_that_was_left() -> None:
    lab, lease = running()
    lab.checkpoint(lease, 4)
    sent = lab.partition().commitment
    lab.table.operator.seek(P0, 2, lab.now)
    lab.offer(2, "next")
    lab.table.committed(P0, [sent], lab.now)
    lab.close(2, ClosedReason.STOPPED)
    lab.committed(2)
    assert lab.commands(Committed) == []


def test_during_a_drain_it_is_still_told() -> None:
    lab, lease = running()
    lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
    lab.checkpoint(lease, 4)
    lab.committed(5)
    assert lab.commands(Committed) == [Committed(1, 4)]
