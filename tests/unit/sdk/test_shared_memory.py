"""Frames in shared memory, as a lambda process takes them."""

import asyncio
import fcntl
import logging
import mmap
import os
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk_python import _shared_memory
from sdk_python._message import FrameError
from sdk_python._shared_memory import MappedMemory, MemoryVoidError, can_share, fetched, path_of
from sdk_python.protocol import lambda_pb2 as pb

from .host import PATIENCE, running_client, running_host

pytestmark = pytest.mark.skipif(not can_share(), reason="needs Linux on x86-64")

RING_AT, RING = 65536, 8192


class Theirs:
    """The sidecar's side."""

    def __init__(self, *, sealed: bool = True, size: int = RING_AT + RING) -> None:
        assert sys.platform == "linux"
        self.descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size)
        if sealed:
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self.memory = mmap.mmap(self.descriptor, size)
        self.numbers = memoryview(self.memory)[:16].cast("Q")


@pytest.fixture
def theirs() -> Iterator[Theirs]:
    made = Theirs()
    yield made
    os.close(made.descriptor)


def mapped(theirs: Theirs) -> MappedMemory:
    return MappedMemory(os.dup(theirs.descriptor), RING)


def test_a_frame_is_copied_and_its_place_given_back(theirs: Theirs) -> None:
    ours = mapped(theirs)
    position = 5 * RING + 100  # positions count on when the ring begins anew
    theirs.memory[RING_AT + 100 : RING_AT + 105] = b"frame"
    assert ours.copy(pb.SharedFrame(position=position, length=5)) == b"frame"
    assert theirs.numbers[0] == position + 5
    ours.close()
    ours.close()


def test_memory_that_became_void_meanwhile_gives_no_frame(theirs: Theirs) -> None:
    """What was copied may be zeros by then."""
    ours = mapped(theirs)
    theirs.numbers[1] = 1
    with pytest.raises(MemoryVoidError):
        ours.copy(pb.SharedFrame(position=0, length=5))
    assert theirs.numbers[0] == 0


def test_a_frame_that_is_not_in_the_ring_is_refused(theirs: Theirs) -> None:
    with pytest.raises(FrameError, match="not in the ring"):
        mapped(theirs).copy(pb.SharedFrame(position=RING - 1, length=2))


@pytest.mark.parametrize("wrong", [Theirs(sealed=False), Theirs(size=RING_AT + RING - 1)])
def test_memory_that_could_shrink_is_not_mapped(wrong: Theirs) -> None:
    """Reading beyond its end would end the process."""
    with pytest.raises(ValueError, match="sealed"):
        mapped(wrong)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:///run/s", "/run/s"),
        ("unix:/run/s", "/run/s"),
        ("unix:s", "s"),
        ("localhost:1", ""),
        ("dns:///a:1", ""),
    ],
)
def test_where_the_socket_is(address: str, path: str) -> None:
    assert path_of(address) == path


def test_only_a_processor_that_keeps_loads_in_order_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the client could find the memory not void, and copy zeros after that."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not can_share()


async def test_without_the_second_socket_there_is_no_memory(tmp_path: Path) -> None:
    """A proxy, or a folder that has the first socket only."""
    assert await fetched(str(tmp_path / "s"), pb.SharedMemory(token="t", bytes=RING)) is None


async def test_who_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared_memory, "_TIMEOUT_S", 0.01)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{path}.memory")
        silent.listen()
        assert await fetched(str(path), pb.SharedMemory(token="t", bytes=RING)) is None


async def test_a_frame_in_memory_that_is_not_shared_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kafka_sidecar.sdk")
    async with running_host() as host, running_client(host, lambda _message, _context: None) as client:
        stream = await host.offered()
        assert "shared-memory" not in stream.offer.capabilities, "it is not on a Unix socket"
        await stream.assign()
        stream.send(shared=pb.SharedFrame(position=0, length=5))
        await asyncio.wait(set(client._lives), timeout=PATIENCE)
    assert any("this stream shares no memory" in line for line in caplog.messages)
