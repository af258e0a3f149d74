"""Taking partitions back: drains and their deadlines, partitions that are lost, places that are gone."""

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    ErrorAction,
    ErrorOutcome,
    RevokeReason,
    State,
)

from .lab import LANE0, P0, P1, P2, Lab

REBALANCE = RevokeReason.REBALANCE
STALE = CheckpointOutcome.STALE_LEASE


# --- drains -----------------------------------------------------------------------------------------------------


def test_a_drain_stops_sending_and_takes_checkpoints_until_closed() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    assert lab.seen() == [("revoke", 1, REBALANCE, 2.0)]
    assert lab.state() is State.DRAINING
    assert lab.table.held([P0])
    assert lab.table.records.may_send(LANE0) == 0
    assert lab.checkpoint(lease, 3)[0] is CheckpointOutcome.ACCEPTED_DRAINING
    lab.close(1, ClosedReason.REVOKED, last=5)
    assert not lab.table.held()
    assert lab.partition().offsets.to_commit() == 6
    assert lab.checkpoint(lease, 7)[0] is STALE
    lab.table.forget([P0])
    assert lab.table.partitions == {}


def test_a_drain_ends_at_its_deadline_and_with_it_the_lease() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, 1)
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    assert lab.table.next_due(lab.now) == lab.now + 2.0
    lab.wait(1.9)
    assert lab.table.held()
    lab.wait(0.1)
    assert not lab.table.held()
    assert ("end", 1, EndReason.TOO_LATE) in lab.seen()
    assert lab.checkpoint(lease, 5)[0] is STALE
    assert lab.partition().offsets.to_commit() == 2


def test_a_second_revoke_only_shortens_the_first() -> None:
    lab = Lab()
    lab.run()
    lab.table.revoke([P0], RevokeReason.SHUTDOWN, 10.0, lab.now)
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    assert lab.table.next_due(lab.now) == lab.now + 2.0
    lab.table.revoke([P0], REBALANCE, 30.0, lab.now)
    assert lab.table.next_due(lab.now) == lab.now + 2.0
    assert [entry[0] for entry in lab.seen()] == ["revoke"]


def test_a_partition_without_a_lambda_is_released_at_once() -> None:
    lab = Lab()
    lease = lab.run(P0)
    lab.fail(lease)
    lab.own(P1)
    lab.table.assigned([P2], lab.now)
    lab.table.revoke([P0, P1, P2], REBALANCE, 2.0, lab.now)
    assert not lab.table.held()
    lab.seen()
    lab.offer(2)
    lab.wait(1000.0)
    assert [entry for entry in lab.seen() if entry[0] == "assign"] == []


def test_revoking_a_partition_that_is_not_assigned_is_ignored() -> None:
    lab = Lab()
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    lab.table.forget([P0])
    lab.table.lost([P0], lab.now)
    assert lab.seen() == []


def test_a_starting_lambda_is_drained_too_and_may_still_send_ready() -> None:
    lab = Lab()
    lab.own(P0)
    lab.offer(1)
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    lab.seen()
    lab.ready(1, "L1")
    assert lab.seen() == []
    assert lab.state() is State.DRAINING
    lab.close(1, ClosedReason.DECLINED)
    assert not lab.table.held()


def test_after_a_shutdown_no_partition_is_assigned_to_a_stream() -> None:
    lab = Lab()
    lab.run()
    lab.own(P1)
    lab.table.revoke_all(RevokeReason.SHUTDOWN, 10.0, lab.now)
    lab.offer(2)
    lab.close(1, ClosedReason.REVOKED)
    lab.wait(1.0)
    assert [entry[0] for entry in lab.seen()] == ["revoke"]


def test_a_stream_that_breaks_during_a_drain_ends_it() -> None:
    lab = Lab()
    lab.run()
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    lab.lose(1)
    assert not lab.table.held()
    assert lab.state() is State.DRAINING
    assert lab.table.counts.restarts == {}


def test_a_released_partition_that_is_assigned_again_starts_anew() -> None:
    lab = Lab()
    lease = lab.run()
    lab.fail(lease)
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    lab.table.forget([P0])
    lab.own(P0, at=40)
    lab.offer(2)
    assert lab.assigned().start_offset == 40
    assert (
        lab.partition().offsets.resume_at,
        lab.partition().trouble.attempt,
        lab.partition().trouble.failures,
    ) == (40, 1, 0)
    lab.close(1, ClosedReason.ERROR, last=60)  # of the old lease
    assert lab.partition().offsets.resume_at == 40
    assert lab.partition().held.stream == 2


# --- lost -------------------------------------------------------------------------------------------------------


