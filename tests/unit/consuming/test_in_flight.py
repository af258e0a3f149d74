"""What is on its way, and when that is enough."""

import pytest

from sidecar.consuming.in_flight import MAX_BYTES, STUCK_AFTER_S
from sidecar.partitions.vocabulary import Lane, TopicPartition

from .bench import LANE0, P0, P1, Bench

NOW = 0.0


@pytest.fixture
def bench() -> Bench:
    """Two partitions that run, each on a stream of its own: 1 and 2."""
    made = Bench(now=NOW)
    made.assign(P0, P1)
    for _ in (P0, P1):
        made.run()
    return made


def sent(bench: Bench, tp: TopicPartition, size: int, now: float = NOW) -> bool:
    """A frame goes. Returns whether another one may follow before it is written."""
    offset = (bench.table.lanes[Lane(tp)].window.delivered or 0) + 1
    bench.table.records.sent(Lane(tp), offset, offset, 1, size, None, now)
    return bench.in_flight.sent(Lane(tp), size, now)


def written(bench: Bench, tp: TopicPartition, now: float = NOW) -> None:
    """A frame was written."""
    bench.now = now
    bench.written(tp)


def test_it_is_crowded_from_the_limit_on_until_a_frame_is_written(bench: Bench) -> None:
    sent(bench, P0, MAX_BYTES - 1)
    assert not bench.in_flight.crowded(NOW)
    sent(bench, P1, 1)
    assert bench.in_flight.crowded(NOW)
    written(bench, P1)
    assert not bench.in_flight.crowded(NOW)
    assert len(bench.in_flight._frames) == 1


def test_another_frame_may_follow_the_first_of_a_lane_while_few_bytes_are_in_flight(bench: Bench) -> None:
    assert sent(bench, P0, 100)
    assert not sent(bench, P0, 100)
    assert not sent(bench, P1, MAX_BYTES // 2)
    written(bench, P1)
    assert sent(bench, P1, 100)


def test_frames_of_a_process_that_does_not_read_do_not_count(bench: Bench) -> None:
    sent(bench, P0, MAX_BYTES)
    assert bench.in_flight.crowded(NOW)
    assert not bench.in_flight.stuck(LANE0, NOW)
    later = NOW + STUCK_AFTER_S
    assert bench.in_flight.stuck(LANE0, later)
    assert not bench.in_flight.crowded(later)
    sent(bench, P1, MAX_BYTES, later)
    assert bench.in_flight.crowded(later)


def test_each_frame_that_leaves_shows_that_somebody_reads(bench: Bench) -> None:
    sent(bench, P0, 1)
    sent(bench, P0, 1)
    written(bench, P0, NOW + 1)
    assert not bench.in_flight.stuck(LANE0, NOW + 1)
    assert bench.in_flight.stuck(LANE0, NOW + 1 + 2 * STUCK_AFTER_S)
    written(bench, P0, NOW + 2)
    assert len(bench.in_flight._frames) == 0


def test_frames_of_an_ended_stream_are_forgotten(bench: Bench) -> None:
    sent(bench, P0, MAX_BYTES)
    bench.table.streams.lost(bench.stream_of[P0], NOW)
    bench.in_flight.tidy()
    assert not bench.in_flight.crowded(NOW)
    assert len(bench.in_flight._frames) == 0


def test_a_new_stream_starts_with_no_frames_in_flight(bench: Bench) -> None:
    sent(bench, P0, MAX_BYTES)
    bench.table.streams.lost(bench.stream_of[P0], NOW)
    bench.table.tick(NOW + 60)
    bench.run()
    sent(bench, P0, 1)
    assert not bench.in_flight.crowded(NOW)
    written(bench, P0)
    assert len(bench.in_flight._frames) == 0
