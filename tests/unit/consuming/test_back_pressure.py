"""Who is paused, who is resumed, and when the client is left alone."""

import pytest

from sidecar.consuming.back_pressure import ENOUGH_BYTES
from sidecar.consuming.fetch_buffer import MAX_WAITING_BYTES
from sidecar.consuming.in_flight import STUCK_AFTER_S
from sidecar.partitions.vocabulary import DeadLetter, ErrorAction, Failure, Lane, Progress, TopicPartition

from .bench import LANE0, LANE1, P0, P1, Bench

HALF = MAX_WAITING_BYTES // 2


def holding(window: int = 10_000, partitions: int = 2, streams: int = 1) -> Bench:
    """Two partitions, or more; the first ``streams`` have a lambda, the others have none."""
    # At 0.0 `now + STUCK_AFTER_S - now` is exact; a real clock's reading rounds it, at times down.
    bench = Bench(now=0.0, window={"messages": window})
    tps = [TopicPartition("t", number) for number in range(partitions)]
    bench.assign(*tps)
    for _ in range(streams):
        bench.run("process")
    assert [*bench.stream_of] == tps[:streams]
    return bench


def wait(bench: Bench, partition: int, count: int, size: int = HALF // 2) -> None:
    """So many records of one large size come: together more than a share of memory when there are two."""
    first = bench.fetching.next_offset.get(TopicPartition("t", partition), 0)
    bench.fetch(*range(first, first + count), partition=partition, size=size)


def paused_for_another() -> Bench:
    """P0's window is full and nothing of it waits, but so much of P1 that both are paused."""
    bench = holding(window=1)
    bench.table.records.sent(LANE0, 0, 0, 1, 10, None, bench.now)
    wait(bench, 1, 2, size=MAX_WAITING_BYTES)
    bench.now += STUCK_AFTER_S
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {0, 1}
    return bench


@pytest.fixture
def bench() -> Bench:
    return holding()


def test_a_partition_without_a_lambda_is_paused_when_its_share_is_used(bench: Bench) -> None:
    wait(bench, 1, 1)
    assert not bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()
    wait(bench, 1, 2)
    assert not bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {1}


def test_a_partition_with_progress_is_never_paused_but_fetching_stops(bench: Bench) -> None:
    wait(bench, 0, 5)
    assert bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()


def test_a_partition_whose_process_does_not_read_makes_no_progress(bench: Bench) -> None:
    wait(bench, 0, 3)
    bench.table.records.sent(LANE0, 0, 0, 1, 10, None, bench.now)
    bench.in_flight.sent(LANE0, 10, bench.now)
    bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S / 2)
    assert bench.consumer.paused == set()
    bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.consumer.paused == {0}


def test_a_partition_is_resumed_when_its_lambda_runs_and_little_is_buffered(bench: Bench) -> None:
    bench.client.pauses.pause([P0, P1])
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {1}  # nobody runs there
    assert bench.fetching.paused == {P1}


def test_a_full_window_without_progress_pauses_its_partition_only() -> None:
    bench = holding(window=1)
    bench.table.records.sent(LANE0, 0, 0, 1, 10, None, bench.now)
    wait(bench, 0, 3)
    assert bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set(), "the lambda may be at work"
    assert bench.table.lanes[Lane(P0)].held.blocked_since == bench.now
    assert not bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.consumer.paused == {0}


def two_at_work(partitions: int = 2) -> Bench:
    """Two partitions have a lambda; the window of P0 is full, and far more than its share waits; P1 has nothing."""
    bench = holding(window=1, partitions=partitions, streams=2)
    bench.table.records.sent(LANE0, 0, 0, 1, 10, None, bench.now)
    wait(bench, 0, 5)
    return bench


def test_a_slow_partition_is_paused_when_another_could_take_more() -> None:
    bench = two_at_work()
    assert not bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {0}


def test_a_partition_with_buffered_records_or_a_full_window_could_not_take_more() -> None:
    bench = two_at_work()
    wait(bench, 1, 1)
    assert bench.client.back_pressure.adjust(bench.now)
    bench.buffer.drop(LANE1)
    bench.table.records.sent(LANE1, 0, 0, 1, 10, None, bench.now)
    assert bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()


def test_a_partition_at_the_end_of_its_log_could_not_take_more() -> None:
    bench = two_at_work()
    bench.fetching.next_offset[P1] = 7
    bench.consumer.ends[1] = 7
    assert bench.client.back_pressure.adjust(bench.now)
    bench.consumer.ends[1] = 8
    assert not bench.client.back_pressure.adjust(bench.now)


