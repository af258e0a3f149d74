"""Large frames in memory that this process shares with the sidecar, instead of on the stream.

gRPC copies a frame several times, and so does the kernel. Here it is copied once, from the memory into the bytes that
are decoded. It is not decoded where it lies: the sidecar takes the memory back when the stream ends, and what is
decoded must not change meanwhile.

``proto/lambda.proto`` (``SharedMemory``) has the rules. Owner: the event loop.
"""

import asyncio
import mmap
import os
import platform
import socket
import sys
from contextlib import suppress
from typing import Final

from ._message import FrameError
from .protocol import lambda_pb2 as pb

SHARED_MEMORY: Final = "shared-memory"
"""The capability of the Offer."""

_SUFFIX: Final = ".memory"
_RING_AT: Final = 65536
_READ_UP_TO, _IS_VOID = 0, 1
_TIMEOUT_S: Final = 2.0
_LARGEST: Final = 2**40

_MACHINES: Final = frozenset({"x86_64", "AMD64"})

if sys.platform == "linux":
    import fcntl


def can_share() -> bool:
    """Whether this system, this processor and this Python can share memory with the sidecar.

    `MappedMemory.copy` needs a processor that keeps the order of loads, and of a load and a later store.
    """
    if sys.platform != "linux" or not hasattr(fcntl, "F_GET_SEALS"):
        return False
    return platform.machine() in _MACHINES and sys.maxsize > 2**32


class MemoryVoidError(Exception):
    """The sidecar has taken the memory back, because the stream has ended."""


class MappedMemory:
    """The memory of one lease."""

    def __init__(self, descriptor: int, size: int) -> None:
        """``size``: bytes of the ring. Takes the descriptor, and closes it.

        Raises:
            ValueError: it is not what the sidecar has announced.
            OSError: it cannot be mapped.
        """
        try:
            # Sealed against another size: otherwise reading beyond its end would end this process (SIGBUS).
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            if not seals & fcntl.F_SEAL_SHRINK or os.fstat(descriptor).st_size != _RING_AT + size:
                raise ValueError(f"the shared memory is not sealed, or has not {size} bytes")
            self._memory = mmap.mmap(descriptor, _RING_AT + size)
        finally:
            os.close(descriptor)
        self._numbers = memoryview(self._memory)[:16].cast("Q")
        self._size = size

    @property
    def is_void(self) -> bool:
        """Whether the sidecar has taken the memory back, or may be about to."""
        return self._numbers[_IS_VOID] != 0

    def copy(self, frame: pb.SharedFrame) -> bytes:
        """Copy a frame, and let the sidecar have its place again.

        Raises:
            FrameError: the frame is not in the memory.
            MemoryVoidError: the sidecar has taken the memory back.
        """
        begin, length = frame.position % self._size, frame.length
        if begin + length > self._size:
            raise FrameError(f"SharedFrame: {length} bytes from {begin} on are not in the ring of {self._size}")
        at = _RING_AT + begin
        data = self._memory[at : at + length]
        # After the copy; x86-64 keeps this order. The sidecar sets the number before it gives the first page back.
        if self.is_void:
            raise MemoryVoidError
        self._numbers[_READ_UP_TO] = frame.position + length
        return data

    def close(self) -> None:
        """Unmap it. May be called again."""
        self._numbers.release()
        self._memory.close()


def path_of(address: str) -> str:
    """The path of the Unix socket that ``address`` names, as gRPC reads it; empty: it names none."""
    return address.removeprefix("unix:").removeprefix("//") if address.startswith("unix:") else ""


async def fetched(path: str, offered: pb.SharedMemory) -> MappedMemory | None:
    """Fetch and map the memory that the sidecar at this socket offers; None: it cannot be had, so do without."""
    descriptors: list[int] = []
    with suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(_TIMEOUT_S):
            descriptors = await _received(path + _SUFFIX, offered.token)
        if len(descriptors) == 1 and 0 < offered.bytes <= _LARGEST:
            return MappedMemory(descriptors.pop(), offered.bytes)
    for descriptor in descriptors:
        os.close(descriptor)
    return None


async def _received(path: str, token: str) -> list[int]:
    """The descriptors that the sidecar sends for the token. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, path)
        await loop.sock_sendall(connection, token.encode())
        readable = asyncio.Event()
        loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(connection)
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    return descriptors
