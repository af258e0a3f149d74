"""Commits against a client that only notes what it is asked for."""

import pytest
from confluent_kafka import KafkaError, TopicPartition as KafkaPartition

from sidecar.cluster.errors import NORMAL_LIFE
from sidecar.consuming.commit_refusals import APART_INTERVAL_S, BLOCKS_AFTER_S, UNUSUAL_AFTER_S
from sidecar.partitions.vocabulary import (
    ClosedReason,
    ErrorAction,
    Failure,
    Lane,
    Progress,
    RevokeReason,
    TopicPartition,
)

from .bench import LANE0, P0, P1, Bench

INTERVAL = 1.0


@pytest.fixture
def bench() -> Bench:
    """Two partitions from offset 0, each in the hands of a stream; the leases are `L1` and `L2`."""
    made = Bench(now=0.0, checkpoint={"interval": INTERVAL})
    made.assign(P0, P1)
    for _ in (P0, P1):
        made.run("process")
    assert [*made.stream_of] == [P0, P1]
    return made


def deliver(bench: Bench, first: int, last: int, tp: TopicPartition = P0, *, send: bool = True) -> None:
    """Records come; sent, or not."""
    bench.fetch(*range(first, last + 1), partition=tp.partition)
    if send:
        count = last + 1 - first
        bench.buffer.taken(Lane(tp), count)
        bench.table.records.sent(Lane(tp), first, last, count, 10, None, bench.now)


def checkpoint(bench: Bench, offset: int, lease: str = "L1") -> None:
    bench.table.streams.checkpoint(lease, Progress(offset), bench.now)


def work(bench: Bench, seconds: float = INTERVAL) -> dict[TopicPartition, int] | None:
    """Time passes; what was committed then, if anything."""
    bench.now += seconds
    before = len(bench.consumer.commits)
    bench.commits.work(bench.consumer.as_consumer, bench.now)
    return bench.consumer.commits[-1][0] if len(bench.consumer.commits) > before else None


def answer(bench: Bench, offsets: dict[TopicPartition, int], error: KafkaError | None = None) -> None:
    bench.client.on_commit(error, [KafkaPartition(tp.topic, tp.partition, o) for tp, o in offsets.items()])


# --- what is committed ------------------------------------------------------------------------------------------


def test_only_the_latest_checkpoint_of_what_moved_is_committed(bench: Bench) -> None:
    deliver(bench, 0, 9)
    deliver(bench, 0, 9, P1)
    checkpoint(bench, 3)
    checkpoint(bench, 5)
    assert work(bench) == {P0: 6}
    assert bench.consumer.commits[-1][1], "the answer is not waited for"


def test_a_committed_offset_is_not_committed_again(bench: Bench) -> None:
    assert work(bench) is None
    deliver(bench, 0, 9)
    checkpoint(bench, 5)
    assert work(bench) == {P0: 6}
    answer(bench, {P0: 6})
    assert work(bench) is None


def test_commits_come_at_the_interval_and_one_at_a_time(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 1)
    assert work(bench) == {P0: 2}
    checkpoint(bench, 2)
    assert work(bench, INTERVAL / 2) is None
    assert work(bench) is None, "the first has not been answered"
    answer(bench, {P0: 2})
    assert work(bench) == {P0: 3}


def test_a_failed_commit_is_tried_again(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 1)
    work(bench)
    answer(bench, {P0: 2}, KafkaError(KafkaError.REQUEST_TIMED_OUT, "late"))
    assert [level for level, _ in bench.recorder.take()] == ["warning"]
    assert work(bench) == {P0: 2}


def test_a_commit_that_fails_at_once_is_tried_again(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 1)
    bench.consumer.refuses_commits = KafkaError(KafkaError._STATE, "not now")
    assert work(bench) == {P0: 2}
    bench.consumer.refuses_commits = None
    assert work(bench) == {P0: 2}


@pytest.mark.parametrize("code", sorted(NORMAL_LIFE))
def test_a_refusal_during_a_rebalance_is_not_a_warning(bench: Bench, code: int) -> None:
    answer(bench, {P0: 2}, KafkaError(code, "gone"))
    assert [level for level, _ in bench.recorder.take()] == ["debug"]


def test_a_partition_that_is_gone_is_not_committed_and_an_answer_for_it_is_ignored(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 1)
    work(bench)
    bench.table.lost([P0], bench.now)
    answer(bench, {P0: 2})
    assert work(bench) is None


# --- at a drain -------------------------------------------------------------------------------------------------


