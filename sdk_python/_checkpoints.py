"""How far a lambda has got, and how the sidecar hears of it.

`Place` is the state of one lease. It costs a lambda that checkpoints every message two comparisons.
`CheckpointSender` turns the places that moved into few calls: one in flight for the whole process, the latest of
each lease in it.

Everything here belongs to the event loop's thread, so nothing can happen between two awaits.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from ._connection import LinkError
from ._errors import RefusedError, clip
from ._limits import Limits
from ._log import log
from .protocol import lambda_pb2 as pb

SPACING: Final = 0.01
"""Seconds between the starts of two Checkpoint calls, unless a lease is in a hurry."""
HANDLED_INTERVAL: Final = 1.0
"""Seconds between reports of handled offsets that moved without a checkpoint."""
MAX_NAMES: Final = 10
"""Names of what is skipped that one entry may carry; the sidecar refuses a request with more, or with longer ones."""
MAX_NAME_BYTES: Final = 256
_ENTRY_BYTES: Final = MAX_NAMES * (MAX_NAME_BYTES + 3) + 512
"""More than an entry ever takes in a request."""
_RETRY_FIRST: Final = 0.05
_RETRY_MOST: Final = 1.0
_NONE: Final = -1
_MOST: Final = 2**32 - 1  # what the wire takes
_NOTHING: Final = (0, (), 0)
Skipped = tuple[int, tuple[str, ...], int]
"""How many messages, what, and of how many things: see `IContext.skipped`."""


class Sink(Protocol):
    """Where a place that moved makes itself known."""

    def changed(self, place: "Place") -> None:
        """The place has something to send that it did not have before."""
        ...

    def hurry(self) -> None:
        """Much is handled and not told: do not wait for the spacing."""
        ...

    def forget(self, place: "Place") -> None:
        """The place will send nothing more."""
        ...


class Gate(Protocol):
    """What may hold a checkpoint back: `Outcomes`."""

    def admits(self, offset: int) -> bool:
        """Whether it may be told now; otherwise `Place.passed` comes for it, or nothing."""
        ...


class Place:
    """What one lease has processed. Offsets here are -1 for "none"."""

    def __init__(self, lease: str, window: int, start_offset: int | None, sink: Sink) -> None:
        self.lease = lease
        self.handled = _NONE
        """Offset of the last message whose handler returned. Written by the dispatcher, once per slice."""
        self.sealed = False
        self.gate: Gate | None = None
        """From the first record on that the lambda produces."""
        self._sink = sink
        self._much = max(1, window // 4)
        self._offset = _NONE
        self._beyond = (0, 0)
        self._skipped: Skipped = _NOTHING
        self._delivered = _NONE
        self._sent = _NONE  # the last offset in a request, whatever became of it
        self._accepted = _NONE
        # Beyond, handled and skipped as last sent. None: nothing of it is known to have arrived.
        self._told: tuple[tuple[int, int], int, Skipped] | None = ((0, 0), _NONE, _NOTHING)
        self._dirty = False
        self._urgent_at = (start_offset or 0) + self._much

    def checkpoint(self, offset: int) -> None:
        """See `IContext.checkpoint`."""
        if type(offset) is not int:
            offset = _checked("checkpoint(offset)", offset)
        if offset <= self._offset or self.sealed:
            if offset < 0:
                raise ValueError(f"checkpoint(offset): an offset is not negative, got {offset}")
            return
        if self.gate is not None and not self.gate.admits(offset):
            return
        self._offset = offset
        if not self._dirty:
            self._mark()
        elif offset >= self._urgent_at:
            self._sink.hurry()

    def passed(self, offset: int) -> None:
        """A checkpoint that was held back may be told."""
        gate, self.gate = self.gate, None
        self.checkpoint(offset)
        self.gate = gate

    def completed_beyond(self, count: int, size: int) -> None:
        """See `IContext.completed_beyond`."""
        beyond = (_checked("completed_beyond(count)", count), _checked("completed_beyond(size)", size))
        if min(beyond) < 0:
            raise ValueError(f"completed_beyond(count, size): numbers are not negative, got {beyond}")
        if beyond != self._beyond and not self.sealed:
            self._beyond = beyond
            self._mark()

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        """See `IContext.skipped`."""
        skipped = checked_skipped(count, skipping, skipping_count)
        if skipped != self._skipped and not self.sealed:
            self._skipped = skipped
            self._mark()

    @property
    def urgent(self) -> bool:
        """A quarter of the window is not told yet.

        Until the sidecar knows, and has sent on, as much again may be handled. Told later, all that may be
        outstanding would be: a single busy partition would wait for each answer.
        """
        return self._dirty and self._offset >= self._urgent_at

    @property
    def offset(self) -> int:
        """The highest offset the lambda gave; -1: none yet."""
        return self._offset

    def delivered_to(self, offset: int) -> None:
        """A frame came that ends with ``offset``, or what is after it comes again.

        A lambda with a store of its own may know more than was delivered since the restart. Everything up to its
        offset includes everything up to the last delivered one, so that is what is sent, again with each frame:
        waiting until all had been delivered would wait for ever on a full window.
        """
        ahead = self._offset > self._delivered
        self._delivered = offset
        if ahead and not self.sealed:
            self._mark()

    def handled_moved(self) -> None:
        """Once a second: have `handled` sent when it moved without a checkpoint."""
        if (self._told is None or self.handled != self._told[1]) and not self.sealed:
            self._mark()

    def take(self) -> pb.CheckpointEntry | None:
        """What there is to send, as sent; None when there is nothing."""
        self._dirty = False
        offset = min(self._offset, self._delivered)
        told = (self._beyond, self.handled, self._skipped)
        if self.sealed or (offset <= self._sent and told == self._told):
            return None
        entry = pb.CheckpointEntry(
            lease=self.lease, completed_beyond=self._beyond[0], completed_beyond_bytes=self._beyond[1]
        )
        if offset > self._sent:
            entry.offset = offset
            self._sent = offset
            self._urgent_at = offset + self._much
        if self.handled > _NONE:
            entry.handled = self.handled
        self._tell_skipped(entry, offset)
        self._told = told
        return entry

    def failed(self) -> None:
        """The request did not come through: what it carried is to be sent again."""
        self._sent = self._accepted
        self._told = None
        if not self.sealed:
            self._mark()

    def answered(self, entry: pb.CheckpointEntry, result: pb.CheckpointResult) -> None:
        """Take the sidecar's answer to ``entry``."""
        match result.outcome:
            case (
                pb.CHECKPOINT_OUTCOME_ACCEPTED
                | pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING
                | pb.CHECKPOINT_OUTCOME_IGNORED_LOWER
            ):
                if entry.HasField("offset"):
                    self._accepted = max(self._accepted, entry.offset)
            case pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED:
                # Kept: `delivered_to` marks it with the next frame. A frame that came while the call was under way
                # has had its chance already, so look once more here.
                self._sent = self._accepted
                arrived = self._delivered
                self._delivered = min(arrived, result.delivered if result.HasField("delivered") else _NONE)
                if arrived > entry.offset:
                    self.delivered_to(arrived)
            case pb.CHECKPOINT_OUTCOME_STALE_LEASE:
                log.debug("lease %s... is over: its checkpoints are dropped", self.lease[:8])
                self.seal()
            case other:  # a newer sidecar; nothing is known, so nothing is taken for accepted
                log.warning("the sidecar answered a checkpoint with outcome %s, unknown here", other)

    def seal(self, below: int | None = None) -> pb.CheckpointEntry | None:
        """Take no more checkpoints; answers the last one where it is not accepted yet, for Closed and Error.

        With ``below``, the offset that failed: a checkpoint at or above it is dropped and never sent, for what a
        handler did not finish is not done. The one before it is not known any more; the last accepted one holds.
        """
        if self.sealed:
            return None
        self.sealed = True
        self._sink.forget(self)
        offset = min(self._offset, self._delivered)
        if offset <= self._accepted or (below is not None and offset >= below):
            return None
        entry = pb.CheckpointEntry(lease=self.lease, offset=offset)
        if self.handled > _NONE:
            entry.handled = self.handled
        self._tell_skipped(entry, offset)
        return entry

    def _tell_skipped(self, entry: pb.CheckpointEntry, offset: int) -> None:
        """In one entry with the offset: so both count, or neither, and what comes again is not counted twice.

        For the same reason not when the offset is that of what was delivered, and the lambda's is above it.
        """
        if self._skipped is not _NOTHING:
            count, names, things = self._skipped
            entry.skipped = count if offset == self._offset else 0
            entry.skipping.extend(names)
            entry.skipping_count = things

    def _mark(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._sink.changed(self)


class CheckpointSender:
    """Sends what places have to send: one call in flight, all that moved in it, not more often than needed."""

    def __init__(
        self,
        call: Callable[[pb.CheckpointRequest], Awaitable[pb.CheckpointResponse]],
        *,
        spacing: float = SPACING,
        handled_interval: float = HANDLED_INTERVAL,
    ) -> None:
        self._call = call
        self._spacing = spacing
        self._handled_interval = handled_interval
        self.limits = Limits()
        """Of the sidecar that is there now."""
        self._places: set[Place] = set()
        self._moved: dict[Place, None] = {}
        self._wake = asyncio.Event()
        self._hurried = asyncio.Event()

    def add(self, place: Place) -> None:
        """A lease begins."""
        self._places.add(place)

    def changed(self, place: Place) -> None:
        """See `Sink.changed`."""
        self._moved[place] = None
        self._wake.set()
        if place.urgent:
            self._hurried.set()

    def hurry(self) -> None:
        """See `Sink.hurry`."""
        self._hurried.set()

    def forget(self, place: Place) -> None:
        """See `Sink.forget`."""
        self._places.discard(place)
        self._moved.pop(place, None)

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        retry = 0.0
        last = float("-inf")
        tick: asyncio.TimerHandle | None = None

        def look_at_handled() -> None:
            nonlocal tick
            for place in self._places:
                place.handled_moved()
            tick = loop.call_later(self._handled_interval, look_at_handled)

        look_at_handled()
        try:
            while True:
                await self._wake.wait()
                if retry:
                    await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311  no secret
                else:
                    await self._space(last + self._spacing - loop.time())
                last = loop.time()
                retry = await self._send(retry)
        finally:
            if tick is not None:
                tick.cancel()

    async def _space(self, seconds: float) -> None:
        if seconds > 0 and not self._hurried.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._hurried.wait()
            except TimeoutError:
                pass

    async def _send(self, retry: float) -> float:
        """One call; answers the seconds to wait before the next, 0 when it came through."""
        sent = self._collect()
        if not sent:
            return 0.0
        try:
            response = await self._call(pb.CheckpointRequest(entries=sent.values()))
            _check_results(response, len(sent))
        except (LinkError, RefusedError) as error:
            if not retry:
                log.warning("checkpoints do not come through, they are kept and sent again: %s", error)
            for place in sent:
                place.failed()
            return min(_RETRY_MOST, retry * 2) or _RETRY_FIRST
        if retry:
            log.info("checkpoints come through again")
        for (place, entry), result in zip(sent.items(), response.results, strict=True):
            place.answered(entry, result)
        return 0.0

    def _collect(self) -> dict[Place, pb.CheckpointEntry]:
        sent: dict[Place, pb.CheckpointEntry] = {}
        size = 0
        most_bytes = max(1, self.limits.request_bytes - _ENTRY_BYTES)
        while self._moved and len(sent) < self.limits.checkpoint_entries and size < most_bytes:
            place = next(iter(self._moved))
            del self._moved[place]
            entry = place.take()
            if entry is not None:
                sent[place] = entry
                size += entry.ByteSize() + 4  # and what stands before it in the request
        if not self._moved:
            self._wake.clear()
            self._hurried.clear()
        return sent


def _check_results(response: pb.CheckpointResponse, count: int) -> None:
    if len(response.results) != count:
        raise LinkError(f"{len(response.results)} results for {count} checkpoints")


def checked_skipped(count: int, skipping: Sequence[str], skipping_count: int | None) -> Skipped:
    """The arguments of `IContext.skipped`, as an entry may carry them. Raises TypeError and ValueError."""
    if isinstance(skipping, str | bytes) or not all(isinstance(name, str) for name in skipping):
        raise TypeError(f"skipped(skipping): expected a sequence of texts, got {skipping!r:.100}")
    things = len(skipping) if skipping_count is None else _checked("skipped(skipping_count)", skipping_count)
    if min(_checked("skipped(count)", count), things) < 0:
        raise ValueError(f"skipped(count, skipping, skipping_count): not negative, got {count}, {things}")
    return min(count, _MOST), tuple(clip(name, MAX_NAME_BYTES) for name in skipping[-MAX_NAMES:]), min(things, _MOST)


def _checked(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    hint = ": pass its offset" if hasattr(value, "offset") else ""
    raise TypeError(f"{name} takes an int, got {type(value).__name__}{hint}")
