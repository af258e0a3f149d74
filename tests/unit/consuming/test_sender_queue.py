"""Many partitions and room for the frames of few: they take turns."""

import asyncio
from collections.abc import Iterator

import pytest
from confluent_kafka import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming import in_flight
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.in_flight import STUCK_AFTER_S, InFlight
from sidecar.consuming.sender import Sender
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Assign, Limits, StreamId, TopicPartition
from tests.unit.records.arriving import Arriving

PARTITIONS = 5
RECORDS_A_FRAME = 4
NOW = 100.0


class Bench:
    """Partitions that run, each on a stream of its own, and records that wait for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        leases = iter(f"L{number}" for number in range(100))
        config = LambdaConfig.model_validate({"topic": "t", "group": "g", "frame": {"records": RECORDS_A_FRAME}})
        self.table = PartitionTable(Limits(), lambda: next(leases), lambda: 0.0)
        self.buffer = FetchBuffer()
        self.arriving = Arriving(self.buffer)
        self.in_flight = InFlight(self.table)
        self.posted: list[letters.Delivery] = []
        outbox = Outbox(loop, self.posted.extend)
        outbox.post = self.posted.append  # type: ignore[method-assign, assignment]
        self.sender = Sender(self.table, self.buffer, self.in_flight, config, outbox, None)
        tps = [TopicPartition("t", number) for number in range(PARTITIONS)]
        self.table.assigned(tps)
        for tp in tps:
            self.table.resolved(tp, 0, NOW, committed=True)
        self.partition_of: dict[StreamId, int] = {}
        for stream in range(1, PARTITIONS + 1):
            self.table.available(stream, f"process {stream}", 1 << 20, NOW)
            (assign,) = (command for command in self.table.commands if isinstance(command, Assign))
            self.table.commands.clear()
            self.table.ready(stream, assign.lease, NOW)
            self.partition_of[stream] = assign.partition.partition

    def fetch(self, frames: int) -> None:
        """Records for so many frames of each partition come."""
        for partition in range(PARTITIONS):
            records = [
                Message(topic="t", partition=partition, offset=offset, value=b"v", timestamp=(1, 1))
                for offset in range(frames * RECORDS_A_FRAME)
            ]
            self.sender.changed.update(self.arriving.come(records))

    def take(self) -> list[tuple[int, int]]:
        """The frames that have gone since: partition and first offset of each."""
        frames, self.posted[:] = [*self.posted], []
        taken = []
        for frame in frames:
            assert isinstance(frame, letters.Send)
            taken.append((frame.stream, pb.HostFrame.FromString(frame.data).batch.first_offset))
        return [(self.partition_of[stream], first) for stream, first in taken]

    def written(self, partition: int) -> None:
        """The loop has written a frame of this partition."""
        stream = next(stream for stream, known in self.partition_of.items() if known == partition)
        tp = self.table.written(stream)
        assert tp is not None
        self.in_flight.written(tp, NOW)
        self.sender.changed.add(tp)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(in_flight, "MAX_BYTES", 1)  # room for one frame
    loop = asyncio.new_event_loop()
    yield Bench(loop)
    loop.close()


def test_each_has_its_turn_and_its_order(bench: Bench) -> None:
    bench.fetch(3)
    order: list[tuple[int, int]] = []
    for _ in range(3 * PARTITIONS):
        bench.sender.work(NOW)
        (frame,) = bench.take()
        order.append(frame)
        bench.written(frame[0])
    bench.sender.work(NOW)
    assert bench.take() == []
    for turn in range(3):
        of_turn = order[turn * PARTITIONS : (turn + 1) * PARTITIONS]
        assert sorted(of_turn) == [(partition, turn * RECORDS_A_FRAME) for partition in range(PARTITIONS)]


def test_a_turn_without_room_changes_nothing(bench: Bench) -> None:
    bench.fetch(1)
    bench.sender.work(NOW)
    assert len(bench.take()) == 1
    bench.sender.work(NOW)
    assert bench.take() == []
    assert bench.sender.changed == set()  # the thread need not come back before something is written


def test_a_process_that_does_not_read_stops_the_others_only_briefly(bench: Bench) -> None:
    bench.fetch(1)
    bench.sender.work(NOW)
    ((silent, _),) = bench.take()
    bench.sender.work(NOW + STUCK_AFTER_S)
    ((other, _),) = bench.take()
    assert other != silent


def test_a_partition_that_is_gone_leaves_the_queue(bench: Bench) -> None:
    bench.fetch(1)
    bench.sender.work(NOW)
    ((first, _),) = bench.take()
    gone = next(partition for partition in range(PARTITIONS) if partition != first)
    bench.sender.forget(TopicPartition("t", gone))
    served = {first}
    while len(served) < PARTITIONS - 1:
        bench.written(first)
        bench.sender.work(NOW)
        ((first, _),) = bench.take()
        served.add(first)
    bench.written(first)
    bench.sender.work(NOW)
    assert bench.take() == []
    assert gone not in served
