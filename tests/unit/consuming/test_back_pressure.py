"""Who is paused, who is resumed, and when the client is left alone."""

from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.back_pressure import ENOUGH_BYTES, BackPressure
from sidecar.consuming.fetch_buffer import MAX_WAITING_BYTES, FetchBuffer
from sidecar.consuming.in_flight import STUCK_AFTER_S, InFlight
from sidecar.consuming.problems import Problems
from sidecar.consuming.subscription import Subscription
from sidecar.logs import get_logger
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Assign,
    DeadLetter,
    ErrorAction,
    Failure,
    Limits,
    Progress,
    TopicPartition,
)
from tests.unit.records.arriving import Arriving

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
HALF = MAX_WAITING_BYTES // 2


class Client:
    """Remembers what is paused; may refuse."""

    def __init__(self) -> None:
        self.paused: set[int] = set()
        self.refuses = False
        self.asked: list[int] = []
        self.ends: dict[int, int] = {}

    def get_watermark_offsets(self, partition: KafkaPartition, *, cached: bool) -> tuple[int, int]:
        assert cached, "the thread does not wait for an answer"
        return 0, self.ends.get(partition.partition, -1001)

    def pause(self, partitions: list[KafkaPartition]) -> None:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.paused |= {p.partition for p in partitions}

    def resume(self, partitions: list[KafkaPartition]) -> None:
        self.paused -= {p.partition for p in partitions}

    def assignment(self) -> list[KafkaPartition]:
        return []

    def offsets_for_times(self, partitions: list[KafkaPartition], *, timeout: float) -> list[KafkaPartition]:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        assert timeout <= 1.0, "the thread waits as long"
        self.asked += [p.partition for p in partitions]
        return partitions


