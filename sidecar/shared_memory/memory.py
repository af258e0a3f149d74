"""One stream's memory: two numbers, by which the two sides tell each other how far they are, and the ring.

The lambda process is not trusted with it:

- It cannot change the size (the memfd is sealed), so no access of ours can hit a page that is gone (SIGBUS).
- It may write anything anywhere. The ring is never read here. The number by which it says how far it has read is
  checked (`Ring.read_up_to`); with one that is wrong but possible, it spoils its own frames and nobody else's.
- It may keep its mapping for ever. `SharedMemory.void` gives the pages back all the same.

Owner: the event loop makes it and hands its descriptor over. With the letter Ready the consumer thread becomes the
owner. The owner voids it when the stream ends.
"""

import fcntl
import mmap
import os
import platform
import sys

from sidecar.shared_memory.ring import Ring

RING_AT = 65536
"""Where the ring begins. Part of the contract (`SharedMemory` in ``proto/lambda.proto``). It is a
multiple of every system's page size, so the ring's pages can be given back without the numbers' page. What lies
between is never touched, and takes no memory."""

MIN_FRAME_BYTES = 16 * 1024
"""A smaller frame goes on the stream: it costs as much to say where it is."""

_READ_UP_TO, _IS_VOID = 0, 1
"""Indexes of the numbers."""

_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


_MACHINES = ("x86_64", "AMD64")


def why_impossible() -> str:
    """Why no memory can be shared safely on this machine, in words; empty: it can.

    The client copies a frame, then reads whether the memory is void, then writes how far it is, without a fence.
    x86-64 keeps this order. Elsewhere the client might decode zeros, or a frame that is being overwritten.
    """
    if sys.platform != "linux":
        return "it needs Linux"
    if not hasattr(os, "memfd_create") or not all(hasattr(fcntl, seal) for seal in _SEALS):
        return "it needs a Python that was built with memfd_create and its seals"
    if platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        return f"it needs an x86-64 processor and a Python of 64 bits; this is {platform.machine() or 'unknown'}"
    return ""


class SharedMemory:
    """The memory of one stream."""

    def __init__(self, size: int) -> None:
        """``size``: bytes of the ring. Raises ``OSError`` when the system has none, or no descriptor, to give."""
        descriptor = os.memfd_create("kafka-sidecar", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, RING_AT + size)
            # Before it is mapped, so that nobody ever has it unsealed.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self.memory = mmap.mmap(descriptor, RING_AT + size)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._numbers = memoryview(self.memory)[:16].cast("Q")
        self._ring = Ring(size)
        self.lie = ""
        """What the lambda process said that cannot be true, for the status of its stream. Then nothing is placed."""

    @property
    def descriptor(self) -> int:
        """What the lambda process gets; -1 after `close_descriptor`."""
        return self._descriptor

    def close_descriptor(self) -> None:
        """It was handed over, or never will be. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def place(self, size: int) -> int | None:
        """The position for a frame of ``size`` bytes, which must be written before it is sent; None: on the stream.

        The other process writes its number after it has copied the frames below it. Here the number is read by one
        load of 64 bits, and what is written to the ring afterwards depends on it.
        """
        if size < MIN_FRAME_BYTES or self.lie:
            return None
        read_up_to = self._numbers[_READ_UP_TO]
        if not self._ring.read_up_to(read_up_to):
            self.lie = f"shared memory: the position {read_up_to} was never reached, or is below an earlier one"
            return None
        return self._ring.place(size)

    def at(self, position: int) -> int:
        """Where in `memory` the byte at this position of the ring is."""
        return RING_AT + position % self._ring.size

    def void(self) -> None:
        """The stream has ended: say so, then give the pages back, whoever else has them mapped.

        A process that copies a frame meanwhile may get zeros. The number is set before the first page is gone, and
        the process reads it after it has copied. So it knows, and throws the copy away.
        """
        self.close_descriptor()
        self._numbers[_IS_VOID] = 1
        self.memory.madvise(mmap.MADV_REMOVE, RING_AT)
