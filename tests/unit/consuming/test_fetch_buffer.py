"""What waits for its partition, and what is known of it."""

import pytest
from confluent_kafka import Message

from sidecar.consuming.fetch_buffer import LEAST_SHARE_BYTES, MOST_WAITING_BYTES, Inflow
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.records import Frame, Undeliverable
from tests.unit.records.arriving import Arriving

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def message(offset: int, partition: int = 0, topic: str = "t", value: bytes = b"v") -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=value, timestamp=(1, 1))


class Bench:
    """What waits, and where it comes from."""

    def __init__(self) -> None:
        self.inflow = Inflow()
        self.come = Arriving(self.inflow).come

    def offsets(self, tp: TopicPartition, most: int = 100) -> list[int]:
        """Of what waits, the first ones."""
        if not self.inflow.count(tp):
            return []
        frame = self.inflow.frame(tp, most, 1 << 20, 1 << 20)
        assert isinstance(frame, Frame)
        return [*(frame.offsets or range(frame.first, frame.last + 1))]


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    assert made.come([message(0), message(1), message(0, 1), message(2)]) == [P0, P1, P0]
    return made


def test_a_batch_is_sorted_into_its_partitions_in_order(bench: Bench) -> None:
    assert bench.offsets(P0) == [0, 1, 2]
    assert bench.offsets(P1) == [0]
    assert bench.inflow.fetched == 4
    assert bench.inflow.next_offset == {P0: 3, P1: 1}


def test_the_same_partition_number_of_two_topics_is_two_partitions() -> None:
    bench = Bench()
    assert bench.come([message(0, 0, "a"), message(7, 0, "b")]) == [TopicPartition("a", 0), TopicPartition("b", 0)]
    assert bench.offsets(TopicPartition("b", 0)) == [7]


def test_what_is_taken_is_gone_and_what_is_only_looked_at_stays(bench: Bench) -> None:
    assert bench.offsets(P0, 2) == [0, 1]
    before = bench.inflow.bytes(P0)
    bench.inflow.taken(P0, 2)
    assert bench.offsets(P0) == [2]
    assert 0 < bench.inflow.bytes(P0) < before
    bench.inflow.taken(P0, 1)
    assert bench.inflow.idle(P0)
    assert (bench.inflow.count(P0), bench.inflow.bytes(P0), len(bench.inflow)) == (0, 0, 1)


def test_records_that_an_operator_left_out_are_dropped(bench: Bench) -> None:
    bench.inflow.leave_out(P0, {1, 99})
    assert bench.offsets(P0) == [0, 2]
    bench.inflow.leave_out(P1, {0})
    assert bench.inflow.idle(P1)


def test_nothing_after_an_undeliverable_record_is_kept_until_it_is_settled(bench: Bench) -> None:
    bad = Undeliverable(1, "too large")
    bench.inflow.spoil(P0, bad)
    assert bench.offsets(P0) == [0]
    assert bench.come([message(3), message(1, 1)]) == [P1]
    bench.inflow.taken(P0, 1)
    assert bench.inflow.bad(P0) is bad
    assert not bench.inflow.idle(P0)  # so no position beyond it is committed
    bench.inflow.drop(P0)
    assert bench.inflow.bad(P0) is None
    assert bench.come([message(1)]) == [P0]


def test_the_first_undeliverable_record_of_a_partition_counts(bench: Bench) -> None:
    bad = Undeliverable(1, "checksum")
    bench.inflow.spoil(P0, bad)
    bench.inflow.spoil(P0, Undeliverable(2, "a later one"))
    assert bench.inflow.bad(P0) is bad
    assert bench.offsets(P0) == [0]
    bench.inflow.spoil(P0, Undeliverable(0, "too large for the process that is there now"))
    assert bench.inflow.bad(P0) == Undeliverable(0, "too large for the process that is there now")
    assert bench.offsets(P0) == []


def test_what_comes_before_an_offset_is_counted_also_when_it_lies_in_a_gap() -> None:
    bench = Bench()
    bench.come([message(3), message(4), message(9)])
    assert [bench.inflow.before(P0, offset) for offset in (0, 3, 4, 5, 9, 10)] == [0, 0, 1, 2, 2, 3]
    assert bench.inflow.first_offset(P0) == 3
    assert bench.inflow.first(P0).offset == 3
    assert bench.inflow.count(P0) == 3  # it stays


def test_a_rewind_forgets_what_waits_and_where_the_partition_was(bench: Bench) -> None:
    bench.inflow.drop(P0)
    assert (bench.inflow.count(P0), bench.inflow.bytes(P0)) == (0, 0)
    assert bench.inflow.next_offset == {P1: 1}


def test_a_partition_that_leaves_is_no_longer_paused(bench: Bench) -> None:
    bench.inflow.paused.update([P0, P1])
    bench.inflow.forget(P0)
    assert bench.inflow.paused == {P1}


def test_all_partitions_together_have_a_bounded_share() -> None:
    inflow = Inflow()
    assert inflow.share(0) == inflow.share(1) == MOST_WAITING_BYTES
    assert inflow.share(8) == MOST_WAITING_BYTES // 8
    assert inflow.share(100_000) == LEAST_SHARE_BYTES
