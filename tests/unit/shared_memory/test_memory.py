"""Memory that somebody else has too: nothing that they do to it concerns us."""

import mmap
import os
import platform
import sys
from pathlib import Path

import pytest

from sidecar.shared_memory import memory as shared
from sidecar.shared_memory.memory import MIN_FRAME_BYTES, RING_AT, SharedMemory

SIZE = 256 * 1024

pytestmark = pytest.mark.skipif(shared.why_impossible() != "", reason="needs Linux on x86-64")


def resident_kb() -> int:
    """Kilobytes of the memfds of this process that are in memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if "memfd:kafka-sidecar" in line]
    return sum(int(lines[start + 3].split()[1]) for start in starts if lines[start + 3].startswith("Rss:"))


def numbers(mapped: mmap.mmap) -> memoryview:
    return memoryview(mapped)[:16].cast("Q")


@pytest.mark.parametrize("machine", ["aarch64", "riscv64", "i686", ""])
def test_another_processor_may_read_in_another_order(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert f"this is {machine or 'unknown'}" in shared.why_impossible()


def test_another_system_has_no_such_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert shared.why_impossible() == "it needs Linux"


def test_the_other_side_cannot_change_its_size() -> None:
    """Else reading or writing beyond the new end would end the process (SIGBUS)."""
    memory = SharedMemory(SIZE)
    theirs = os.dup(memory.descriptor)
    for size in (0, RING_AT, RING_AT + SIZE + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(theirs, size)
    os.close(theirs)


def test_the_other_side_may_write_anything_anywhere() -> None:
    """The ring is not read, and a hole that they make in it is filled again."""
    memory = SharedMemory(SIZE)
    theirs = mmap.mmap(memory.descriptor, RING_AT + SIZE)
    theirs[RING_AT:] = b"\xff" * SIZE
    theirs.madvise(mmap.MADV_REMOVE)
    position = memory.place(MIN_FRAME_BYTES)
    assert position == 0
    memory.memory[memory.at(position)] = 7
    assert theirs[RING_AT] == 7


@pytest.mark.parametrize("claim", [MIN_FRAME_BYTES + 1, 2**64 - 1])
def test_a_position_that_was_never_reached_ends_the_sharing(claim: int) -> None:
    memory = SharedMemory(SIZE)
    theirs = numbers(mmap.mmap(memory.descriptor, RING_AT + SIZE))
    assert memory.place(MIN_FRAME_BYTES) == 0
    theirs[0] = claim
    assert memory.place(MIN_FRAME_BYTES) is None
    assert str(claim) in memory.lie
    theirs[0] = MIN_FRAME_BYTES
    assert memory.place(MIN_FRAME_BYTES) is None, "it is not believed again"


def test_small_frames_are_left_to_the_stream() -> None:
    memory = SharedMemory(SIZE)
    assert memory.place(MIN_FRAME_BYTES - 1) is None
    assert not memory.lie


def test_void_memory_is_given_back_although_the_other_side_keeps_it() -> None:
    memory = SharedMemory(SIZE)
    theirs = mmap.mmap(memory.descriptor, RING_AT + SIZE)
    memory.memory[RING_AT:] = b"x" * SIZE
    memory.void()
    assert numbers(theirs)[1] != 0
    assert memory.descriptor == -1
    assert resident_kb() < SIZE // 1024
    assert theirs[RING_AT:] == bytes(SIZE)
