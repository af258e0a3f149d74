"""gRPC's wake-ups of the event loop, with gRPC's own thread and socket."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVarTuple

import grpc
import pytest

from sdk_python._event_loop import EventLoop, after_draining, new_event_loop

_Ts = TypeVarTuple("_Ts")

CALLS = 50
PATIENCE = 30.0


class Watched(EventLoop):
    """Knows the sockets for which it has a reader."""

    def __init__(self) -> None:
        self.read: list[socket.socket] = []
        super().__init__()

    def add_reader(self, fd: Any, callback: Callable[[*_Ts], Any], *args: *_Ts) -> None:
        if isinstance(fd, socket.socket):
            self.read.append(fd)
        super().add_reader(fd, callback, *args)


@pytest.fixture
def loop() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.close()


def waiting(wakes: socket.socket) -> int:
    """How many bytes wait to be read."""
    try:
        return len(wakes.recv(4096, socket.MSG_PEEK))
    except BlockingIOError:
        return 0


def test_one_round_reads_all_wake_ups_and_handles_all_events(loop: Watched, tmp_path: Path) -> None:
    """Calls to nobody end while the loop is held up, as by a handler."""

    async def run() -> tuple[int, int]:
        known = len(loop.read)
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/nobody") as channel:
            [wakes] = loop.read[known:]
            call: Any = channel.unary_unary("/nobody/Nothing")
            calls = [asyncio.ensure_future(call(b"")) for _ in range(CALLS)]
            await asyncio.sleep(0)  # they begin
            until = time.monotonic() + PATIENCE
            while waiting(wakes) < CALLS and time.monotonic() < until:
                time.sleep(0.001)  # noqa: ASYNC251 - the loop must stand still
            wake_ups = waiting(wakes)
            for _ in range(3):  # the reader runs, the futures are done, the calls go on
                await asyncio.sleep(0)
            left = waiting(wakes)
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in ended} == {grpc.aio.AioRpcError}
        return wake_ups, left

    wake_ups, left = loop.run_until_complete(run())
    assert wake_ups >= CALLS
    assert left == 0


def test_a_wake_up_that_another_loop_has_read_is_no_error() -> None:
    """gRPC's own reader would raise ``BlockingIOError``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        after_draining(ours, lambda: ours.recv(1))
        theirs.send(b"11")
        after_draining(ours, lambda: ours.recv(1))
        assert not waiting(ours)


def test_other_readers_are_as_they_are(loop: Watched) -> None:
    ours, theirs = socket.socketpair()
    read: list[bytes] = []

    async def run() -> None:
        done = asyncio.Event()

        def on_readable(size: int) -> None:
            read.append(ours.recv(size))
            if len(read) == 2:
                done.set()

        loop.add_reader(ours, on_readable, 1)
        theirs.send(b"ab")
        await done.wait()
        loop.remove_reader(ours)

    with ours, theirs:
        loop.run_until_complete(run())
    assert read == [b"a", b"b"]


def test_a_process_that_asks_for_another_kind_of_loop_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Special(asyncio.SelectorEventLoop):
        """As uvloop's."""

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert type(runner.get_loop()) is EventLoop
        assert asyncio.get_event_loop_policy().get_event_loop() is runner.get_loop()
    monkeypatch.setattr(asyncio, "new_event_loop", Special)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert type(runner.get_loop()) is Special
    asyncio.set_event_loop(None)
