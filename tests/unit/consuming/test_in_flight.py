"""What is on its way, and when that is enough."""

import pytest

from sidecar.consuming.in_flight import MAX_BYTES, STUCK_AFTER_S, InFlight
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Assign, Limits, TopicPartition

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
NOW = 0.0


class Bench:
    """Two partitions that run, each on a stream of its own: 1 and 2."""

    def __init__(self) -> None:
        leases = iter("abcd")
        self.table = PartitionTable(Limits(), lambda: next(leases), lambda: 0.0)
        self.in_flight = InFlight(self.table)
        self.offset = 0
        self.table.assigned([P0, P1])
        for tp in (P0, P1):
            self.table.resolved(tp, 0, NOW, committed=True)
        self.stream: dict[TopicPartition, int] = {}
        self.run(1)
        self.run(2)

    def run(self, stream: int) -> None:
        """A stream comes and gets a partition."""
        self.table.available(stream, f"process {stream}", 1 << 20, NOW)
        (assign,) = (command for command in self.table.commands if isinstance(command, Assign))
        self.table.commands.clear()
        self.table.ready(stream, assign.lease, NOW)
        self.stream[assign.partition] = stream

    def sent(self, tp: TopicPartition, size: int, now: float = NOW) -> None:
        """A frame goes."""
        self.table.sent(tp, self.offset, self.offset, 1, size, None, now)
        self.in_flight.sent(tp, size, now)
        self.offset += 1

    def written(self, tp: TopicPartition, now: float = NOW) -> None:
        """A frame was written."""
        assert self.table.written(self.stream[tp]) == tp
        self.in_flight.written(tp, now)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_is_crowded_from_the_limit_on_until_a_frame_is_written(bench: Bench) -> None:
    bench.sent(P0, MAX_BYTES - 1)
    assert not bench.in_flight.crowded(NOW)
    bench.sent(P1, 1)
    assert bench.in_flight.crowded(NOW)
    bench.written(P1)
    assert not bench.in_flight.crowded(NOW)
    assert len(bench.in_flight) == 1


def test_frames_of_a_process_that_does_not_read_do_not_count(bench: Bench) -> None:
    bench.sent(P0, MAX_BYTES)
    assert bench.in_flight.crowded(NOW)
    assert not bench.in_flight.stuck(P0, NOW)
    later = NOW + STUCK_AFTER_S
    assert bench.in_flight.stuck(P0, later)
    assert not bench.in_flight.crowded(later)
    bench.sent(P1, MAX_BYTES, later)
    assert bench.in_flight.crowded(later)


def test_each_frame_that_leaves_shows_that_somebody_reads(bench: Bench) -> None:
    bench.sent(P0, 1)
    bench.sent(P0, 1)
    bench.written(P0, NOW + 1)
    assert not bench.in_flight.stuck(P0, NOW + 1)
    assert bench.in_flight.stuck(P0, NOW + 1 + 2 * STUCK_AFTER_S)
    bench.written(P0, NOW + 2)
    assert len(bench.in_flight) == 0


def test_frames_of_an_ended_stream_are_forgotten(bench: Bench) -> None:
    bench.sent(P0, MAX_BYTES)
    bench.table.stream_lost(bench.stream[P0], NOW)
    bench.in_flight.tidy()
    assert not bench.in_flight.crowded(NOW)
    assert len(bench.in_flight) == 0


def test_a_new_stream_starts_with_no_frames_in_flight(bench: Bench) -> None:
    bench.sent(P0, MAX_BYTES)
    bench.table.stream_lost(bench.stream[P0], NOW)
    bench.table.tick(NOW + 60)
    bench.run(3)
    bench.sent(P0, 1)
    assert not bench.in_flight.crowded(NOW)
    bench.written(P0)
    assert len(bench.in_flight) == 0
