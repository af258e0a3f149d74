"""The order of frames and dead letters: what goes, what is kept, and what waits for that."""

import pytest

from sidecar.consuming import in_flight
from sidecar.mail import letters
from sidecar.partitions.vocabulary import (
    ErrorAction,
    ErrorOutcome,
    Failure,
    Lane,
    Policy,
    Progress,
    RevokeReason,
    State,
)

from .bench import LANE0, P0, P1, SOURCES, Bench, SourceKind


def running(policy: Policy = Policy.DEAD_LETTER, source: SourceKind = "rows") -> Bench:
    """One partition that runs from offset 0, and frames of four records."""
    bench = Bench(source, on_critical=policy.value, frame={"records": 4})
    bench.assign(P0)
    bench.run()
    return bench


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    return running(source=request.param)


def fail(bench: Bench, offset: int, lease: str = "L1") -> ErrorOutcome:
    """A critical error; what waits is fetched again, by the next lambda."""
    outcome, _ = bench.table.streams.error(lease, Failure(ErrorAction.CRITICAL, offset), None, bench.now)
    bench.letters.carry_out()
    return outcome


def answer(bench: Bench, index: int = -1, error: str = "") -> None:
    """The thread that writes dead letters has written this one, or could not."""
    offset, letter = bench.dead_letters.given[index]
    bench.letters.read(letters.DeadLettered(LANE0, offset, letter, error))


def test_frames_go_in_order_and_bounded(bench: Bench) -> None:
    bench.fetch(0, 1, 2, 3, 4, 7, 9)
    assert bench.send() == [[0, 1, 2, 3], [4, 7, 9]]
    assert (bench.sender.sent, bench.buffer.idle(LANE0)) == (7, True)


def test_the_thread_is_told_at_once_of_a_written_frame_if_it_has_more_to_send() -> None:
    """A record that comes alone needs no turn after the one in which it is sent."""
    bench = running()

    def rings() -> list[bool]:
        bench.sender.work(bench.now)
        sends = [item.rings for item in bench.outbox.posted if isinstance(item, letters.Send)]
        bench.frames()
        return sends

    bench.fetch(0)
    assert rings() == [False]
    bench.fetch(1)
    assert rings() == [True], "no third one may follow before one of the two is written"
    bench.written(P0)
    bench.written(P0)
    bench.fetch(*range(2, 10))
    assert rings() == [True, True], "there is more than fits into two frames"


def test_a_lane_without_records_gives_the_thread_no_work(bench: Bench) -> None:
    bench.fetch(0)
    bench.sender.work(bench.now)
    bench.written(P0)
    assert bench.sender.changed
    assert not bench.sender.has_work
    bench.fetch(1)
    assert bench.sender.has_work


def test_lanes_that_waited_for_the_frames_of_another_are_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "MAX_BYTES", 1)  # room for one frame
    bench = Bench()
    bench.assign(P0, P1)
    bench.run()
    bench.run()
    bench.fetch(0, partition=0)
    bench.fetch(0, partition=1)
    bench.sender.work(bench.now)
    [(tp, _)] = bench.frames()
    assert not bench.sender.has_work, "until that frame is written"
    bench.written(tp)
    assert bench.sender.has_work
    bench.sender.work(bench.now)
    assert len(bench.frames()) == 1


def test_records_before_a_dead_one_are_sent_then_it_is_written_and_none_after_it_is_sent(bench: Bench) -> None:
    bench.fetch(*range(8))
    bench.send()
    assert fail(bench, 5) is ErrorOutcome.DEAD_LETTERED
    bench.run()
    bench.fetch(*range(9))
    assert bench.send() == [[0, 1, 2, 3], [4]]
    assert [offset for offset, _ in bench.dead_letters.given] == [5]
    assert not bench.buffer.idle(LANE0)  # it stays, so that no position beyond it is committed
    bench.fetch(9)
    assert bench.send() == []
    assert len(bench.dead_letters.given) == 1  # given once
    answer(bench)
    assert bench.send() == [[6, 7, 8, 9]]
    assert bench.table.counts.dead_letters == 1


def test_a_dead_record_at_the_head_is_written_at_once(bench: Bench) -> None:
    bench.fetch(0, 1)
    bench.send()
    fail(bench, 0)
    bench.run()
    bench.fetch(0, 1)
    assert bench.send() == []
    assert [offset for offset, _ in bench.dead_letters.given] == [0]
    answer(bench)
    assert bench.send() == [[1]]


