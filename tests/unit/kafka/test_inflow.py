"""What waits for its partition, and what is known of it."""

import pytest
from confluent_kafka import Message

from sidecar.kafka.encode import Undeliverable
from sidecar.kafka.inflow import LEAST_SHARE_BYTES, MOST_WAITING_BYTES, Inflow
from sidecar.partitions.vocabulary import TopicPartition

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def message(offset: int, partition: int = 0, topic: str = "t") -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=b"v")


def offsets(inflow: Inflow, tp: TopicPartition, most: int = 100) -> list[int | None]:
    return [one.offset() for one in inflow.peek(tp, most)] if inflow.count(tp) else []


@pytest.fixture
def inflow() -> Inflow:
    made = Inflow(["t"])
    assert [*made.add([message(0), message(1), message(0, 1), message(2)])] == [P0, P1, P0]
    return made


def test_a_batch_is_sorted_into_its_partitions_in_order(inflow: Inflow) -> None:
    assert offsets(inflow, P0) == [0, 1, 2]
    assert offsets(inflow, P1) == [0]
    assert inflow.fetched == 4
    assert inflow.next_offset == {P0: 3, P1: 1}


def test_the_same_partition_number_of_two_topics_is_two_partitions() -> None:
    inflow = Inflow(["a", "b"])
    assert [*inflow.add([message(0, 0, "a"), message(7, 0, "b")])] == [TopicPartition("a", 0), TopicPartition("b", 0)]
    assert offsets(inflow, TopicPartition("b", 0)) == [7]


def test_what_is_taken_is_gone_and_what_is_only_looked_at_stays(inflow: Inflow) -> None:
    assert offsets(inflow, P0, 2) == [0, 1]
    before = inflow.bytes(P0)
    inflow.taken(P0, 2)
    assert offsets(inflow, P0) == [2]
    assert 0 < inflow.bytes(P0) < before
    inflow.taken(P0, 1)
    assert inflow.idle(P0)
    assert (inflow.count(P0), inflow.bytes(P0), len(inflow)) == (0, 0, 1)


def test_records_that_an_operator_left_out_are_dropped(inflow: Inflow) -> None:
    inflow.leave_out(P0, {1, 99})
    assert offsets(inflow, P0) == [0, 2]
    inflow.leave_out(P1, {0})
    assert inflow.idle(P1)


def test_an_undeliverable_record_is_not_touched_again_and_nothing_comes_after_it(inflow: Inflow) -> None:
    bad = Undeliverable(1, 1, "unreadable")
    inflow.cut(P0, bad)
    assert offsets(inflow, P0) == [0]
    assert [*inflow.add([message(3), message(1, 1)])] == [P1]
    inflow.taken(P0, 1)
    assert inflow.bad(P0) is bad
    assert not inflow.idle(P0)  # so no position beyond it is committed
    inflow.drop(P0)
    assert inflow.bad(P0) is None
    assert [*inflow.add([message(1)])] == [P0]


def test_about_as_many_as_fit_are_told_by_the_sizes_of_those_that_wait() -> None:
    inflow = Inflow(["t"])
    list(inflow.add([Message(topic="t", partition=0, offset=one, value=b"v" * 1_000) for one in range(400)]))
    assert 180 <= inflow.fitting(P0, 200_000) <= 200
    inflow.taken(P0, 399)
    assert inflow.fitting(P0, 200_000) >= 180


def test_a_guess_from_one_large_record_leaves_the_small_ones_together() -> None:
    inflow = Inflow(["t"])
    list(inflow.add([Message(topic="t", partition=0, offset=one, value=b"v" * (20_000 >> one)) for one in range(9)]))
    assert inflow.fitting(P0, 4_096) >= 9


def test_what_comes_before_an_offset_is_counted_also_when_it_lies_in_a_gap() -> None:
    inflow = Inflow(["t"])
    list(inflow.add([message(3), message(4), message(9)]))
    assert [inflow.before(P0, offset) for offset in (0, 3, 4, 5, 9, 10)] == [0, 0, 1, 2, 2, 3]
    assert inflow.first(P0).offset() == 3
    assert inflow.count(P0) == 3  # it stays


def test_a_rewind_forgets_what_waits_and_where_the_partition_was(inflow: Inflow) -> None:
    inflow.drop(P0)
    assert (inflow.count(P0), inflow.bytes(P0)) == (0, 0)
    assert inflow.next_offset == {P1: 1}


def test_a_partition_that_leaves_is_no_longer_paused(inflow: Inflow) -> None:
    inflow.paused.update([P0, P1])
    inflow.forget(P0)
    assert inflow.paused == {P1}


def test_all_partitions_together_have_a_bounded_share() -> None:
    inflow = Inflow(["t"])
    assert inflow.share(0) == inflow.share(1) == MOST_WAITING_BYTES
    assert inflow.share(8) == MOST_WAITING_BYTES // 8
    assert inflow.share(100_000) == LEAST_SHARE_BYTES
