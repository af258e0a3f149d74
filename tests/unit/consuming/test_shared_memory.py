"""Frames in shared memory: in the order of the others, and on the stream when there is no room."""

import mmap

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import EndReason, EndStream
from sidecar.shared_memory.memory import RING_AT, SharedMemory, why_impossible

from .bench import P0, SOURCES, Bench, SourceKind, record

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux on x86-64")

LARGE = b"x" * 20_000
RING = 66_000
"""Bytes: room for three of them."""


class Sharing:
    """One partition whose process shares memory; frames of one record."""

    def __init__(self, source: SourceKind = "rows") -> None:
        self.bench = Bench(source, frame={"records": 1})
        self.bench.assign(P0)
        self.bench.run()
        self.memory = SharedMemory(RING)
        self.theirs = mmap.mmap(self.memory.descriptor, RING_AT + RING)
        self.numbers = memoryview(self.theirs)[:16].cast("Q")
        self.sizes: list[int] = []
        """Bytes of the frames in the memory."""
        self.stream = self.bench.stream_of[P0]
        self.bench.sender.share(self.stream, self.memory)

    def sent(self) -> list[tuple[int, bool]]:
        """What goes now: the offset of each record, and whether its frame is in the memory. None of it is read."""
        seen = []
        for _ in range(100):
            self.bench.sender.work(self.bench.now)
            for item in [one for one in self.bench.outbox.posted if isinstance(one, letters.Send)]:
                self.bench.outbox.posted.remove(item)
                frame = pb.HostFrame.FromString(item.data)
                shared = frame.HasField("shared")
                if shared:
                    at = RING_AT + frame.shared.position % RING
                    self.sizes.append(frame.shared.length)
                    frame = pb.HostFrame.FromString(self.theirs[at : at + frame.shared.length])
                assert frame.batch.values[0] in {LARGE, b"small"}
                seen.append((frame.batch.first_offset, shared))
                self.bench.written(P0)
            if not self.bench.sender.changed:
                return seen
        raise AssertionError("there is no end to it")


def test_large_frames_go_through_memory_and_small_ones_on_the_stream_in_order() -> None:
    sharing = Sharing()
    sharing.bench.come(record(0, value=LARGE), record(1, value=b"small"), record(2, value=LARGE))
    assert sharing.sent() == [(0, True), (1, False), (2, True)]
    assert sharing.bench.sender.shared_bytes == sum(sharing.sizes) < sharing.bench.sender.sent_bytes


def test_a_full_ring_sends_on_the_stream_and_is_used_again_when_there_is_room() -> None:
    """Nobody waits for a process that reads nothing."""
    sharing = Sharing()
    sharing.bench.come(*(record(offset, value=LARGE) for offset in range(5)))
    assert sharing.sent() == [(0, True), (1, True), (2, True), (3, False), (4, False)]
    sharing.numbers[0] = sum(sharing.sizes[:2])  # two are read
    sharing.bench.come(record(5, value=LARGE), record(6, value=LARGE))
    assert sharing.sent() == [(5, True), (6, False)]


def test_the_window_counts_what_is_in_memory_as_well() -> None:
    sharing, inline = Sharing(), Sharing()
    inline.bench.sender.lost(inline.stream)
    for one in (sharing, inline):
        one.bench.come(record(0, value=LARGE))
        one.sent()
    mine, theirs = (
        partition.window.outstanding_bytes
        for one in (sharing, inline)
        for partition in one.bench.table.partitions[P0].lanes
    )
    assert mine == theirs > len(LARGE)


def test_a_process_that_lies_loses_its_stream_and_no_record_is_lost() -> None:
    sharing = Sharing()
    sharing.bench.come(record(0, value=LARGE))
    sharing.sent()
    sharing.numbers[0] = 1 << 40
    sharing.bench.come(record(1, value=LARGE))
    assert sharing.sent() == []
    [ends] = [one for one in sharing.bench.outbox.posted if isinstance(one, EndStream)]
    assert (ends.stream, ends.reason) == (sharing.stream, EndReason.PROTOCOL)
    assert "1099511627776" in ends.text
    assert sharing.bench.buffer.count(next(iter(sharing.bench.table.lanes))) == 1


def test_the_memory_is_void_when_the_stream_ends() -> None:
    sharing = Sharing()
    sharing.bench.letters.read(letters.StreamLost(sharing.stream))
    assert sharing.numbers[1] != 0
    sharing.bench.letters.read(letters.StreamLost(sharing.stream))


@pytest.mark.parametrize("source", SOURCES)
def test_without_the_extension_all_frames_go_on_the_stream(source: SourceKind) -> None:
    sharing = Sharing(source)
    sharing.bench.come(record(0, value=LARGE))
    assert sharing.sent() == [(0, source == "rows")]
