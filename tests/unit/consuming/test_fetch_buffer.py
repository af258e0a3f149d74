"""What waits for its partition, and what is known of it."""

import pytest
from confluent_kafka import Message

from sidecar.consuming.fetch_buffer import MAX_WAITING_BYTES, MIN_SHARE_BYTES, FetchBuffer
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records.records import Frame, Undeliverable
from tests.unit.records.arriving import Arriving

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def message(offset: int, partition: int = 0, topic: str = "t", value: bytes = b"v") -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=value, timestamp=(1, 1))


class Bench:
    """What waits, and where it comes from."""

    def __init__(self) -> None:
        self.buffer = FetchBuffer()
        self.come = Arriving(self.buffer).come

    def offsets(self, tp: TopicPartition, most: int = 100) -> list[int]:
        """Of what waits, the first ones."""
        if not self.buffer.count(tp):
            return []
        frame = self.buffer.frame(tp, most, 1 << 20, 1 << 20)
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
    assert bench.buffer.fetched == 4
    assert bench.buffer.next_offset == {P0: 3, P1: 1}


def test_the_same_partition_number_of_two_topics_is_two_partitions() -> None:
    bench = Bench()
    assert bench.come([message(0, 0, "a"), message(7, 0, "b")]) == [TopicPartition("a", 0), TopicPartition("b", 0)]
    assert bench.offsets(TopicPartition("b", 0)) == [7]


def test_taken_records_are_gone_and_encoded_ones_stay(bench: Bench) -> None:
    assert bench.offsets(P0, 2) == [0, 1]
    before = bench.buffer.bytes(P0)
    bench.buffer.taken(P0, 2)
    assert bench.offsets(P0) == [2]
    assert 0 < bench.buffer.bytes(P0) < before
    bench.buffer.taken(P0, 1)
    assert bench.buffer.idle(P0)
    assert (bench.buffer.count(P0), bench.buffer.bytes(P0), len(bench.buffer)) == (0, 0, 1)


def test_records_that_an_operator_skipped_are_dropped(bench: Bench) -> None:
    bench.buffer.leave_out(P0, {1, 99})
    assert bench.offsets(P0) == [0, 2]
    bench.buffer.leave_out(P1, {0})
    assert bench.buffer.idle(P1)


def test_nothing_after_an_undeliverable_record_is_kept_until_it_is_settled(bench: Bench) -> None:
    bad = Undeliverable(1, "too large")
    bench.buffer.mark_undeliverable(P0, bad)
    assert bench.offsets(P0) == [0]
    assert bench.come([message(3), message(1, 1)]) == [P1]
    bench.buffer.taken(P0, 1)
    assert bench.buffer.undeliverable(P0) is bad
    assert not bench.buffer.idle(P0)  # so no position beyond it is committed
    bench.buffer.drop(P0)
    assert bench.buffer.undeliverable(P0) is None
    assert bench.come([message(1)]) == [P0]


def test_the_first_undeliverable_record_of_a_partition_counts(bench: Bench) -> None:
    bad = Undeliverable(1, "checksum")
    bench.buffer.mark_undeliverable(P0, bad)
    bench.buffer.mark_undeliverable(P0, Undeliverable(2, "a later one"))
    assert bench.buffer.undeliverable(P0) is bad
    assert bench.offsets(P0) == [0]
    bench.buffer.mark_undeliverable(P0, Undeliverable(0, "too large for the process that is there now"))
    assert bench.buffer.undeliverable(P0) == Undeliverable(0, "too large for the process that is there now")
    assert bench.offsets(P0) == []


def test_records_before_an_offset_are_counted_also_when_it_is_in_a_gap() -> None:
    bench = Bench()
    bench.come([message(3), message(4), message(9)])
    assert [bench.buffer.before(P0, offset) for offset in (0, 3, 4, 5, 9, 10)] == [0, 0, 1, 2, 2, 3]
    assert bench.buffer.first_offset(P0) == 3
    assert bench.buffer.first(P0).offset == 3
    assert bench.buffer.count(P0) == 3  # it stays


def test_a_rewind_forgets_buffered_records_and_the_next_offset(bench: Bench) -> None:
    bench.buffer.drop(P0)
    assert (bench.buffer.count(P0), bench.buffer.bytes(P0)) == (0, 0)
    assert bench.buffer.next_offset == {P1: 1}


def test_a_partition_that_leaves_is_no_longer_paused(bench: Bench) -> None:
    bench.buffer.paused.update([P0, P1])
    bench.buffer.forget(P0)
    assert bench.buffer.paused == {P1}


def test_all_partitions_together_have_a_bounded_share() -> None:
    buffer = FetchBuffer()
    assert buffer.share(0) == buffer.share(1) == MAX_WAITING_BYTES
    assert buffer.share(8) == MAX_WAITING_BYTES // 8
    assert buffer.share(100_000) == MIN_SHARE_BYTES
