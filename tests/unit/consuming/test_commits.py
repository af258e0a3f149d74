"""Commits against a consumer that only notes what it is asked for."""

from collections.abc import Callable, Sequence
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sidecar.cluster.origins import Origins
from sidecar.consuming.commit_refusals import (
    APART_INTERVAL_S,
    BLOCKS_AFTER_S,
    NORMAL_LIFE,
    UNUSUAL_AFTER_S,
    CommitRefusals,
)
from sidecar.consuming.commits import Commits
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.problems import Problems
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    ClosedReason,
    ErrorAction,
    Failure,
    Limits,
    Progress,
    RevokeReason,
    TopicPartition,
)
from tests.unit.records.arriving import Arriving

from .recorder import Recorder

P0, P1 = TopicPartition("words", 0), TopicPartition("words", 1)
INVALID = -1001
INTERVAL = 1.0


class Kafka:
    """In the place of a consumer: positions as the test says, commits written down."""

    def __init__(self) -> None:
        self.positions: dict[TopicPartition, int] = {}
        self.commits: list[tuple[dict[TopicPartition, int], bool]] = []
        self.refuses: KafkaError | None = None
        self.poll: Callable[[float], Message | None] = lambda _: None

    def position(self, partitions: Sequence[KafkaPartition]) -> list[KafkaPartition]:
        return [
            KafkaPartition(p.topic, p.partition, self.positions.get(TopicPartition(p.topic, p.partition), INVALID))
            for p in partitions
        ]

    def commit(self, *, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition] | None:
        self.commits.append(({TopicPartition(p.topic, p.partition): p.offset for p in offsets}, asynchronous))
        if self.refuses is not None:
            raise KafkaException(self.refuses)
        return None if asynchronous else offsets


class World:
    """Two partitions from offset 0, each in the hands of a stream; the leases are `L1` and `L2`."""

    def __init__(self) -> None:
        names = iter(f"L{number}" for number in range(1, 100))
        self.table = PartitionTable(Limits(), lambda: next(names), lambda: 1.0)
        self.buffer = FetchBuffer()
        self.arriving = Arriving(self.buffer)
        self.recorder = Recorder()
        self.kafka = Kafka()
        self.consumer = cast("Consumer", self.kafka)
        self.now = 0.0
        self.problems = Problems(self.recorder.log, lambda: self.now)
        self.refusals = CommitRefusals(self.table, self.problems, self.recorder.log, lambda: self.now)
        self.commits = Commits(self.table, self.buffer, Origins(), INTERVAL, self.refusals, self.recorder.log)
        self.table.assigned([P0, P1])
        for stream, tp in ((1, P0), (2, P1)):
            self.table.resolved(tp, 0, 0.0, committed=True)
            self.table.available(stream, "process", 1_000, 0.0)
            self.table.ready(stream, f"L{stream}", 0.0)

    def fetch(self, first: int, last: int, tp: TopicPartition = P0, *, send: bool = True) -> None:
        """Records come; sent, or not."""
        records = range(first, last + 1)
        made = [Message(topic=tp.topic, partition=tp.partition, offset=offset, value=b"v") for offset in records]
        self.arriving.come(made)
        self.kafka.positions[tp] = last + 1
        if send:
            self.buffer.taken(tp, len(made))
            self.table.sent(tp, first, last, len(made), 10, None, self.now)

    def checkpoint(self, offset: int, lease: str = "L1") -> None:
        self.table.checkpoint(lease, Progress(offset), self.now)

    def work(self, seconds: float = INTERVAL) -> dict[TopicPartition, int] | None:
        """Time passes; what was committed then, if anything."""
        self.now += seconds
        before = len(self.kafka.commits)
        self.commits.work(self.consumer, self.now)
        return self.kafka.commits[-1][0] if len(self.kafka.commits) > before else None

    def answer(self, offsets: dict[TopicPartition, int], error: KafkaError | None = None) -> None:
        self.commits.on_commit(error, [KafkaPartition(tp.topic, tp.partition, o) for tp, o in offsets.items()])


@pytest.fixture
def world() -> World:
    return World()


# --- what is committed ------------------------------------------------------------------------------------------


def test_only_the_latest_checkpoint_of_what_moved_is_committed(world: World) -> None:
    world.fetch(0, 9)
    world.fetch(0, 9, P1)
    world.checkpoint(3)
    world.checkpoint(5)
    assert world.work() == {P0: 6}
    assert world.kafka.commits[-1][1], "the answer is not waited for"


def test_a_committed_offset_is_not_committed_again(world: World) -> None:
    assert world.work() is None
    world.fetch(0, 9)
    world.checkpoint(5)
    assert world.work() == {P0: 6}
    world.answer({P0: 6})
    assert world.work() is None