def test_fetching_goes_on_while_little_is_buffered() -> None:
    bench = holding(window=1)
    bench.table.records.sent(LANE0, 0, 0, 1, 10, None, bench.now)
    wait(bench, 0, 1, size=ENOUGH_BYTES // 2)
    assert not bench.client.back_pressure.adjust(bench.now)
    wait(bench, 0, 1, size=ENOUGH_BYTES // 2)
    assert bench.client.back_pressure.adjust(bench.now)


def test_much_buffered_without_progress_pauses_all_partitions_without_progress_and_no_others() -> None:
    bench = holding(partitions=40)  # but for the first they have no lambda
    for partition in range(1, 7):
        wait(bench, partition, 1, size=MAX_WAITING_BYTES // 10)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.client.back_pressure.tight
    assert bench.consumer.paused == {*range(1, 7)}  # each has its share
    for partition in range(7, 12):
        wait(bench, partition, 1, size=MAX_WAITING_BYTES // 10)
    wait(bench, 0, 1)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {*range(1, 40)}


def test_slow_partitions_count_with_those_without_progress() -> None:
    """One partition after the other comes to a halt: each for itself would not be much."""
    bench = two_at_work(partitions=3)
    bench.buffer.drop(LANE0)
    wait(bench, 0, 1, size=MAX_WAITING_BYTES * 3 // 4)
    assert not bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()
    wait(bench, 2, 1, size=MAX_WAITING_BYTES * 2 // 4)
    assert not bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {0, 2}


def test_partitions_without_progress_do_not_stop_fetching_for_others() -> None:
    """More waits than may, all of it paused: to leave the client alone until it is less would be for ever."""
    bench = two_at_work()
    assert not bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.consumer.paused == {0}
    assert not bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    wait(bench, 1, 1, size=ENOUGH_BYTES // 2)
    assert not bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    wait(bench, 1, 1, size=ENOUGH_BYTES)
    assert bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)


def test_paused_slow_partitions_do_not_stop_fetching_for_others() -> None:
    bench = two_at_work()
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {0}
    assert not bench.client.back_pressure.adjust(bench.now), "its lambda is at work, but P1 could take more"


def test_a_partition_whose_dead_letter_is_not_written_makes_no_progress() -> None:
    bench = holding(streams=2)
    wait(bench, 0, 5)
    bench.table.lanes[Lane(P0)].dead[0] = DeadLetter(Failure(ErrorAction.CRITICAL, 0), 1, bench.now, bench.now)
    assert not bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.consumer.paused == {0}
    assert not bench.client.back_pressure.adjust(bench.now + STUCK_AFTER_S)


def test_a_partition_without_progress_and_records_is_resumed_when_memory_is_free() -> None:
    bench = paused_for_another()
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {0, 1}
    bench.buffer.drop(LANE1)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {1}  # nobody runs there


def test_a_partition_paused_for_others_is_resumed_when_its_window_opens() -> None:
    bench = paused_for_another()
    bench.table.streams.checkpoint("L1", Progress(0, 0, 0, 0), bench.now)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {1}


def test_a_refused_pause_is_tried_again(bench: Bench) -> None:
    bench.consumer.refuses = True
    wait(bench, 1, 3)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.fetching.paused == set()
    bench.consumer.refuses = False
    bench.client.back_pressure.adjust(bench.now)
    assert bench.fetching.paused == {P1}


def test_a_client_with_nothing_to_fetch_is_woken_by_a_resume(bench: Bench) -> None:
    bench.client.pauses.pause([P0, P1])
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {1}
    assert bench.consumer.asked == [0]


def test_a_client_that_fetches_others_is_not_woken(bench: Bench) -> None:
    bench.client.pauses.pause([P0])
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()
    assert bench.consumer.asked == []


def test_only_partitions_that_are_not_paused_are_woken(bench: Bench) -> None:
    bench.client.pauses.pause([P1])
    bench.client.back_pressure.wake([P0, P1])
    bench.client.back_pressure.wake([P1])
    assert bench.consumer.asked == [0]


def test_a_wake_that_cannot_ask_a_leader_does_nothing(bench: Bench) -> None:
    bench.consumer.refuses = True
    bench.client.back_pressure.wake([P0])
    assert bench.consumer.asked == []


def test_paused_partitions_give_back_what_is_beyond_half_of_their_share_and_fetch_it_again() -> None:
    bench = holding()
    big = MAX_WAITING_BYTES // 9
    wait(bench, 1, 10, size=big)
    bench.client.back_pressure.adjust(bench.now)
    lane = LANE1
    assert bench.consumer.paused == {1}
    assert bench.buffer.count(lane) == 2, "its share is half of all memory, since there are two"
    assert bench.buffer.begins_at(lane) == 0
    bench.run("process")
    bench.buffer.taken(lane, 2)
    assert not bench.buffer.idle(lane)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()
    assert bench.consumer.sought == [2]
    assert bench.fetching.next_offset[P1] == 2
    bench.fetch(2, 3, partition=1, size=big)
    assert bench.buffer.begins_at(lane) == 2
    assert bench.buffer.count(lane) == 2


def test_a_partition_gives_nothing_back_while_there_is_memory() -> None:
    bench = holding(partitions=20)
    wait(bench, 1, 3, size=MAX_WAITING_BYTES // 4)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {1}
    assert bench.buffer.count(LANE1) == 3