def test_a_drain_waits_for_the_answer_and_commits_only_what_is_drained(bench: Bench) -> None:
    deliver(bench, 0, 9)
    deliver(bench, 0, 9, P1)
    checkpoint(bench, 4)
    checkpoint(bench, 4, "L2")
    bench.commits.now(bench.consumer.as_consumer, [P0, TopicPartition("other", 0)])
    assert bench.consumer.commits == [({P0: 5}, False)]
    assert bench.table.lanes[Lane(P0)].offsets.committed == 5
    bench.commits.now(bench.consumer.as_consumer, [P0])
    assert len(bench.consumer.commits) == 1


def test_a_drain_that_cannot_commit_goes_on(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 4)
    bench.consumer.refuses_commits = KafkaError(KafkaError.ILLEGAL_GENERATION, "too late")
    bench.commits.now(bench.consumer.as_consumer, [P0])
    assert bench.table.lanes[Lane(P0)].offsets.committed == 0


def test_a_drain_that_ends_with_records_outstanding_commits_the_checkpoint(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 4)
    bench.table.revoke([P0], RevokeReason.REBALANCE, 2.0, bench.now)
    bench.table.tick(bench.now + 2.0)
    bench.commits.now(bench.consumer.as_consumer, [P0])
    assert bench.consumer.commits == [({P0: 5}, False)]


# --- the position -----------------------------------------------------------------------------------------------


def test_after_a_transactions_end_the_position_is_committed(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 9)
    bench.consumer.positions[P0] = 11
    assert work(bench) == {P0: 11}


def test_the_position_does_not_count_while_something_is_outstanding(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 8)
    assert work(bench) == {P0: 9}


def test_the_position_does_not_count_while_something_waits(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 9)
    deliver(bench, 10, 12, send=False)
    assert work(bench) == {P0: 10}


def test_an_invalid_position_moves_nothing(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 9)
    bench.consumer.positions.clear()
    assert work(bench) == {P0: 10}


@pytest.mark.parametrize("end", ["closed", "lost", "error", "critical"])
def test_the_position_does_not_count_until_a_rewind_is_carried_out(bench: Bench, end: str) -> None:
    """The lease ended with records outstanding, and Kafka's client still stands behind them."""
    deliver(bench, 0, 9)
    checkpoint(bench, 4)
    if end == "closed":
        bench.table.streams.closed(1, ClosedReason.STOPPED, None, bench.now)
    elif end == "lost":
        bench.table.streams.lost(1, bench.now)
    else:
        action = ErrorAction.CRITICAL if end == "critical" else ErrorAction.RESTART
        bench.table.streams.error("L1", Failure(action), None, bench.now)
    bench.table.tick(bench.now)
    assert work(bench) == {P0: 5}
    answer(bench, {P0: 5})
    bench.table.tick(bench.now + 100.0)
    assert work(bench) is None


def test_the_position_does_not_pass_a_record_that_cannot_be_delivered(bench: Bench) -> None:
    deliver(bench, 0, 9)
    checkpoint(bench, 9)
    bench.consumer.positions[P0] = 12
    bench.table.records.undeliverable(LANE0, 10, "too large", 2.0, bench.now)
    assert work(bench) == {P0: 10}
    bench.table.streams.closed(1, ClosedReason.REVOKED, None, bench.now)
    answer(bench, {P0: 10})
    assert work(bench) is None
    bench.table.operator.resume(P0, bench.now, skip=False)
    assert work(bench) is None


def test_what_a_revoke_takes_away_during_the_last_commit_is_not_committed_again(bench: Bench) -> None:
    """Kafka would take our older offset: it asks who is a member, and not who owns what."""
    deliver(bench, 0, 9)
    deliver(bench, 0, 9, P1)
    checkpoint(bench, 5)
    checkpoint(bench, 7, "L2")

    def in_poll() -> None:
        """P1 is revoked in the first one, and the answer to the commit under way is that one partition failed."""
        if P1 in bench.table.partitions:
            bench.table.forget([P1])
            answer(bench, {}, KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
            bench.consumer.inside = in_poll
        else:
            answer(bench, bench.consumer.commits[-1][0])

    bench.consumer.inside = in_poll
    bench.commits.finish(bench.consumer.as_consumer, [P0, P1], 5.0, lambda: None)
    assert [offsets for offsets, _ in bench.consumer.commits] == [{P0: 6, P1: 8}, {P0: 6}]


# --- what is refused --------------------------------------------------------------------------------------------

GONE = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "gone")
NO_RIGHT = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "not authorised")
BUSY = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "loading")


def both(bench: Bench) -> None:
    """Something to commit in both partitions."""
    deliver(bench, 0, 9)
    deliver(bench, 0, 9, P1)
    checkpoint(bench, 5)
    checkpoint(bench, 7, "L2")


