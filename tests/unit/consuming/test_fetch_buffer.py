"""What waits for its partition, and what is known of it."""

import pytest
from confluent_kafka import Message

from sidecar.consuming.fetch_buffer import MAX_WAITING_BYTES, MIN_SHARE_BYTES, FetchBuffer
from sidecar.partitions.vocabulary import Lane, TopicPartition
from sidecar.records.records import Frame, Undeliverable

from .bench import LANE0, LANE1, P0, P1, SOURCES, Bench, SourceKind, record


def waiting(bench: Bench, tp: TopicPartition, most: int = 100) -> list[int]:
    """Of what waits, the first offsets."""
    if not bench.buffer.count(Lane(tp)):
        return []
    frame = bench.buffer.frame(Lane(tp), most, 1 << 20, 1 << 20)
    assert isinstance(frame, Frame)
    return [*(frame.offsets or range(frame.first, frame.last + 1))]


def changed_by(bench: Bench, *messages: Message) -> set[Lane]:
    """These come. The lanes of which something may go now."""
    bench.sender.changed.clear()
    bench.come(*messages)
    return bench.sender.changed


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    made = Bench(request.param)
    made.assign(P0, P1)
    assert changed_by(made, record(0), record(1), record(0, partition=1), record(2)) == {LANE0, LANE1}
    return made


def test_a_batch_is_sorted_into_its_partitions_in_order(bench: Bench) -> None:
    assert waiting(bench, P0) == [0, 1, 2]
    assert waiting(bench, P1) == [0]
    assert bench.buffer.fetched == 4
    assert bench.fetching.next_offset == {P0: 3, P1: 1}


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_partition_number_of_two_topics_is_two_partitions(source: SourceKind) -> None:
    bench = Bench(source)
    a, b = TopicPartition("a", 0), TopicPartition("b", 0)
    bench.assign(a, b)
    bench.come(record(0, topic="a"), record(7, topic="b"))
    assert bench.sender.changed == {Lane(a), Lane(b)}
    assert waiting(bench, b) == [7]


def test_taken_records_are_gone_and_encoded_ones_stay(bench: Bench) -> None:
    assert waiting(bench, P0, 2) == [0, 1]
    before = bench.buffer.bytes(LANE0)
    bench.buffer.taken(LANE0, 2)
    assert waiting(bench, P0) == [2]
    assert 0 < bench.buffer.bytes(LANE0) < before
    bench.buffer.taken(LANE0, 1)
    assert bench.buffer.idle(LANE0)
    assert (bench.buffer.count(LANE0), bench.buffer.bytes(LANE0), len(bench.buffer)) == (0, 0, 1)


def test_records_that_an_operator_skipped_are_dropped(bench: Bench) -> None:
    bench.buffer.leave_out(LANE0, {1, 99})
    assert waiting(bench, P0) == [0, 2]
    bench.buffer.leave_out(LANE1, {0})
    assert bench.buffer.idle(LANE1)


def test_nothing_after_an_undeliverable_record_is_kept_until_it_is_settled(bench: Bench) -> None:
    bad = Undeliverable(1, "too large")
    bench.buffer.mark_undeliverable(LANE0, bad)
    assert waiting(bench, P0) == [0]
    assert changed_by(bench, record(3), record(1, partition=1)) == {LANE1}
    bench.buffer.taken(LANE0, 1)
    assert bench.buffer.undeliverable(LANE0) is bad
    assert not bench.buffer.idle(LANE0)  # so no position beyond it is committed
    bench.buffer.drop(LANE0)
    assert bench.buffer.undeliverable(LANE0) is None
    assert changed_by(bench, record(1)) == {LANE0}


def test_the_first_undeliverable_record_of_a_partition_counts(bench: Bench) -> None:
    bad = Undeliverable(1, "checksum")
    bench.buffer.mark_undeliverable(LANE0, bad)
    bench.buffer.mark_undeliverable(LANE0, Undeliverable(2, "a later one"))
    assert bench.buffer.undeliverable(LANE0) is bad
    assert waiting(bench, P0) == [0]
    bench.buffer.mark_undeliverable(LANE0, Undeliverable(0, "too large for the process that is there now"))
    assert bench.buffer.undeliverable(LANE0) == Undeliverable(0, "too large for the process that is there now")
    assert waiting(bench, P0) == []


@pytest.mark.parametrize("source", SOURCES)
def test_records_before_an_offset_are_counted_also_when_it_is_in_a_gap(source: SourceKind) -> None:
    bench = Bench(source)
    bench.assign(P0)
    bench.fetch(3, 4, 9)
    assert [bench.buffer.before(LANE0, offset) for offset in (0, 3, 4, 5, 9, 10)] == [0, 0, 1, 2, 2, 3]
    assert bench.buffer.first_offset(LANE0) == 3
    assert bench.buffer.first(LANE0).offset == 3
    assert bench.buffer.count(LANE0) == 3  # it stays


def test_a_rewind_drops_buffered_records_and_changes_the_next_offset(bench: Bench) -> None:
    bench.client.positions.rewind(P0, {LANE0: 1})
    assert (bench.buffer.count(LANE0), bench.buffer.bytes(LANE0)) == (0, 0)
    assert bench.fetching.next_offset == {P0: 1, P1: 1}


def test_a_partition_that_leaves_has_no_records_no_next_offset_and_is_no_longer_paused(bench: Bench) -> None:
    bench.fetching.paused.update([P0, P1])
    bench.turns.rebalances.forget([P0])
    assert (bench.buffer.count(LANE0), bench.buffer.count(LANE1)) == (0, 1)
    assert bench.fetching.next_offset == {P1: 1}
    assert bench.fetching.paused == {P1}
    assert bench.sender.changed == {LANE1}


@pytest.mark.parametrize("source", SOURCES)
def test_records_of_a_partition_that_is_not_ours_are_dropped_and_do_not_come_back(source: SourceKind) -> None:
    """It was revoked inside the call that brought them."""
    bench = Bench(source)
    bench.client.source.lead([P0])
    bench.fetch(0, 1)
    assert (len(bench.buffer), bench.sender.changed, bench.fetching.next_offset) == (0, set(), {})
    bench.assign(P0)
    bench.fetch(5)
    assert waiting(bench, P0) == [5]
    assert bench.buffer.fetched == 3


def test_all_partitions_together_have_a_bounded_share() -> None:
    buffer = FetchBuffer()
    assert buffer.share(0) == buffer.share(1) == MAX_WAITING_BYTES
    assert buffer.share(8) == MAX_WAITING_BYTES // 8
    assert buffer.share(100_000) == MIN_SHARE_BYTES
