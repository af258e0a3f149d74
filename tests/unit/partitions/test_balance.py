"""Who gets a share when, and what a process that flaps can do to the others: scenarios, and simulated hours."""

import random

import pytest

from sidecar.partitions.balance import PROBATION_S
from sidecar.partitions.processes import PENALTY_S
from sidecar.partitions.vocabulary import ClosedReason, Limits, OrderRefused, Pausing, Revoke, RevokeReason, State

from .lab import P0, P1, P2, P3, Lab
from .town import STEP, Town

LIMITS = Limits()
HOUR = 3600.0
A_MOMENT = LIMITS.minimum_stay + 4 * STEP


def settled(partitions: int, *names: str) -> Town:
    """These processes share the partitions, and all is quiet."""
    town = Town(partitions)
    for name in names:
        town.join(name)
    town.wait(partitions * A_MOMENT)
    town.forget_waits()
    return town


# --- a share ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [2, 3, 8, 25])
def test_a_process_that_joins_gets_its_share_one_partition_at_a_time(partitions: int) -> None:
    town = settled(partitions, "a")
    town.join("b")
    town.wait(LIMITS.minimum_stay - STEP)
    assert town.hand_overs == 0  # it has just come
    town.wait(2 * STEP + partitions / 2 * 4 * STEP)
    assert sorted(town.held("a", "b")) == [partitions // 2, (partitions + 1) // 2]
    assert town.hand_overs == partitions // 2
    assert town.most_at_once == 1
    assert town.longest_wait <= 4 * STEP


def test_nothing_moves_at_a_difference_of_one() -> None:
    town = settled(5, "a", "b")
    moved = town.hand_overs
    town.wait(HOUR)
    assert town.hand_overs == moved


@pytest.mark.parametrize("seed", range(5))
def test_hand_overs_stop_when_the_processes_do_not_change(seed: int) -> None:
    dice = random.Random(seed)
    town = Town(dice.randint(1, 12))
    names = [f"process {number}" for number in range(dice.randint(2, 5))]
    for name in names:
        town.join(name)
        town.wait(dice.choice([0.0, 1.0, 7.0, 20.0]))
    town.wait(len(town.tps) * A_MOMENT)
    counts = town.held(*names)
    assert sum(counts) == len(town.tps)
    assert max(counts) - min(counts) <= 1
    moved = town.hand_overs
    town.wait(HOUR / 6)
    assert town.hand_overs == moved
    assert town.held(*names) == counts


def test_when_a_process_dies_the_others_take_over_at_once_and_share_again_when_it_is_back() -> None:
    town = settled(6, "a", "b", "c")
    town.die("c")
    town.wait(4 * STEP)
    assert town.held("a", "b") == [3, 3]
    town.join("c, again")
    town.wait(6 * A_MOMENT)
    assert town.held("a", "b", "c, again") == [2, 2, 2]


def test_a_redeploy_one_after_the_other_ends_in_even_shares() -> None:
    town = settled(6, "a", "b")
    for old, new in (("a", "a2"), ("b", "b2")):
        town.join(new)
        town.wait(2.0)
        town.stop(old)
        town.wait(6 * A_MOMENT)
    assert town.held("a2", "b2") == [3, 3]


# --- who disturbs -----------------------------------------------------------------------------------------------


def flap(town: Town, seconds: float, life: float, pause: float, *, orderly: bool = False) -> None:
    """One that comes under a new name each time, and does not live long."""
    end, number = town.now + seconds, town.opened
    while town.now < end:
        number += 1
        name = f"flapper {number}"
        town.join(name)
        town.wait(life)
        if orderly:
            town.stop(name)
        else:
            town.die(name)
        town.wait(pause)


@pytest.mark.parametrize("life", [4.0, 6.0, 8.0, 15.0])
def test_a_process_that_keeps_dying_gets_partitions_less_and_less_often(life: float) -> None:
    town = settled(6, "a", "b")
    before = town.hand_overs
    flap(town, HOUR, life, 2.0)
    # Its share is two, and it may have both before it falls over; then the back-off: 10, 20, ... 600 seconds.
    assert town.hand_overs - before <= 2 * (7 + HOUR / LIMITS.hand_over_backoff_most)
    assert town.longest_wait <= 3.0
    assert town.most_at_once <= 2
    assert sum(town.held("a", "b")) == 6


def test_a_process_that_keeps_stopping_gets_partitions_less_and_less_often() -> None:
    town = settled(6, "a", "b")
    before = town.hand_overs
    flap(town, HOUR, 8.0, 2.0, orderly=True)
    assert town.hand_overs - before <= 2 + 6 + HOUR / LIMITS.hand_over_backoff_most
    assert town.longest_wait <= 3.0


@pytest.mark.parametrize("full", [False, True])
def test_a_process_whose_create_always_fails_gets_partitions_less_and_less_often(full: bool) -> None:
    town = settled(6, "a", "b")
    before = town.hand_overs
    town.join("bad", fails=not full, full=full)
    for _ in range(int(HOUR)):
        town.wait(1.0)
        assert sum(town.held("a", "b")) >= 5
    assert 1 <= town.hand_overs - before <= 7 + HOUR / LIMITS.hand_over_backoff_most
    assert town.longest_wait <= 3.0


def test_healthy_processes_nearly_always_keep_all_partitions_but_one() -> None:
    town = settled(6, "a", "b")
    less, looks = 0, 0
    for number in range(int(HOUR / 10)):
        town.join(f"flapper {number}")
        for _ in range(8):
            town.wait(1.0)
            looks += 1
            less += sum(town.held("a", "b")) < 5
        town.die(f"flapper {number}")
        town.wait(2.0)
    assert less / looks < 0.01


def test_after_a_dying_process_is_gone_a_healthy_one_gets_its_share_when_the_back_off_ends() -> None:
    town = settled(6, "a", "b")
    flap(town, HOUR / 2, 8.0, 2.0)
    town.join("c")
    town.wait(LIMITS.hand_over_backoff_most + 6 * A_MOMENT)
    assert town.held("a", "b", "c") == [2, 2, 2]


def test_a_healthy_process_gets_its_share_although_another_keeps_dying_too_early_to_get_any() -> None:
    town = settled(6, "a")
    town.join("b")
    flap(town, 60.0, 4.0, 0.0)
    assert town.held("a", "b") == [3, 3]


# --- one hand-over, step by step --------------------------------------------------------------------------------


def shared() -> Lab:
    """Process `a` runs P0 to P3 on streams 1 to 4 (leases L1 to L4) and has a spare, 5; `b` came 6 s ago."""
    lab = Lab()
    lab.own(P0, P1, P2, P3)
    for stream in (1, 2, 3, 4):
        lab.offer(stream, "a")
        lab.ready(stream, f"L{stream}")
    lab.offer(5, "a")
    lab.offer(9, "b")
    lab.now += 6.0
    lab.seen()
    return lab


def test_the_partition_with_the_fewest_outstanding_records_is_handed_over_after_a_drain() -> None:
    lab = shared()
    for tp in (P0, P1, P3):
        lab.send(0, 4, tp)
    lab.wait(0.0)
    assert lab.seen() == [("revoke", 3, RevokeReason.HAND_OVER, LIMITS.hand_over_drain)]
    assert lab.state(P2) is State.DRAINING
    lab.wait(1.0)
    assert lab.seen() == []  # one at a time
    lab.close(3, ClosedReason.REVOKED)
    assert lab.seen() == [("assign", 9, "L5", P2, 0, 1)]
    lab.wait(1.0)
    assert lab.seen() == []  # until it is ready there
    lab.offer(10, "b")
    lab.ready(9, "L5")
    lab.wait(0.0)
    assert lab.seen() == [("revoke", 1, RevokeReason.HAND_OVER, LIMITS.hand_over_drain)]


def test_paused_and_new_partitions_are_not_handed_over() -> None:
    lab = shared()
    for stream in (1, 2, 3):
        lab.table.streams.pause(stream, Pausing(1), lab.now)
    lab.close(4, ClosedReason.STOPPED)  # the process ends: P3 waits for another
    assert lab.seen() == [("assign", 9, "L5", P3, 0, 1)]
    lab.wait(60.0)
    assert [command for command in lab.seen() if command[0] == "revoke"] == []


def test_when_the_target_dies_during_the_drain_the_old_process_gets_the_partition_back() -> None:
    lab = shared()
    lab.wait(0.0)
    lab.lose(9)
    lab.seen()
    lab.close(1, ClosedReason.REVOKED)
    assert lab.seen() == [("assign", 5, "L5", P0, 0, 1)]
    lab.ready(5, "L5")
    lab.offer(6, "a")
    lab.offer(10, "b2")
    lab.wait(6.0)
    assert [command[0] for command in lab.seen()] == ["revoke"]  # nothing failed: no back-off


def test_a_new_process_does_not_get_a_partition_that_is_handed_over_to_another() -> None:
    lab = shared()
    lab.offer(11, "c")
    lab.offer(10, "b")
    lab.wait(0.0)
    lab.seen()
    lab.close(1, ClosedReason.REVOKED)
    assert lab.assigned().stream == 9


def test_a_failed_create_in_the_target_makes_all_hand_overs_wait() -> None:
    lab = shared()
    lab.wait(0.0)
    lab.close(1, ClosedReason.REVOKED)
    lab.offer(10, "b")
    lab.fail("L5")
    lab.seen()
    lab.wait(0.5)
    assert lab.assigned().stream == 5  # who failed is ill
    lab.ready(5, "L6")
    lab.offer(6, "a")
    lab.offer(12, "c")
    lab.wait(LIMITS.hand_over_backoff_first - 0.6)
    assert lab.commands(Revoke) == []
    lab.wait(0.2)
    assert [revoke.reason for revoke in lab.commands(Revoke)] == [RevokeReason.HAND_OVER]


def test_a_failure_long_after_a_hand_over_does_not_count_as_a_failed_hand_over() -> None:
    town = settled(4, "a")
    town.join("b")
    town.wait(4 * A_MOMENT + PROBATION_S)
    town.die("b")
    town.join("c")
    moved = town.hand_overs
    town.wait(A_MOMENT + 4 * STEP)
    assert town.hand_overs > moved
    assert LIMITS.hand_over_backoff_first > A_MOMENT + 4 * STEP


def test_a_rebalance_an_operator_and_a_lost_partition_end_the_move() -> None:
    for ends in ("revoke", "pause", "lost"):
        lab = shared()
        lab.wait(0.0)
        if ends == "revoke":
            lab.table.revoke([P0], RevokeReason.REBALANCE, 1.0, lab.now)
            lab.close(1, ClosedReason.REVOKED)
            lab.table.forget([P0])
        elif ends == "pause":
            with pytest.raises(OrderRefused, match="draining"):
                lab.table.operator.pause(P0, "", 1.0, lab.now)
            lab.close(1, ClosedReason.REVOKED)
            lab.table.operator.pause(P0, "", 1.0, lab.now)
            lab.close(9, ClosedReason.REVOKED)
            lab.offer(10, "b")
        else:
            lab.table.lost([P0], lab.now)
        lab.commands(Revoke)
        lab.wait(PENALTY_S + 1)
        assert lab.table.balance.moving is not None
        assert lab.table.balance.moving.tp in (P1, P2, P3)


def test_nothing_is_handed_over_while_a_partition_waits_or_the_sidecar_stops() -> None:
    lab = shared()
    lab.table.revoke_all(RevokeReason.SHUTDOWN, 10.0, lab.now)
    lab.wait(1.0)
    assert all(revoke.reason is RevokeReason.SHUTDOWN for revoke in lab.commands(Revoke))