def test_what_is_refused_in_part_is_committed_apart_so_that_each_has_its_own_answer(bench: Bench) -> None:
    """librdkafka tells of the whole request as refused."""
    both(bench)
    assert work(bench) == {P0: 6, P1: 8}
    answer(bench, {P0: 6, P1: 8}, GONE)
    assert bench.recorder.told() == [], "nobody knows yet which it is"
    assert work(bench, 0.0) == {P1: 8}
    assert [offsets for offsets, _ in bench.consumer.commits[-2:]] == [{P0: 6}, {P1: 8}]
    answer(bench, {P1: 8}, GONE)
    answer(bench, {P0: 6})
    assert bench.table.lanes[Lane(P0)].offsets.committed == 6
    assert [level for level, _ in bench.recorder.told()] == ["warning"]
    (problem,) = bench.problems.now
    assert (problem.kind, problem.blocks) == ("commit:t/1", False)
    checkpoint(bench, 6)
    assert work(bench) == {P0: 7}, "the healthy one does not wait for the other"
    answer(bench, {P0: 7})
    assert work(bench, APART_INTERVAL_S) == {P1: 8}
    answer(bench, {P1: 8})
    assert bench.problems.now == []
    assert bench.recorder.told() == [("info", "commits are taken again")]


def test_a_synchronous_commit_refused_in_part_is_halved_so_that_each_has_its_own_answer(bench: Bench) -> None:
    both(bench)
    commit = bench.consumer.commit

    def refusing(*, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition] | None:
        bench.consumer.refuses_commits = GONE if any(p.partition == 1 for p in offsets) else None
        return commit(offsets=offsets, asynchronous=asynchronous)

    bench.consumer.commit = refusing  # type: ignore[method-assign]
    bench.commits.now(bench.consumer.as_consumer, [P0, P1])
    assert (bench.table.lanes[Lane(P0)].offsets.committed, bench.table.lanes[Lane(P1)].offsets.committed) == (6, 0)
    assert [problem.kind for problem in bench.problems.now] == ["commit:t/1"]


def test_a_refusal_of_all_commits_is_one_problem_and_blocks_at_once_if_a_right_is_missing(bench: Bench) -> None:
    both(bench)
    for _ in range(5):
        answer(bench, work(bench) or {}, NO_RIGHT)
    assert [level for level, _ in bench.recorder.told()] == ["warning"]
    assert [(problem.kind, problem.blocks) for problem in bench.problems.now] == [("commits", True)]
    answer(bench, work(bench) or {})
    assert bench.recorder.told() == [("info", "commits are taken again")]
    assert bench.problems.ready


def test_a_short_refusal_does_not_block_and_a_lasting_one_does(bench: Bench) -> None:
    both(bench)
    answer(bench, work(bench) or {}, BUSY)
    assert bench.problems.ready
    while bench.now < BLOCKS_AFTER_S + 2:
        answer(bench, work(bench) or {}, BUSY)
    assert not bench.problems.ready


def test_a_rebalances_refusal_that_does_not_end_is_a_problem(bench: Bench) -> None:
    both(bench)
    stale = KafkaError(KafkaError.ILLEGAL_GENERATION, "stale")
    answer(bench, work(bench) or {}, stale)
    assert bench.problems.now == []
    while bench.now < UNUSUAL_AFTER_S + 2:
        answer(bench, work(bench) or {}, stale)
    assert [problem.kind for problem in bench.problems.now] == ["commits"]


def test_the_problem_of_a_partition_ends_when_it_is_released(bench: Bench) -> None:
    both(bench)
    answer(bench, work(bench) or {}, GONE)
    work(bench, 0.0)
    answer(bench, {P1: 8}, GONE)
    assert [problem.kind for problem in bench.problems.now] == ["commit:t/1"]
    bench.refusals.forget([P1])
    assert bench.problems.now == []


def test_a_topic_that_may_not_be_read_is_committed_again_until_it_may(bench: Bench) -> None:
    """To commit needs the right to read, so the answer tells of it, also where nothing is to be committed."""
    assert work(bench) is None
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorised")
    bench.refusals.forbidden("t", refused)
    assert not bench.problems.ready
    assert work(bench, APART_INTERVAL_S) == {P0: 0, P1: 0}
    answer(bench, {P0: 0, P1: 0}, refused)
    assert work(bench, 0.0) == {P1: 0}
    answer(bench, {P0: 0}, refused)
    answer(bench, {P1: 0}, refused)
    assert not bench.problems.ready
    work(bench, APART_INTERVAL_S)
    answer(bench, {P0: 0})
    answer(bench, {P1: 0})
    assert bench.problems.ready
    assert work(bench) is None


def test_commits_of_an_abandoned_client_are_forgotten(bench: Bench) -> None:
    both(bench)
    work(bench)
    assert work(bench) is None, "it is under way"
    bench.commits.abandon()
    assert work(bench) == {P0: 6, P1: 8}
