"""The order of frames and dead letters: what goes, what is kept, and what waits for that."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest
from confluent_kafka import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.in_flight import InFlight
from sidecar.consuming.sender import Sender
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Assign,
    DeadLetter,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Limits,
    Policy,
    Progress,
    RevokeReason,
    State,
    TopicPartition,
)
from sidecar.producing.dead_letters import DeadLetters
from sidecar.records.records import Record
from tests.unit.records.arriving import Arriving

P0 = TopicPartition("t", 0)
NOW = 100.0
LARGE = 4 << 20


class Keeper:
    """In the place of the thread that writes dead letters: notes what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[int, DeadLetter]] = []

    def write(self, tp: TopicPartition, record: Record, letter: DeadLetter) -> None:
        assert tp == P0
        self.given.append((record.offset, letter))


class Bench:
    """One partition that runs from offset 0, and a lambda process that takes 1 MiB at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop, policy: Policy = Policy.DEAD_LETTER) -> None:
        leases = iter(f"L{number}" for number in range(1, 100))
        config = LambdaConfig.model_validate({"topic": "t", "group": "g", "frame": {"records": 4}})
        self.table = PartitionTable(Limits(policy=policy), lambda: next(leases), lambda: 0.0)
        self.buffer = FetchBuffer()
        self.arriving = Arriving(self.buffer)
        self.keeper = Keeper()
        self.posted: list[letters.Delivery] = []
        outbox = Outbox(loop, lambda _: None)
        outbox.post = self._post  # type: ignore[method-assign]
        kept = cast("DeadLetters", self.keeper) if policy is Policy.DEAD_LETTER else None
        self.in_flight = InFlight(self.table)
        self.sender = Sender(self.table, self.buffer, self.in_flight, config, outbox, kept)
        self.table.assigned([P0])
        self.table.resolved(P0, 0, NOW, committed=True)
        self.streams = 0
        self.run()

    def _post(self, item: letters.Delivery) -> None:
        self.posted.append(item)

    def run(self) -> str:
        """A stream comes, gets the partition, and is ready. Returns the lease."""
        self.streams += 1
        self.table.available(self.streams, f"process {self.streams}", 1 << 20, NOW)
        assigns = [command for command in self.table.commands if isinstance(command, Assign)]
        self.table.commands.clear()
        self.table.ready(assigns[-1].stream, assigns[-1].lease, NOW)
        return assigns[-1].lease

    def fetch(self, *offsets: int, large: int | None = None) -> None:
        """Records come; the one at ``large`` is more than the lambda process takes."""
        records = [
            Message(topic="t", partition=0, offset=one, value=b"v" * (LARGE if one == large else 1), timestamp=(1, 1))
            for one in offsets
        ]
        self.sender.changed.update(self.arriving.come(records))

    def work(self) -> list[list[int]]:
        """The frames that go now, each as its offsets; all are written at once."""
        frames: list[list[int]] = []
        for _ in range(100):
            before = len(self.posted)
            self.sender.work(NOW)
            for one in self.posted[before:]:
                assert isinstance(one, letters.Send)
                batch = pb.HostFrame.FromString(one.data).batch
                first = batch.first_offset
                frames.append([*batch.offsets] or [*range(first, first + len(batch.values))])
                tp = self.table.written(one.stream)
                if tp is not None:
                    self.in_flight.written(tp, NOW)
                    self.sender.changed.add(tp)
            if not self.sender.changed:
                return frames
        raise AssertionError("there is no end to it")

    def fail(self, offset: int, lease: str = "L1") -> ErrorOutcome:
        """A critical error; what waits is fetched again, by the next lambda."""
        failure = Failure(ErrorAction.CRITICAL, offset)
        outcome, _ = self.table.error(lease, failure, None, NOW)
        self.buffer.drop(P0)
        self.table.rewound(P0)
        return outcome

    def answer(self, index: int = -1, error: str = "") -> None:
        offset, letter = self.keeper.given[index]
        self.sender.dead_letter_answered(letters.DeadLettered(P0, offset, letter, error), NOW)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def bench(loop: asyncio.AbstractEventLoop) -> Bench:
    return Bench(loop)


def test_frames_go_in_order_and_bounded(bench: Bench) -> None:
    bench.fetch(0, 1, 2, 3, 4, 7, 9)
    assert bench.work() == [[0, 1, 2, 3], [4, 7, 9]]
    assert (bench.sender.sent, bench.buffer.idle(P0)) == (7, True)


def test_records_before_a_dead_one_are_sent_then_it_is_written_and_none_after_it_is_sent(bench: Bench) -> None:
    bench.fetch(*range(8))
    bench.work()
    assert bench.fail(5) is ErrorOutcome.DEAD_LETTERED
    bench.run()
    bench.fetch(*range(9))
    assert bench.work() == [[0, 1, 2, 3], [4]]
    assert [offset for offset, _ in bench.keeper.given] == [5]
    assert not bench.buffer.idle(P0)  # it stays, so that no position beyond it is committed
    bench.fetch(9)
    assert bench.work() == []
    assert len(bench.keeper.given) == 1  # given once
    bench.answer()
    assert bench.work() == [[6, 7, 8, 9]]
    assert bench.table.counts.dead_letters == 1


def test_a_dead_record_at_the_head_is_written_at_once(bench: Bench) -> None:
    bench.fetch(0, 1)
    bench.work()
    bench.fail(0)
    bench.run()
    bench.fetch(0, 1)
    assert bench.work() == []
    assert [offset for offset, _ in bench.keeper.given] == [0]
    bench.answer()
    assert bench.work() == [[1]]


def test_a_dead_record_that_is_the_last_leaves_nothing_buffered(bench: Bench) -> None:
    bench.fetch(0, 1)
    bench.work()
    bench.fail(1)
    lease = bench.run()
    bench.fetch(0, 1)
    assert bench.work() == [[0]]
    bench.table.checkpoint(lease, Progress(0), NOW)
    bench.answer()
    assert bench.work() == []
    assert bench.buffer.idle(P0)
    bench.table.partitions[P0].settle(2)
    assert bench.table.partitions[P0].position.resume_at == 2


def test_two_dead_records_are_written_one_after_the_other(bench: Bench) -> None:
    bench.fetch(*range(6))
    bench.work()
    bench.fail(4)
    lease = bench.run()
    bench.fetch(*range(6))
    assert bench.work() == [[0, 1, 2, 3]]
    bench.fail(2, lease)  # an earlier one, while the later is being written
    bench.run()
    bench.fetch(*range(6))
    assert bench.work() == [[0, 1]]
    assert [offset for offset, _ in bench.keeper.given] == [4, 2]
    bench.answer(0)
    assert bench.work() == []
    bench.answer(1)
    assert bench.work() == [[3, 5]]


def test_a_dead_record_is_not_written_twice_when_the_lambda_restarts(bench: Bench) -> None:
    bench.fetch(0, 1, 2)
    bench.work()
    bench.fail(1)
    bench.run()
    bench.fetch(0, 1, 2)
    assert bench.work() == [[0]]
    bench.table.stream_lost(2, NOW)
    bench.buffer.drop(P0)
    bench.table.rewound(P0)
    bench.run()
    bench.fetch(0, 1, 2)
    assert bench.work() == [[0]]
    assert len(bench.keeper.given) == 1
    bench.answer()
    assert bench.work() == [[2]]


def test_a_partition_that_came_back_decides_anew(bench: Bench) -> None:
    bench.fetch(0, 1)
    bench.work()
    bench.fail(0)
    bench.run()
    bench.fetch(0, 1)
    bench.work()
    bench.table.lost([P0], NOW)
    bench.buffer.forget(P0)
    bench.sender.forget(P0)
    bench.table.assigned([P0])
    bench.table.resolved(P0, 0, NOW, committed=True)
    lease = bench.run()
    bench.fetch(0, 1)
    assert bench.work() == [[0, 1]]
    bench.answer()  # of the time before
    bench.fail(0, lease)
    bench.run()
    bench.fetch(0, 1)
    assert bench.work() == []
    assert len(bench.keeper.given) == 2


def test_an_answer_for_a_partition_that_is_gone_is_ignored(bench: Bench) -> None:
    bench.fetch(0)
    bench.work()
    bench.fail(0)
    bench.run()
    bench.fetch(0)
    bench.work()
    bench.table.lost([P0], NOW)
    bench.buffer.forget(P0)
    bench.sender.forget(P0)
    bench.answer()
    assert bench.work() == []


def test_a_failing_offset_between_records_halts(bench: Bench) -> None:
    """There is nothing to keep, and the lambda would fail at it again and again."""
    bench.fetch(0, 4, 6)
    bench.work()
    assert bench.fail(5) is ErrorOutcome.DEAD_LETTERED
    bench.run()
    bench.fetch(0, 4, 6)
    assert bench.work() == [[0, 4]]
    assert bench.keeper.given == []
    partition = bench.table.partitions[P0]
    assert (partition.dead, partition.state, partition.trouble.failing_offset) == ({}, State.DRAINING, 5)


def test_when_a_dead_letter_cannot_be_written_no_record_after_it_is_sent(bench: Bench) -> None:
    bench.fetch(0, 1, 2)
    bench.work()
    bench.fail(1)
    bench.run()
    bench.fetch(0, 1, 2)
    bench.work()
    bench.answer(error="no room")
    assert bench.work() == []
    assert bench.table.partitions[P0].state is State.DRAINING


def test_a_record_that_is_too_large_becomes_a_dead_letter(bench: Bench) -> None:
    bench.fetch(0, 1, 2, large=1)
    assert bench.work() == [[0]]
    assert [offset for offset, _ in bench.keeper.given] == [1]
    assert bench.table.partitions[P0].state is State.RUNNING
    bench.answer()
    assert bench.work() == [[2]]


@pytest.mark.parametrize("policy", [Policy.HALT, Policy.EXIT])
def test_with_another_policy_a_record_that_is_too_large_halts(
    loop: asyncio.AbstractEventLoop, policy: Policy
) -> None:
    bench = Bench(loop, policy)
    bench.fetch(0, 1, 2, large=1)
    assert bench.work() == [[0]]
    partition = bench.table.partitions[P0]
    assert (partition.state, partition.trouble.failing_offset) == (State.DRAINING, 1)


def test_nothing_is_sent_to_a_partition_that_is_drained(bench: Bench) -> None:
    bench.fetch(0)
    bench.table.revoke([P0], RevokeReason.REBALANCE, 1.0, NOW)
    assert bench.work() == []
    assert bench.buffer.count(P0) == 1
