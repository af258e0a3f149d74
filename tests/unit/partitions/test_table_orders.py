"""What operators order: pause, resume and seek, whatever a partition is doing."""

from collections.abc import Callable

import pytest

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    ErrorAction,
    Lane,
    Limits,
    OrderRefused,
    Pausing,
    RevokeReason,
    State,
)

from .lab import LANE0, P0, P1, Lab

DRAIN = 2.0


def running() -> Lab:
    """Ten records are out, 0 and 1 are checkpointed; a spare stream 2 waits."""
    lab = Lab()
    lease = lab.run()
    lab.offer(2)
    lab.send(0, 9)
    lab.checkpoint(lease, 1)
    lab.seen()
    return lab


def pause(lab: Lab, reason: str = "upgrade") -> None:
    lab.table.operator.pause(P0, reason, DRAIN, lab.now)


def halted() -> Lab:
    lab = running()
    lab.fail("L1", ErrorAction.CRITICAL, offset=4)
    lab.seen()
    return lab


def backing_off() -> Lab:
    lab = running()
    lab.fail("L1")
    lab.seen()
    return lab


def waiting() -> Lab:
    lab = Lab()
    lab.own(P0, at=2)
    return lab


def held_by_its_lambda() -> Lab:
    lab = running()
    lab.table.streams.pause(1, Pausing(1, 5, retry_after=1.0), lab.now)
    lab.table.rewound(Lane(P0))
    lab.seen()
    return lab


# --- pause ------------------------------------------------------------------------------------------------------


def test_pause_drains_the_partition_and_keeps_it_paused() -> None:
    lab = running()
    pause(lab)
    assert lab.seen() == [("revoke", 1, RevokeReason.PAUSED, DRAIN)]
    assert (lab.state(), lab.partition().is_paused_by_operator) == (State.DRAINING, True)
    assert lab.checkpoint("L1", 3)[0] is CheckpointOutcome.ACCEPTED_DRAINING
    lab.close(1, ClosedReason.REVOKED, last=4)
    assert lab.seen() == [("rewind", P0, 5)]
    lab.wait(10_000.0)
    assert (lab.state(), lab.partition().lease, lab.partition().trouble.reason) == (State.PAUSED, None, "upgrade")
    assert not lab.table._moves.waiting


def test_a_pause_does_not_wait_longer_than_its_drain() -> None:
    lab = running()
    pause(lab)
    lab.wait(DRAIN)
    assert ("end", 1, EndReason.TOO_LATE) in lab.seen()
    assert (lab.state(), lab.partition().offsets.resume_at) == (State.PAUSED, 2)


@pytest.mark.parametrize("fails", [lambda lab: lab.lose(1), lambda lab: lab.fail("L1")])
def test_a_failure_during_the_drain_of_a_pause_does_not_count(fails: Callable[[Lab], object]) -> None:
    lab = running()
    pause(lab)
    fails(lab)
    assert (lab.state(), lab.partition().trouble.attempt) == (State.PAUSED, 1)


def test_a_critical_error_during_the_drain_of_a_pause_halts() -> None:
    lab = running()
    pause(lab)
    lab.fail("L1", ErrorAction.CRITICAL, offset=5)
    assert (lab.state(), lab.partition().trouble.failing_offset) == (State.HALTED, 5)


@pytest.mark.parametrize("made", [waiting, backing_off])
def test_a_partition_without_a_lambda_is_paused_at_once(made: Callable[[], Lab]) -> None:
    lab = made()
    pause(lab)
    assert (lab.state(), lab.table.next_due(lab.now + 60.0)) in (
        (State.PAUSED, None),
        (State.PAUSED, lab.now + lab.table.limits.close_timeout),  # of the stream that failed
    )
    lab.offer(7)
    lab.wait(3600.0)
    assert lab.state() is State.PAUSED