def test_a_dead_record_that_is_the_last_leaves_nothing_buffered(bench: Bench) -> None:
    bench.fetch(0, 1)
    bench.send()
    fail(bench, 1)
    lease = bench.run()
    bench.fetch(0, 1)
    assert bench.send() == [[0]]
    bench.table.streams.checkpoint(lease, Progress(0), bench.now)
    answer(bench)
    assert bench.send() == []
    assert bench.buffer.idle(LANE0)
    bench.table.lanes[Lane(P0)].settle(2)
    assert bench.table.lanes[Lane(P0)].offsets.resume_at == 2


def test_two_dead_records_are_written_one_after_the_other(bench: Bench) -> None:
    bench.fetch(*range(6))
    bench.send()
    fail(bench, 4)
    lease = bench.run()
    bench.fetch(*range(6))
    assert bench.send() == [[0, 1, 2, 3]]
    fail(bench, 2, lease)  # an earlier one, while the later is being written
    bench.run()
    bench.fetch(*range(6))
    assert bench.send() == [[0, 1]]
    assert [offset for offset, _ in bench.dead_letters.given] == [4, 2]
    answer(bench, 0)
    assert bench.send() == []
    answer(bench, 1)
    assert bench.send() == [[3, 5]]


def test_a_dead_record_is_not_written_twice_when_the_lambda_restarts(bench: Bench) -> None:
    bench.fetch(0, 1, 2)
    bench.send()
    fail(bench, 1)
    bench.run()
    bench.fetch(0, 1, 2)
    assert bench.send() == [[0]]
    bench.table.streams.lost(2, bench.now)
    bench.letters.carry_out()
    bench.run()
    bench.fetch(0, 1, 2)
    assert bench.send() == [[0]]
    assert len(bench.dead_letters.given) == 1
    answer(bench)
    assert bench.send() == [[2]]


def test_a_partition_that_came_back_decides_anew(bench: Bench) -> None:
    bench.fetch(0, 1)
    bench.send()
    fail(bench, 0)
    bench.run()
    bench.fetch(0, 1)
    bench.send()
    bench.turns.rebalances.lose([P0])
    bench.assign(P0)
    lease = bench.run()
    bench.fetch(0, 1)
    assert bench.send() == [[0, 1]]
    answer(bench)  # of the time before
    fail(bench, 0, lease)
    bench.run()
    bench.fetch(0, 1)
    assert bench.send() == []
    assert len(bench.dead_letters.given) == 2


def test_an_answer_for_a_partition_that_is_gone_is_ignored(bench: Bench) -> None:
    bench.fetch(0)
    bench.send()
    fail(bench, 0)
    bench.run()
    bench.fetch(0)
    bench.send()
    bench.turns.rebalances.lose([P0])
    answer(bench)
    assert bench.send() == []


def test_a_failing_offset_between_records_halts(bench: Bench) -> None:
    """There is nothing to keep, and the lambda would fail at it again and again."""
    bench.fetch(0, 4, 6)
    bench.send()
    assert fail(bench, 5) is ErrorOutcome.DEAD_LETTERED
    bench.run()
    bench.fetch(0, 4, 6)
    assert bench.send() == [[0, 4]]
    assert bench.dead_letters.given == []
    partition = bench.table.lanes[Lane(P0)]
    assert (partition.dead, partition.state, partition.trouble.failing_offset) == ({}, State.DRAINING, 5)


def test_when_a_dead_letter_cannot_be_written_no_record_after_it_is_sent(bench: Bench) -> None:
    bench.fetch(0, 1, 2)
    bench.send()
    fail(bench, 1)
    bench.run()
    bench.fetch(0, 1, 2)
    bench.send()
    answer(bench, error="no room")
    assert bench.send() == []
    assert bench.table.lanes[Lane(P0)].state is State.DRAINING


def test_a_record_that_is_too_large_becomes_a_dead_letter(bench: Bench) -> None:
    bench.fetch(0, 1, 2, large=1)
    assert bench.send() == [[0]]
    assert [offset for offset, _ in bench.dead_letters.given] == [1]
    assert bench.table.lanes[Lane(P0)].state is State.RUNNING
    answer(bench)
    assert bench.send() == [[2]]


@pytest.mark.parametrize("policy", [Policy.HALT, Policy.EXIT])
def test_with_another_policy_a_record_that_is_too_large_halts(policy: Policy) -> None:
    bench = running(policy)
    bench.fetch(0, 1, 2, large=1)
    assert bench.send() == [[0]]
    partition = bench.table.lanes[Lane(P0)]
    assert (partition.state, partition.trouble.failing_offset) == (State.DRAINING, 1)


def test_nothing_is_sent_to_a_partition_that_is_drained(bench: Bench) -> None:
    bench.fetch(0)
    bench.table.revoke([P0], RevokeReason.REBALANCE, 1.0, bench.now)
    assert bench.send() == []
    assert bench.buffer.count(LANE0) == 1
