"""The letter with which the dead-letter thread answers: what follows for the record and for those after it."""

from dataclasses import replace

import pytest

from sidecar.mail import letters
from sidecar.partitions.vocabulary import DeadLetter, ErrorAction, Failure, Lane, Revoke, RevokeReason, State

from .bench import LANE0, P0, SOURCES, Bench

DRAIN_S = 3.0
DEAD = 1


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    """The record at offset 1 is being written as a dead letter; those at 0 and 1 and 2 were fetched, 0 is sent."""
    bench = Bench(request.param, on_critical="dead-letter", rebalance_drain=DRAIN_S)
    bench.assign(P0)
    lease = bench.run()
    bench.fetch(0, DEAD, 2)
    bench.send()
    bench.table.streams.error(lease, Failure(ErrorAction.CRITICAL, DEAD), None, bench.now)
    bench.letters.carry_out()
    bench.run()
    bench.fetch(0, DEAD, 2)
    assert bench.send() == [[0]]
    bench.outbox.posted.clear()
    return bench


def given(bench: Bench) -> DeadLetter:
    """The object that the dead-letter thread has."""
    [(offset, letter)] = bench.dead_letters.given
    assert offset == DEAD
    return letter


def comes(bench: Bench, letter: DeadLetter, error: str = "") -> None:
    """The answer is in the mailbox, and the mailbox is read."""
    bench.state.mailbox.put(letters.DeadLettered(LANE0, DEAD, letter, error))
    bench.letters.read_all()


def test_a_record_that_was_written_is_left_out_and_the_next_one_may_go(bench: Bench) -> None:
    reason = bench.table.lanes[Lane(P0)].trouble.reason
    assert reason == "waits for the dead letter of offset 1 to be written"
    comes(bench, given(bench))
    assert bench.sender.changed == {LANE0}, "the sender looks at it in this turn"
    partition = bench.table.lanes[Lane(P0)]
    assert (partition.skip, partition.dead, partition.trouble.reason) == ({DEAD}, {}, "")
    assert bench.table.counts.dead_letters == 1
    assert bench.recorder.told()[-1] == ("warning", "dead letter written")
    assert bench.send() == [[2]]


def test_a_record_that_could_not_be_written_halts_its_partition_after_the_drain_of_the_config(bench: Bench) -> None:
    comes(bench, given(bench), error="no room")
    assert bench.outbox.posted == [Revoke(2, RevokeReason.HALTED, DRAIN_S)]
    partition = bench.table.lanes[Lane(P0)]
    assert (partition.state, partition.trouble.failing_offset, partition.skip) == (State.DRAINING, DEAD, set())
    assert bench.recorder.told()[-1] == ("error", "dead letter cannot be written: halting")
    assert bench.table.counts.dead_letters == 0
    assert bench.send() == []


def test_an_answer_inside_a_rebalance_callback_is_read_at_once(bench: Bench) -> None:
    bench.letters.in_callback = True
    comes(bench, given(bench))
    assert bench.letters.postponed == []
    assert bench.table.lanes[Lane(P0)].skip == {DEAD}


def test_an_answer_for_another_letter_leaves_the_record_waiting(bench: Bench) -> None:
    """The partition may have been moved, and may have failed at the same offset again."""
    comes(bench, replace(given(bench)))
    assert bench.table.lanes[Lane(P0)].dead == {DEAD: given(bench)}
    assert bench.table.counts.dead_letters == 0
    assert bench.send() == []
    assert len(bench.dead_letters.given) == 1, "it is still being written"