def test_an_operators_pause_replaces_the_lambdas_pause() -> None:
    lab = held_by_its_lambda()
    pause(lab)
    assert lab.seen() == [("revoke", 1, RevokeReason.PAUSED, DRAIN)]
    lab.wait(1.0)  # its own time is over: that means nothing now
    assert lab.state() is State.DRAINING
    lab.close(1, ClosedReason.REVOKED)
    assert lab.state() is State.PAUSED
    assert lab.partition().is_paused_by_operator


def test_a_second_pause_changes_only_the_reason() -> None:
    lab = waiting()
    pause(lab)
    pause(lab, "more")
    assert (lab.state(), lab.partition().trouble.reason) == (State.PAUSED, "more")


def test_pause_is_refused_while_halted_resolving_or_draining() -> None:
    lab = Lab()
    with pytest.raises(OrderRefused, match="is not assigned") as caught:
        pause(lab)
    assert caught.value.kind == "unknown"
    lab.table.assigned([P0], lab.now)
    drained = running()
    drained.table.revoke([P0], RevokeReason.REBALANCE, DRAIN, drained.now)
    for one, word in ((lab, "resolving"), (halted(), "halted"), (drained, "draining")):
        with pytest.raises(OrderRefused, match=f"cannot be paused while it is {word}") as caught:
            pause(one)
        assert caught.value.kind == "state"


def test_resume_ends_a_pause_and_forgets_the_failures() -> None:
    lab = backing_off()
    pause(lab)
    with pytest.raises(OrderRefused, match="is paused, so there is none to skip"):
        lab.table.operator.resume(P0, lab.now, skip=True)
    assert lab.table.operator.resume(P0, lab.now, skip=False) == (2, None)
    assert lab.seen() == [("assign", 2, "L2", P0, 2, 1)]


def test_a_rebalance_takes_a_paused_partition_like_any_other() -> None:
    lab = waiting()
    pause(lab)
    lab.table.revoke([P0], RevokeReason.REBALANCE, DRAIN, lab.now)
    assert not lab.table.held()
    lab.table.forget([P0])
    lab.own(P0)
    assert lab.state() is State.WAITING


def test_a_lost_offset_does_not_end_an_operators_pause() -> None:
    lab = waiting()
    pause(lab)
    lab.table.offset_lost(P0, 50, lab.now, "gone")
    assert (lab.state(), lab.partition().offsets.resume_at, lab.partition().trouble.reason) == (
        State.PAUSED,
        50,
        "upgrade",
    )


# --- seek -------------------------------------------------------------------------------------------------------


def test_seek_ends_the_lease_and_starts_another_at_the_new_offset() -> None:
    lab = running()
    assert lab.table.operator.seek(P0, 50, lab.now) == (2, State.STARTING)
    assert lab.seen() == [
        ("revoke", 1, RevokeReason.SEEK, 0.0),
        ("rewind", P0, 50),
        ("assign", 2, "L2", P0, 50, 1),
    ]
    assert lab.checkpoint("L1", 5)[0] is CheckpointOutcome.STALE_LEASE
    assert lab.partition().offsets.to_commit() == 50


def test_a_seek_of_all_lanes_ends_all_leases_before_it_gives_one_to_a_process() -> None:
    """Seen by the model: the first lane was given away while its process still held the second."""
    lab = Lab(Limits(lanes=2))
    lab.own(P0)
    lab.offer(1, "moves")
    lab.offer(2, "moves")
    lab.own(P1)
    lab.offer(3, "stays")
    lab.offer(4, "moves")
    lab.offer(5, "stays")
    lab.offer(6, "moves")
    lab.seen()
    held = {lane: p.held.process_id for lane, p in lab.table.lanes.items()}
    assert [*held.values()] == ["moves", "moves", "stays", "moves"]
    lab.table.operator.pause(P1, "", 0.0, lab.now, number=1)
    lab.close(4, ClosedReason.REVOKED)
    lab.seen()
    lab.table.operator.seek(P0, 50, lab.now)
    assigned = [step[1] for step in lab.seen() if step[0] == "assign"]
    assert assigned == [6, 5], "moves holds nothing any more, stays one"


