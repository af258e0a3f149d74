"""The event loop of a process that serves: asyncio's own, in which gRPC's wake-ups do not pile up.

A thread of gRPC waits for the events of all streams and calls. For each it puts the event into a queue and writes a
byte to a socket. The loop's reader of that socket (``_handle_events`` of gRPC) reads one byte, and handles all events
of the queue. So whenever two events come in one round of the loop, a byte is left:

- Each such byte later makes a round in which there is nothing to do.
- When rounds are long, because handlers work, more bytes come than are read. When some 280 wait, the buffer of the
  socket is full, and gRPC's thread blocks. Linux wakes it when half of the buffer is free: with rounds of 20 ms that
  takes three seconds, in which no stream or call of this process goes on. At the end of a process the thread may
  never return (grpc#40989).
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVarTuple

_Ts = TypeVarTuple("_Ts")

_MOST: Final = 4096
"""Bytes to look at: more than the buffer of the socket holds."""

_draining: Final = threading.Lock()


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, which reads all of gRPC's waiting wake-ups before their events are handled."""

    def add_reader(self, fd: Any, callback: Callable[[*_Ts], Any], *args: *_Ts) -> None:
        """See `asyncio.loop.add_reader`."""
        if isinstance(fd, socket.socket) and _is_of_grpc(callback):

            def drained(*args: *_Ts) -> None:
                after_draining(fd, callback, *args)

            super().add_reader(fd, drained, *args)
        else:
            super().add_reader(fd, callback, *args)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make the current event loop of this thread: an `EventLoop`, unless the process has asked for another kind."""
    made = asyncio.new_event_loop()
    if type(made) is asyncio.SelectorEventLoop:  # not that of Windows, and not uvloop's
        made.close()
        made = EventLoop()
    asyncio.set_event_loop(made)
    return made


def _is_of_grpc(callback: Any) -> bool:
    handler = getattr(callback, "func", callback)
    return type(getattr(handler, "__self__", None)).__name__ == "PollerCompletionQueue"


def after_draining(wakes: socket.socket, handle: Callable[..., Any], *args: Any) -> None:
    """Read all bytes but one, which ``handle`` reads.

    No event is lost: gRPC puts it into the queue before it writes its byte, and ``handle`` empties the queue after it
    has read. A byte whose event was handled already makes an empty round, as ever.

    All loops of a process share the socket, and another one may read at any moment. It then handles all events, and
    here nothing is left (`BlockingIOError`). The lock keeps two from draining at once: together they could read all
    bytes, and neither would handle the events.
    """
    with suppress(BlockingIOError):
        with _draining:
            waiting = len(wakes.recv(_MOST, socket.MSG_PEEK))
            if waiting > 1:
                wakes.recv(waiting - 1)
        handle(*args)