def test_commits_come_at_the_interval_and_one_at_a_time(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(1)
    assert world.work() == {P0: 2}
    world.checkpoint(2)
    assert world.work(INTERVAL / 2) is None
    assert world.work() is None, "the first has not been answered"
    world.answer({P0: 2})
    assert world.work() == {P0: 3}


def test_a_failed_commit_is_tried_again(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(1)
    world.work()
    world.answer({P0: 2}, KafkaError(KafkaError.REQUEST_TIMED_OUT, "late"))
    assert [level for level, _ in world.recorder.take()] == ["warning"]
    assert world.work() == {P0: 2}


def test_a_commit_that_fails_at_once_is_tried_again(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(1)
    world.kafka.refuses = KafkaError(KafkaError._STATE, "not now")
    assert world.work() == {P0: 2}
    world.kafka.refuses = None
    assert world.work() == {P0: 2}


@pytest.mark.parametrize("code", sorted(NORMAL_LIFE))
def test_a_refusal_during_a_rebalance_is_not_a_warning(world: World, code: int) -> None:
    world.answer({P0: 2}, KafkaError(code, "gone"))
    assert [level for level, _ in world.recorder.take()] == ["debug"]


def test_a_partition_that_is_gone_is_not_committed_and_an_answer_for_it_is_ignored(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(1)
    world.work()
    world.table.lost([P0], world.now)
    world.answer({P0: 2})
    assert world.work() is None


# --- at a drain -------------------------------------------------------------------------------------------------


def test_a_drain_waits_for_the_answer_and_commits_only_what_is_drained(world: World) -> None:
    world.fetch(0, 9)
    world.fetch(0, 9, P1)
    world.checkpoint(4)
    world.checkpoint(4, "L2")
    world.commits.now(world.consumer, [P0, TopicPartition("other", 0)])
    assert world.kafka.commits == [({P0: 5}, False)]
    assert world.table.partitions[P0].position.committed == 5
    world.commits.now(world.consumer, [P0])
    assert len(world.kafka.commits) == 1


def test_a_drain_that_cannot_commit_goes_on(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(4)
    world.kafka.refuses = KafkaError(KafkaError.ILLEGAL_GENERATION, "too late")
    world.commits.now(world.consumer, [P0])
    assert world.table.partitions[P0].position.committed == 0


def test_a_drain_that_ends_with_records_outstanding_commits_the_checkpoint(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(4)
    world.table.revoke([P0], RevokeReason.REBALANCE, 2.0, world.now)
    world.table.tick(world.now + 2.0)
    world.commits.now(world.consumer, [P0])
    assert world.kafka.commits == [({P0: 5}, False)]


# --- the position -----------------------------------------------------------------------------------------------


def test_after_a_transactions_end_the_position_is_committed(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(9)
    world.kafka.positions[P0] = 11
    assert world.work() == {P0: 11}


def test_the_position_does_not_count_while_something_is_outstanding(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(8)
    assert world.work() == {P0: 9}


def test_the_position_does_not_count_while_something_waits(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(9)
    world.fetch(10, 12, send=False)
    assert world.work() == {P0: 10}


def test_an_invalid_position_moves_nothing(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(9)
    world.kafka.positions.clear()
    assert world.work() == {P0: 10}


@pytest.mark.parametrize("end", ["closed", "lost", "error", "critical"])
def test_the_position_does_not_count_until_a_rewind_is_carried_out(world: World, end: str) -> None:
    """The lease ended with records outstanding, and Kafka's client still stands behind them."""
    world.fetch(0, 9)
    world.checkpoint(4)
    if end == "closed":
        world.table.closed(1, ClosedReason.STOPPED, None, world.now)
    elif end == "lost":
        world.table.stream_lost(1, world.now)
    else:
        action = ErrorAction.CRITICAL if end == "critical" else ErrorAction.RESTART
        world.table.error("L1", Failure(action), None, world.now)
    world.table.tick(world.now)
    assert world.work() == {P0: 5}
    world.answer({P0: 5})
    world.table.tick(world.now + 100.0)
    assert world.work() is None


def test_the_position_does_not_pass_a_record_that_cannot_be_delivered(world: World) -> None:
    world.fetch(0, 9)
    world.checkpoint(9)
    world.kafka.positions[P0] = 12
    world.table.undeliverable(P0, 10, "too large", 2.0, world.now)
    assert world.work() == {P0: 10}
    world.table.closed(1, ClosedReason.REVOKED, None, world.now)
    world.answer({P0: 10})
    assert world.work() is None
    world.table.operator.resume(P0, world.now, skip=False)
    assert world.work() is None


def test_what_a_revoke_takes_away_during_the_last_commit_is_not_committed_again(world: World) -> None:
    """Kafka would take our older offset: it asks who is a member, and not who owns what."""
    world.fetch(0, 9)
    world.fetch(0, 9, P1)
    world.checkpoint(5)
    world.checkpoint(7, "L2")

    def poll(_: float) -> Message | None:
        """P1 is revoked in the first one, and the answer to the commit under way is that one partition failed."""
        if P1 in world.table.partitions:
            world.table.forget([P1])
            world.answer({}, KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
        else:
            world.answer(world.kafka.commits[-1][0])
        return None

    world.kafka.poll = poll
    world.commits.finish(world.consumer, [P0, P1], 5.0)
    assert [offsets for offsets, _ in world.kafka.commits] == [{P0: 6, P1: 8}, {P0: 6}]


# --- what is refused --------------------------------------------------------------------------------------------

GONE = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "gone")
NO_RIGHT = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "not authorised")
BUSY = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "loading")


def both(world: World) -> None:
    """Something to commit in both partitions."""
    world.fetch(0, 9)
    world.fetch(0, 9, P1)
    world.checkpoint(5)
    world.checkpoint(7, "L2")


def test_what_is_refused_in_part_is_committed_apart_so_that_each_has_its_own_answer(world: World) -> None:
    """librdkafka tells of the whole request as refused."""
    both(world)
    assert world.work() == {P0: 6, P1: 8}
    world.answer({P0: 6, P1: 8}, GONE)
    assert world.recorder.told() == [], "nobody knows yet which it is"
    assert world.work(0.0) == {P1: 8}
    assert [offsets for offsets, _ in world.kafka.commits[-2:]] == [{P0: 6}, {P1: 8}]
    world.answer({P1: 8}, GONE)
    world.answer({P0: 6})
    assert world.table.partitions[P0].position.committed == 6
    assert [level for level, _ in world.recorder.told()] == ["warning"]
    (problem,) = world.problems.now
    assert (problem.kind, problem.blocks) == ("commit:words/1", False)
    world.checkpoint(6)
    assert world.work() == {P0: 7}, "the healthy one does not wait for the other"
    world.answer({P0: 7})
    assert world.work(APART_INTERVAL_S) == {P1: 8}
    world.answer({P1: 8})
    assert world.problems.now == []
    assert world.recorder.told() == [("info", "commits are taken again")]


def test_a_synchronous_commit_refused_in_part_is_halved_so_that_each_has_its_own_answer(world: World) -> None:
    both(world)
    commit = world.kafka.commit

    def refusing(*, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition] | None:
        world.kafka.refuses = GONE if any(p.partition == 1 for p in offsets) else None
        return commit(offsets=offsets, asynchronous=asynchronous)

    world.kafka.commit = refusing  # type: ignore[method-assign]
    world.commits.now(world.consumer, [P0, P1])
    assert (world.table.partitions[P0].position.committed, world.table.partitions[P1].position.committed) == (6, 0)
    assert [problem.kind for problem in world.problems.now] == ["commit:words/1"]


def test_a_refusal_of_all_commits_is_one_problem_and_blocks_at_once_if_a_right_is_missing(world: World) -> None:
    both(world)
    for _ in range(5):
        world.answer(world.work() or {}, NO_RIGHT)
    assert [level for level, _ in world.recorder.told()] == ["warning"]
    assert [(problem.kind, problem.blocks) for problem in world.problems.now] == [("commits", True)]
    world.answer(world.work() or {})
    assert world.recorder.told() == [("info", "commits are taken again")]
    assert world.problems.ready


def test_a_short_refusal_does_not_block_and_a_lasting_one_does(world: World) -> None:
    both(world)
    world.answer(world.work() or {}, BUSY)
    assert world.problems.ready
    while world.now < BLOCKS_AFTER_S + 2:
        world.answer(world.work() or {}, BUSY)
    assert not world.problems.ready


def test_a_rebalances_refusal_that_does_not_end_is_a_problem(world: World) -> None:
    both(world)
    stale = KafkaError(KafkaError.ILLEGAL_GENERATION, "stale")
    world.answer(world.work() or {}, stale)
    assert world.problems.now == []
    while world.now < UNUSUAL_AFTER_S + 2:
        world.answer(world.work() or {}, stale)
    assert [problem.kind for problem in world.problems.now] == ["commits"]


def test_the_problem_of_a_partition_ends_when_it_is_released(world: World) -> None:
    both(world)
    world.answer(world.work() or {}, GONE)
    world.work(0.0)
    world.answer({P1: 8}, GONE)
    assert [problem.kind for problem in world.problems.now] == ["commit:words/1"]
    world.refusals.forget([P1])
    assert world.problems.now == []


def test_a_topic_that_may_not_be_read_is_committed_again_until_it_may(world: World) -> None:
    """To commit needs the right to read, so the answer tells of it, also where nothing is to be committed."""
    assert world.work() is None
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorised")
    world.refusals.forbidden("words", refused)
    assert not world.problems.ready
    assert world.work(APART_INTERVAL_S) == {P0: 0, P1: 0}
    world.answer({P0: 0, P1: 0}, refused)
    assert world.work(0.0) == {P1: 0}
    world.answer({P0: 0}, refused)
    world.answer({P1: 0}, refused)
    assert not world.problems.ready
    world.work(APART_INTERVAL_S)
    world.answer({P0: 0})
    world.answer({P1: 0})
    assert world.problems.ready
    assert world.work() is None


def test_commits_of_an_abandoned_client_are_forgotten(world: World) -> None:
    both(world)
    world.work()
    assert world.work() is None, "it is under way"
    world.commits.abandon()
    assert world.work() == {P0: 6, P1: 8}