def test_after_a_seek_nothing_is_sent_or_settled_until_the_client_is_moved() -> None:
    lab = running()
    lab.table.operator.seek(P0, 1, lab.now)
    lab.ready(2, "L2")
    assert lab.table.records.may_send(LANE0) == 0
    lab.partition().settle(10)
    assert lab.partition().offsets.resume_at == 1
    lab.table.rewound(Lane(P0))
    assert lab.table.records.may_send(LANE0) > 0


def test_seek_may_go_back_and_forgets_the_state_of_the_old_position() -> None:
    lab = halted()
    lab.table.operator.resume(P0, lab.now, skip=True)
    assert lab.partition().skip == {4}
    lab.table.operator.seek(P0, 0, lab.now)
    partition = lab.partition()
    assert (
        partition.offsets.resume_at,
        partition.offsets.checkpoint,
        partition.skip,
        partition.trouble.attempt,
    ) == (0, None, set(), 1)
    assert partition.offsets.to_commit() == 0


def test_a_halted_partition_stays_halted_and_has_no_failing_offset_any_more() -> None:
    lab = halted()
    assert lab.table.operator.seek(P0, 7, lab.now) == (2, State.HALTED)
    assert (lab.state(), lab.partition().trouble.failing_offset, lab.partition().offsets.resume_at) == (
        State.HALTED,
        None,
        7,
    )
    assert lab.table.operator.resume(P0, lab.now, skip=False) == (7, None)


def test_seek_keeps_a_pause_also_during_its_drain() -> None:
    lab = running()
    pause(lab)
    assert lab.table.operator.seek(P0, 7, lab.now) == (2, State.PAUSED)
    assert (lab.state(), lab.partition().trouble.reason) == (State.PAUSED, "upgrade")
    lab.close(1, ClosedReason.REVOKED, last=9)
    assert (lab.state(), lab.partition().offsets.resume_at) == (State.PAUSED, 7)


def test_seek_halts_a_partition_that_is_about_to_halt() -> None:
    lab = running()
    lab.table.records.undeliverable(LANE0, 10, "too large", DRAIN, lab.now)
    assert lab.table.operator.seek(P0, 11, lab.now) == (2, State.HALTED)
    lab.wait(60.0)
    assert lab.state() is State.HALTED


def test_seek_ends_a_lambdas_pause() -> None:
    lab = held_by_its_lambda()
    assert lab.table.operator.seek(P0, 3, lab.now) == (2, State.STARTING)
    lab.wait(1.0)
    assert lab.state() is State.STARTING


def test_seek_ends_a_back_off() -> None:
    lab = backing_off()
    assert lab.table.operator.seek(P0, 3, lab.now) == (2, State.STARTING)
    lab.wait(1.0)
    assert lab.state() is State.STARTING


def test_a_hand_over_continues_from_the_new_offset_of_a_seek() -> None:
    lab = Lab()
    lab.own(P0, P1)
    for stream in (1, 2):
        lab.offer(stream, "a")
        lab.ready(stream, f"L{stream}")
    lab.offer(3, "a")
    lab.offer(9, "b")
    lab.wait(6.0)
    assert lab.state() is State.DRAINING
    lab.seen()
    lab.table.operator.seek(P0, 5, lab.now)
    assert lab.seen()[-1] == ("assign", 9, "L3", P0, 5, 1)


@pytest.mark.parametrize("state", ["resolving", "draining"])
def test_seek_is_refused_while_resolving_or_being_released(state: str) -> None:
    lab = running()
    if state == "resolving":
        lab.table.assigned([P1], lab.now)
    lab.table.revoke([P0], RevokeReason.REBALANCE, DRAIN, lab.now)
    with pytest.raises(OrderRefused, match=f"cannot be moved while it is {state}"):
        lab.table.operator.seek(P1 if state == "resolving" else P0, 3, lab.now)
    lab = Lab()
    with pytest.raises(OrderRefused) as caught:
        lab.table.operator.check_seek(P0)
    assert caught.value.kind == "unknown"
