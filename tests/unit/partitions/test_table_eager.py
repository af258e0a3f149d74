"""The eager protocol takes all partitions away and gives some back: what an operator ordered of those still holds."""

from sidecar.partitions.vocabulary import ErrorAction, Report, RevokeReason, State, TopicPartition

from .lab import P0, P1, Lab

REBALANCE, SHUTDOWN = RevokeReason.REBALANCE, RevokeReason.SHUTDOWN
ENDED = "an operator's pause ended: the partition is not this sidecar's any more"


def rebalance(lab: Lab, tps: list[TopicPartition], back: list[TopicPartition], at: int = 0) -> list[str]:
    """All are revoked, some come back with the same committed offset. Returns what is reported."""
    lab.table.revoke(tps, REBALANCE, 1.0, lab.now, may_return=True)
    lab.wait(2.0)
    lab.table.forget(tps)
    lab.table.assigned(back, lab.now)
    reports = lab.commands(Report)
    for tp in back:
        lab.table.resolved(tp, at, lab.now, committed=True)
    return [report.event for report in reports]


def paused(reason: str = "upgrade") -> Lab:
    lab = Lab()
    lab.own(P0, P1)
    lab.table.operator.pause(P0, reason, 1.0, lab.now)
    lab.commands(Report)
    return lab


def test_a_pause_stays_in_force_when_the_partition_is_assigned_again() -> None:
    lab = paused()
    assert ENDED not in rebalance(lab, [P0, P1], [P0, P1])
    lab.offer(1)
    assert lab.state() is State.PAUSED
    assert lab.partition().trouble.reason == "upgrade"
    assert lab.state(P1) is State.STARTING
    lab.table.operator.resume(P0, lab.now, skip=False)
    lab.offer(2)
    assert lab.state() is State.STARTING


def test_a_pause_stays_in_force_also_during_its_drain() -> None:
    lab = Lab()
    lab.run()
    lab.table.operator.pause(P0, "upgrade", 1.0, lab.now)
    rebalance(lab, [P0], [P0])
    assert lab.state() is State.PAUSED


def test_a_pause_stays_in_force_when_a_rebalance_comes_before_the_resume_offset_is_known() -> None:
    lab = paused()
    lab.table.revoke([P0], REBALANCE, 1.0, lab.now, may_return=True)
    lab.table.forget([P0])
    lab.table.assigned([P0], lab.now)
    rebalance(lab, [P0], [P0])
    assert lab.state() is State.PAUSED


def test_the_end_of_a_pause_is_logged_when_the_partition_is_taken() -> None:
    assert ENDED in rebalance(paused(), [P0, P1], [P1])


def test_the_end_of_a_pause_is_logged_when_no_partition_is_assigned_again() -> None:
    lab = paused()
    lab.table.revoke([P0], SHUTDOWN, 1.0, lab.now)
    assert [report.event for report in lab.commands(Report)] == [ENDED]
    lab = paused()
    lab.table.lost([P0], lab.now)
    assert [report.event for report in lab.commands(Report)] == [ENDED]


def test_a_pause_ends_when_another_member_had_the_partition() -> None:
    lab = paused()
    rebalance(lab, [P0, P1], [P1])
    lab.offer(1)
    lab.own(P0)
    assert lab.state() is not State.PAUSED


def halted() -> Lab:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.fail(lease, ErrorAction.CRITICAL, offset=4, last=3)
    assert lab.state() is State.HALTED
    return lab


def test_a_halted_partition_stays_halted() -> None:
    lab = halted()
    rebalance(lab, [P0], [P0], at=4)
    assert lab.state() is State.HALTED
    assert lab.partition().trouble.failing_offset == 4
    assert lab.table.operator.resume(P0, lab.now, skip=True) == (4, 4)


def test_a_halted_partition_is_tried_again_when_its_committed_offset_was_moved() -> None:
    lab = halted()
    rebalance(lab, [P0], [P0], at=7)
    assert lab.state() is State.WAITING


def test_a_skipped_offset_stays_skipped() -> None:
    lab = halted()
    lab.table.operator.resume(P0, lab.now, skip=True)
    rebalance(lab, [P0], [P0], at=4)
    assert lab.partition().skip == {4}
    rebalance(lab, [P0], [P0], at=5)
    assert lab.partition().skip == set()