class Bench:
    """Two partitions, or more; the first ``streams`` have a lambda, the others have none."""

    def __init__(self, window: int = 10_000, partitions: int = 2, streams: int = 1) -> None:
        leases = iter("ab")
        self.now = 0.0  # here `now + STUCK_AFTER_S - now` is exact; a real clock's reading rounds it, at times down
        self.client = Client()
        self.buffer = FetchBuffer()
        self.arriving = Arriving(self.buffer)
        self.table = PartitionTable(Limits(window_messages=window), lambda: next(leases), lambda: 0.0)
        self.in_flight = InFlight(self.table)
        log = get_logger("test")
        config = LambdaConfig.model_validate({"topic": "t", "group": "g"})
        self.subscription = Subscription(config, Problems(log), log)
        client = cast("Consumer", self.client)
        self.back_pressure = BackPressure(client, self.table, self.buffer, self.in_flight, self.subscription, log)
        tps = [TopicPartition("t", number) for number in range(partitions)]
        self.table.assigned(tps)
        for stream in range(1, streams + 1):
            self.table.available(stream, "process", 1 << 20, self.now)
        for tp in tps:
            self.table.resolved(tp, 0, self.now, committed=True)
        given = [command for command in self.table.commands if isinstance(command, Assign)]
        assert [assign.partition for assign in given] == tps[:streams]
        self.lease = given[0].lease
        for assign in given:
            self.table.ready(assign.stream, assign.lease, self.now)

    def wait(self, partition: int, count: int, size: int = HALF // 2) -> None:
        """So many records of one large size come: together more than a share of memory when there are two."""
        value = b"x" * size
        first = self.buffer.next_offset.get(TopicPartition("t", partition), 0)
        self.arriving.come(
            [Message(topic="t", partition=partition, offset=first + n, value=value) for n in range(count)]
        )


def paused_for_another() -> Bench:
    """P0's window is full and nothing of it waits, but so much of P1 that both are paused."""
    bench = Bench(window=1)
    bench.table.sent(P0, 0, 0, 1, 10, None, bench.now)
    bench.wait(1, 2, size=MAX_WAITING_BYTES)
    bench.now += STUCK_AFTER_S
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {0, 1}
    return bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_partition_without_a_lambda_is_paused_when_its_share_is_used(bench: Bench) -> None:
    bench.wait(1, 1)
    assert not bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == set()
    bench.wait(1, 2)
    assert not bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {1}


def test_a_partition_with_progress_is_never_paused_but_fetching_stops(bench: Bench) -> None:
    bench.wait(0, 5)
    assert bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == set()


def test_a_partition_whose_process_does_not_read_makes_no_progress(bench: Bench) -> None:
    bench.wait(0, 3)
    bench.table.sent(P0, 0, 0, 1, 10, None, bench.now)
    bench.in_flight.sent(P0, 10, bench.now)
    bench.back_pressure.adjust(bench.now + STUCK_AFTER_S / 2)
    assert bench.client.paused == set()
    bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.client.paused == {0}


def test_a_partition_is_resumed_when_its_lambda_runs_and_little_is_buffered(bench: Bench) -> None:
    bench.back_pressure.pause([P0, P1])
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {1}  # nobody runs there
    assert bench.buffer.paused == {P1}


def test_a_full_window_without_progress_pauses_its_partition_only() -> None:
    bench = Bench(window=1)
    bench.table.sent(P0, 0, 0, 1, 10, None, bench.now)
    bench.wait(0, 3)
    assert bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == set(), "the lambda may be at work"
    assert bench.table.partitions[P0].held.blocked_since == bench.now
    assert not bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.client.paused == {0}


def two_at_work(partitions: int = 2) -> Bench:
    """Two partitions have a lambda; the window of P0 is full, and far more than its share waits; P1 has nothing."""
    bench = Bench(window=1, partitions=partitions, streams=2)
    bench.table.sent(P0, 0, 0, 1, 10, None, bench.now)
    bench.wait(0, 5)
    return bench


def test_a_slow_partition_is_paused_when_another_could_take_more() -> None:
    bench = two_at_work()
    assert not bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {0}


def test_a_partition_with_buffered_records_or_a_full_window_could_not_take_more() -> None:
    bench = two_at_work()
    bench.wait(1, 1)
    assert bench.back_pressure.adjust(bench.now)
    bench.buffer.drop(P1)
    bench.table.sent(P1, 0, 0, 1, 10, None, bench.now)
    assert bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == set()


def test_a_partition_at_the_end_of_its_log_could_not_take_more() -> None:
    bench = two_at_work()
    bench.buffer.next_offset[P1] = 7
    bench.client.ends[1] = 7
    assert bench.back_pressure.adjust(bench.now)
    bench.client.ends[1] = 8
    assert not bench.back_pressure.adjust(bench.now)


def test_fetching_goes_on_while_little_is_buffered() -> None:
    bench = Bench(window=1)
    bench.table.sent(P0, 0, 0, 1, 10, None, bench.now)
    bench.wait(0, 1, size=ENOUGH_BYTES // 2)
    assert not bench.back_pressure.adjust(bench.now)
    bench.wait(0, 1, size=ENOUGH_BYTES // 2)
    assert bench.back_pressure.adjust(bench.now)


def test_much_buffered_without_progress_pauses_all_partitions_without_progress_and_no_others() -> None:
    bench = Bench(partitions=40)  # but for the first they have no lambda
    for partition in range(1, 7):
        bench.wait(partition, 1, size=MAX_WAITING_BYTES // 10)
    bench.back_pressure.adjust(bench.now)
    assert bench.back_pressure.tight
    assert bench.client.paused == {*range(1, 7)}  # each has its share
    for partition in range(7, 12):
        bench.wait(partition, 1, size=MAX_WAITING_BYTES // 10)
    bench.wait(0, 1)
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {*range(1, 40)}


def test_slow_partitions_count_with_those_without_progress() -> None:
    """One partition after the other comes to a halt: each for itself would not be much."""
    bench = two_at_work(partitions=3)
    bench.buffer.drop(P0)
    bench.wait(0, 1, size=MAX_WAITING_BYTES * 3 // 4)
    assert not bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == set()
    bench.wait(2, 1, size=MAX_WAITING_BYTES * 2 // 4)
    assert not bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {0, 2}


def test_partitions_without_progress_do_not_stop_fetching_for_others() -> None:
    """More waits than may, all of it paused: to leave the client alone until it is less would be for ever."""
    bench = two_at_work()
    assert not bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.client.paused == {0}
    assert not bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    bench.wait(1, 1, size=ENOUGH_BYTES // 2)
    assert not bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    bench.wait(1, 1, size=ENOUGH_BYTES)
    assert bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)


def test_paused_slow_partitions_do_not_stop_fetching_for_others() -> None:
    bench = two_at_work()
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {0}
    assert not bench.back_pressure.adjust(bench.now), "its lambda is at work, but P1 could take more"


def test_a_partition_whose_dead_letter_is_not_written_makes_no_progress() -> None:
    bench = Bench(streams=2)
    bench.wait(0, 5)
    bench.table.partitions[P0].dead[0] = DeadLetter(Failure(ErrorAction.CRITICAL, 0), 1, bench.now, bench.now)
    assert not bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)
    assert bench.client.paused == {0}
    assert not bench.back_pressure.adjust(bench.now + STUCK_AFTER_S)


def test_a_partition_without_progress_and_records_is_resumed_when_memory_is_free() -> None:
    bench = paused_for_another()
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {0, 1}
    bench.buffer.drop(P1)
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {1}  # nobody runs there


def test_a_partition_paused_for_others_is_resumed_when_its_window_opens() -> None:
    bench = paused_for_another()
    bench.table.checkpoint(bench.lease, Progress(0, 0, 0, 0), bench.now)
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {1}


def test_a_refused_pause_is_tried_again(bench: Bench) -> None:
    bench.client.refuses = True
    bench.wait(1, 3)
    bench.back_pressure.adjust(bench.now)
    assert bench.buffer.paused == set()
    bench.client.refuses = False
    bench.back_pressure.adjust(bench.now)
    assert bench.buffer.paused == {P1}


def test_a_client_with_nothing_to_fetch_is_woken_by_a_resume(bench: Bench) -> None:
    bench.back_pressure.pause([P0, P1])
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == {1}
    assert bench.client.asked == [0]


def test_a_client_that_fetches_others_is_not_woken(bench: Bench) -> None:
    bench.back_pressure.pause([P0])
    bench.back_pressure.adjust(bench.now)
    assert bench.client.paused == set()
    assert bench.client.asked == []


def test_only_partitions_that_are_not_paused_are_woken(bench: Bench) -> None:
    bench.back_pressure.pause([P1])
    bench.back_pressure.wake([P0, P1])
    bench.back_pressure.wake([P1])
    assert bench.client.asked == [0]


def test_a_wake_that_cannot_ask_a_leader_does_nothing(bench: Bench) -> None:
    bench.client.refuses = True
    bench.back_pressure.wake([P0])
    assert bench.client.asked == []