def test_a_lost_partition_waits_for_nothing_and_commits_nothing() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.checkpoint(lease, 4)
    lab.own(P1)
    lab.table.lost([P0, P1], lab.now)
    assert lab.table.partitions == {}
    assert ("revoke", 1, RevokeReason.LOST, 0.0) in lab.seen()
    assert lab.checkpoint(lease, 5)[0] is STALE
    assert lab.fail(lease)[0] is ErrorOutcome.STALE_LEASE
    lab.offer(2)
    assert lab.seen() == []


def test_the_stream_of_a_lost_partition_must_close_in_time() -> None:
    lab = Lab()
    lab.run()
    lab.table.lost([P0], lab.now)
    lab.seen()
    lab.wait(lab.table.limits.close_timeout)
    assert lab.seen() == [("end", 1, EndReason.TOO_LATE)]


# --- a lost place -----------------------------------------------------------------------------------------------


def test_a_lost_offset_gets_a_new_lease_at_the_new_offset() -> None:
    lab = Lab()
    lease = lab.run()
    lab.offer(2)
    lab.send(0, 9)
    lab.checkpoint(lease, 3)
    lab.table.offset_lost(P0, 500, lab.now, "gone")
    seen = [entry for entry in lab.seen() if entry[0] != "rewind"]
    assert seen == [("revoke", 1, RevokeReason.SEEK, 0.0)], "nobody gets it before its place is committed"
    assert lab.checkpoint(lease, 9)[0] is STALE
    assert (lab.partition().offsets.resume_at, lab.partition().offsets.to_commit()) == (500, 500)
    lab.committed(500)
    assert lab.seen() == [("assign", 2, "L2", P0, 500, 1)]


def test_a_lost_offset_does_not_fetch_from_the_old_offset() -> None:
    lab = Lab()
    lab.run(at=100)
    lab.send(100, 109)
    lab.table.offset_lost(P0, 0, lab.now, "the topic was made anew")
    assert ("rewind", P0, 100) not in lab.seen()


def test_a_lost_offset_may_move_back_and_forgets_skips() -> None:
    lab = Lab()
    lab.run(at=100)
    lab.send(100, 109)
    lab.fail("L1", ErrorAction.CRITICAL, offset=105)
    lab.table.operator.resume(P0, lab.now, skip=True)
    lab.table.offset_lost(P0, 0, lab.now, "gone")
    assert lab.partition().offsets.resume_at == 0
    assert lab.partition().skip == set()


def test_a_lost_offset_halts_when_that_is_the_policy() -> None:
    lab = Lab()
    lab.run()
    lab.table.offset_lost(P0, 5, lab.now, "offset 0 is not in the log, which has 5 to 9", halt=True)
    assert lab.state() is State.HALTED
    assert lab.partition().trouble.reason == "offset 0 is not in the log, which has 5 to 9"
    assert lab.partition().offsets.to_commit() is None


def test_a_lost_offset_of_a_partition_that_waits_or_backs_off_moves_it() -> None:
    lab = Lab()
    lab.own(P0)
    lab.table.offset_lost(P0, 7, lab.now, "gone")
    lab.committed(7)
    lease = lab.run()
    assert lab.partition().offsets.resume_at == 7
    lab.fail(lease)
    lab.table.offset_lost(P0, 9, lab.now, "gone")
    lab.committed(9)
    lab.offer(2)
    assert lab.assigned().start_offset == 9


def test_a_lost_offset_during_a_drain_is_left_to_the_next_owner() -> None:
    lab = Lab()
    lab.run()
    lab.table.revoke([P0], REBALANCE, 2.0, lab.now)
    lab.offer(2)
    lab.table.offset_lost(P0, 500, lab.now, "gone")
    assert not lab.table.held()
    assert lab.state() is State.DRAINING


def test_a_lost_offset_does_not_resume_a_halted_partition() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.fail(lease, ErrorAction.CRITICAL, offset=4)
    lab.table.offset_lost(P0, 500, lab.now, "gone")
    assert lab.state() is State.HALTED


def test_a_lost_offset_forgets_the_failures_at_the_old_offset() -> None:
    lab = Lab()
    lab.run()
    lab.table.records.undeliverable(LANE0, 5, "too large", 2.0, lab.now)
    lab.table.offset_lost(P0, 500, lab.now, "gone")
    assert lab.state() is State.RESOLVING
    lab.committed(500)
    assert lab.state() is State.WAITING
    assert lab.partition().trouble.failing_offset is None


def test_a_lost_offset_resets_the_number_of_attempts() -> None:
    lab = Lab()
    lab.fail(lab.run())
    lab.table.offset_lost(P0, 500, lab.now, "gone")
    lab.committed(500)
    lab.offer(2)
    assert lab.assigned().attempt == 1
