"""The record of one case: every frame and call, with its time; and how it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from google.protobuf import text_format
from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.invariants import Invariants
from sidecar.conformance.lives import Lives, offsets_of
from sidecar.conformance.rules import Broken
from sidecar.visible import visible

SHOWN_EVENTS = 60
"""The last events of a case, which are shown when it does not hold."""
_SHOWN_CHARACTERS = 180
_NAMES = {
    Kind.STARTED: "the process is started",
    Kind.SIGNALLED: "signal",
    Kind.EXITED: "the process has ended",
    Kind.CONNECTED: "connected",
    Kind.CUT: "the connection is over",
    Kind.CALMED: "gRPC ends the connection: too many pings",
    Kind.OPENED: "──▶ opens the stream",
    Kind.HALF_CLOSED: "──▶ ends its side",
    Kind.BROKE: "──▶ cancels the stream, or lost it",
    Kind.ENDED: "◀── end of the stream:",
    Kind.GONE: "──▶ gives the call up, or lost it",
    Kind.INVALID: "──▶ what the sidecar refuses:",
}


class Trace:
    """All events of one case. Owned by the event loop."""

    def __init__(self, invariants: Invariants) -> None:
        self.events: list[Event] = []
        self.lives: Lives = invariants.lives
        self.broken: list[Broken] = []
        """What the invariants found."""
        self._invariants = invariants
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def now(self) -> float:
        """Seconds since the case began."""
        return self._loop.time() - self._began

    def add(
        self,
        kind: Kind,
        *,
        connection: int = 0,
        stream: int = 0,
        call: int = 0,
        message: Message | None = None,
        note: str = "",
        rule: int = 0,
    ) -> Event:
        """Record an event, and wake all who wait for one."""
        event = Event(self.now, kind, connection, stream, call, message, note, rule)
        self.events.append(event)
        self.broken += self._invariants.see(event)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        return event

    def finish(self) -> None:
        """Find what only the end of the case can tell."""
        self.broken += self._invariants.finish(self.now)

    async def until(self, true: Callable[[], object], timeout: float) -> bool:
        """Wait until ``true()`` is, which is asked after each event. False: not within ``timeout`` seconds."""
        end = self._loop.time() + timeout
        while not true():
            left = end - self._loop.time()
            if left <= 0:
                return False
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=left)
        return True

    def of(self, kind: Kind, stream: int = 0) -> Iterator[Event]:
        """The events of one kind, of one stream or of all."""
        return (e for e in self.events if e.kind is kind and stream in (0, e.stream))

    def text(self) -> str:
        """The last events, one in a line. Nothing in it reaches a terminal unescaped."""
        left_out = max(0, len(self.events) - SHOWN_EVENTS)
        lines = [f"  ... {left_out} events before"] if left_out else []
        return "\n".join([*lines, *map(line, self.events[-SHOWN_EVENTS:])])


def line(event: Event) -> str:
    """One event in one line."""
    if event.stream:
        who = f"stream {event.stream}"
    elif event.call:
        who = f"call {event.call}"
    else:
        who = f"connection {event.connection}" if event.connection else ""
    what = _NAMES.get(event.kind, "")
    if event.kind in (Kind.FRAME, Kind.CALL):
        what = "──▶"
    elif event.kind in (Kind.SENT, Kind.ANSWERED):
        what = "◀──"
    shown = _shown(event.message)
    text = visible(" ".join(part for part in (shown, event.note) if part))
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + " ..."
    return f"  {event.at:8.3f}  {who:<12}  {what} {text}".rstrip()


def _shown(message: Message | None) -> str:
    if message is None:
        return ""
    if isinstance(message, pb.LambdaFrame | pb.HostFrame):
        kind = message.WhichOneof("frame")
        if kind is None:
            return "(an empty frame)"
        inner: Message = getattr(message, kind)
        if isinstance(inner, pb.Batch):
            offsets = offsets_of(inner)
            return f"Batch of {len(offsets)}: {_range(offsets)}"
        return f"{inner.DESCRIPTOR.name} {_one_line(inner)}"
    if isinstance(message, pb.ProduceRequest):
        topics = f" to {', '.join(message.topics[:5])}" if message.topics else ""
        commit = f", commit {_one_line(message.commit)}" if message.HasField("commit") else ""
        return f"Produce {len(message.values)} records{topics}, lease {message.lease}{commit}"
    return f"{message.DESCRIPTOR.name} {_one_line(message)}"


def _one_line(message: Message) -> str:
    if message.ByteSize() > 16 * 1024:
        return f"({message.ByteSize()} bytes)"
    return "{" + text_format.MessageToString(message, as_one_line=True).strip() + "}"


def _range(offsets: list[int]) -> str:
    if len(offsets) > 8:
        return f"{', '.join(map(str, offsets[:3]))}, ... {offsets[-1]}"
    return ", ".join(map(str, offsets))
