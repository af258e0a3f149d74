"""Many partitions and room for the frames of few: they take turns."""

import pytest

from sidecar.consuming import in_flight
from sidecar.consuming.in_flight import STUCK_AFTER_S
from sidecar.partitions.vocabulary import Lane, TopicPartition

from .bench import Bench

PARTITIONS = 5
RECORDS_A_FRAME = 4


def fetch(bench: Bench, frames: int) -> None:
    """Records for so many frames of each partition come."""
    for partition in range(PARTITIONS):
        bench.fetch(*range(frames * RECORDS_A_FRAME), partition=partition)


def take(bench: Bench) -> list[tuple[int, int]]:
    """The frames that have gone since: partition and first offset of each."""
    return [(tp.partition, offsets[0]) for tp, offsets in bench.frames()]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Partitions that run, each on a stream of its own."""
    monkeypatch.setattr(in_flight, "MAX_BYTES", 1)  # room for one frame
    made = Bench(frame={"records": RECORDS_A_FRAME})
    made.assign(*(TopicPartition("t", number) for number in range(PARTITIONS)))
    for _ in range(PARTITIONS):
        made.run()
    return made


def test_each_has_its_turn_and_its_order(bench: Bench) -> None:
    fetch(bench, 3)
    order: list[tuple[int, int]] = []
    for _ in range(3 * PARTITIONS):
        bench.sender.work(bench.now)
        (frame,) = take(bench)
        order.append(frame)
        bench.written(TopicPartition("t", frame[0]))
    bench.sender.work(bench.now)
    assert take(bench) == []
    for turn in range(3):
        of_turn = order[turn * PARTITIONS : (turn + 1) * PARTITIONS]
        assert sorted(of_turn) == [(partition, turn * RECORDS_A_FRAME) for partition in range(PARTITIONS)]


def test_a_turn_without_room_changes_nothing(bench: Bench) -> None:
    fetch(bench, 1)
    bench.sender.work(bench.now)
    assert len(take(bench)) == 1
    bench.sender.work(bench.now)
    assert take(bench) == []
    assert bench.sender.changed == set()  # the thread need not come back before something is written


def test_a_process_that_does_not_read_stops_the_others_only_briefly(bench: Bench) -> None:
    fetch(bench, 1)
    bench.sender.work(bench.now)
    ((silent, _),) = take(bench)
    bench.sender.work(bench.now + STUCK_AFTER_S)
    ((other, _),) = take(bench)
    assert other != silent


def test_a_partition_that_is_gone_leaves_the_queue(bench: Bench) -> None:
    fetch(bench, 1)
    bench.sender.work(bench.now)
    ((first, _),) = take(bench)
    gone = next(partition for partition in range(PARTITIONS) if partition != first)
    bench.sender.forget(Lane(TopicPartition("t", gone)))
    served = {first}
    while len(served) < PARTITIONS - 1:
        bench.written(TopicPartition("t", first))
        bench.sender.work(bench.now)
        ((first, _),) = take(bench)
        served.add(first)
    bench.written(TopicPartition("t", first))
    bench.sender.work(bench.now)
    assert take(bench) == []
    assert gone not in served
