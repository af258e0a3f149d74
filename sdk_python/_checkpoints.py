"""How far a lambda has got, and how the sidecar hears of it.

`LeaseProgress` is the progress of one lease. A lambda that checkpoints every message pays two comparisons for each.
`CheckpointSender` sends the leases that moved in few calls: one call is in flight for the whole process, with the
latest checkpoint of each lease.

Owner: the event loop. So nothing can happen between two awaits.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from ._connection import LinkError
from ._errors import RefusedError, clip
from ._handler_times import HandlerTimes
from ._limits import Limits
from ._log import log
from ._outcomes import Outcomes
from ._record import MAX_OFFSET
from ._states import States
from .protocol import lambda_pb2 as pb

SPACING_S: Final = 0.05
"""Seconds between the starts of two Checkpoint calls, unless a lease is in a hurry. A call takes some 2 ms of CPU
time, sidecar and lambda together: with 10 ms between them, a lambda that gets 200 records a second costs half as much
again."""
HANDLED_INTERVAL_S: Final = 1.0
"""Seconds between reports of handled offsets that moved without a checkpoint, and of the times of handlers."""
MAX_NAMES: Final = 10
"""Names of skipped things that one entry may carry; the sidecar refuses a request with more, or with longer ones."""
MAX_NAME_BYTES: Final = 256
_MAX_STATE_BYTES: Final = 4096  # Kafka keeps no longer text with an offset
_ENTRY_BYTES: Final = MAX_NAMES * (MAX_NAME_BYTES + 3) + _MAX_STATE_BYTES + 512
"""More than an entry ever takes in a request."""
_MIN_RETRY_S: Final = 0.05
_MAX_RETRY_S: Final = 1.0
_NONE: Final = -1
_NEVER: Final = MAX_OFFSET + 1
_MAX_COUNT: Final = 2**32 - 1  # a uint32 on the wire
_MAX_SIZE: Final = 2**64 - 1  # a uint64
_NOTHING: Final = (0, (), 0)
Skipped = tuple[int, tuple[str, ...], int]
"""The arguments of `IContext.skipped`: how many messages, the names of things, and how many things."""


class Sink(Protocol):
    """Is told when a lease has something to send. `CheckpointSender`, or the one of `sdk_python.testing`."""

    def changed(self, progress: "LeaseProgress") -> None:
        """Note that the lease has something to send that it did not have before."""
        ...

    def hurry(self) -> None:
        """Do not wait for the spacing: a lease has handled much that the sidecar has not been told."""
        ...

    def forget(self, progress: "LeaseProgress") -> None:
        """Note that the lease will send nothing more."""
        ...


class LeaseProgress:
    """What one lease has processed. Offsets here are -1 for "none"."""

    def __init__(
        self,
        lease: str,
        window: int,
        start_offset: int,
        sink: Sink,
        max_state_bytes: int = 0,
        window_bytes: int = MAX_OFFSET,
    ) -> None:
        """``window``: in messages; ``window_bytes``: in bytes of them.

        ``max_state_bytes``: of the state that goes with a checkpoint; 0: the sidecar keeps none.
        """
        self.lease = lease
        self.handled = _NONE
        """Offset of the last message whose handler returned. The dispatcher writes it once for each slice."""
        self.sealed = False
        self.outcomes: Outcomes | None = None
        """May hold a checkpoint back. Set with the first record that the lambda produces."""
        self._sink = sink
        self._quarter = max(1, window // 4)  # of the window, in messages
        self._quarter_bytes = window_bytes // 4
        self._urgent_after = self._quarter  # the same in offsets
        self._came_to = start_offset - 1  # the last offset of the last frame
        self._offset = _NONE
        self._beyond = (0, 0)
        self._skipped: Skipped = _NOTHING
        self._delivered = _NONE
        self._sent = _NONE  # the last offset in a request, whatever became of the request
        self._accepted = _NONE
        # Beyond, handled and skipped as last sent. None: nothing of it is known to have arrived.
        self._told: tuple[tuple[int, int], int, Skipped] | None = ((0, 0), _NONE, _NOTHING)
        self._states = States(max_state_bytes)
        self._in_call = False  # a Checkpoint call with an offset of this lease is not answered yet
        self._answers = asyncio.Event()  # set with each answer; made anew by whoever waits for one
        self._owed = _NONE  # a checkpoint up to here may be committed by itself
        self._on_owed: Callable[[], None] | None = None  # set: offsets go with what the lambda produces
        self._dirty = False
        self._urgent_at = self._hurry_at = start_offset + self._urgent_after

    def checkpoint(self, offset: int, state: bytes | None = None) -> None:
        """Note that everything up to ``offset`` is processed, as `IContext.checkpoint` describes."""
        if type(offset) is not int or offset > MAX_OFFSET:
            offset = _checked("checkpoint(offset)", offset)
            if offset > MAX_OFFSET:
                raise ValueError(f"checkpoint(offset): an offset is 0 to {MAX_OFFSET}, got {offset}")
        if state is not None:
            self._keep(offset, state)
        if offset <= self._offset or self.sealed:
            if offset < 0:
                raise ValueError(f"checkpoint(offset): an offset is not negative, got {offset}")
            return
        if self.outcomes is not None and not self.outcomes.admits(offset):
            return
        self._offset = offset
        if not self._dirty:
            self._mark()
        elif offset >= self._hurry_at:
            self._hurry_at = _NEVER
            self._sink.hurry()

    def passed(self, offset: int) -> None:
        """Take a checkpoint that was held back by `outcomes` and need not be any longer."""
        outcomes, self.outcomes = self.outcomes, None
        self.checkpoint(offset)
        self.outcomes = outcomes

    def _keep(self, offset: int, state: bytes) -> None:
        """Keep the state for the entry that covers ``offset``. A checkpoint that is ignored has its state ignored."""
        self._states.check(state)
        outcomes = self.outcomes
        if offset > self._offset and not self.sealed and (outcomes is None or not outcomes.ignores(offset)):
            self._states.add(offset, state)

    def completed_beyond(self, count: int, size: int) -> None:
        """Note what is done after the checkpoint, as `IContext.completed_beyond` describes."""
        beyond = (_checked("completed_beyond(count)", count), _checked("completed_beyond(size)", size))
        if min(beyond) < 0:
            raise ValueError(f"completed_beyond(count, size): numbers are not negative, got {beyond}")
        beyond = (min(beyond[0], _MAX_COUNT), min(beyond[1], _MAX_SIZE))
        if beyond != self._beyond and not self.sealed:
            self._beyond = beyond
            self._mark()

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        """Note what was not handled, as `IContext.skipped` describes."""
        skipped = checked_skipped(count, skipping, skipping_count)
        if skipped != self._skipped and not self.sealed:
            self._skipped = skipped
            self._mark()

    @property
    def urgent(self) -> bool:
        """Whether a quarter of the window is checkpointed and not sent yet.

        Until the sidecar knows of it and has sent more messages, as much again may be handled. If it were sent later,
        the window would fill, and a single busy partition would wait for every round trip.
        """
        return self._dirty and self._offset >= self._urgent_at

    @property
    def offset(self) -> int:
        """The highest offset that the lambda checkpointed; -1: none yet."""
        return self._offset

    def came(self, count: int, last: int, size: int) -> None:
        """Note that a frame of ``count`` messages and ``size`` bytes came, which ends with the offset ``last``.

        The window counts messages and their bytes, and checkpoints are offsets. Those of a lane have gaps where the
        records of other lanes are; so has a compacted log. How many offsets a quarter of the window takes is
        estimated by this frame.
        """
        quarter = min(self._quarter, max(1, self._quarter_bytes * count // size))
        self._urgent_after = quarter * max(1, (last - self._came_to) // count)
        self._came_to = last
        self.delivered_to(last)

    def delivered_to(self, offset: int) -> None:
        """Note that a frame came that ends with ``offset``, or that the messages after ``offset`` come again.

        A lambda with a store of its own may checkpoint an offset that was not delivered since the restart. Then the
        last delivered offset is sent instead, again with each frame, since the lambda's offset includes it. If it
        waited until its own offset was delivered, a full window would make it wait for ever.
        """
        ahead = self._offset > self._delivered
        self._delivered = offset
        if ahead and not self.sealed:
            self._mark()
            if self._on_owed is not None:
                self._on_owed()

    def handled_moved(self) -> None:
        """Have `handled` sent if it moved without a checkpoint. Called once a second."""
        if (self._told is None or self.handled != self._told[1]) and not self.sealed:
            self._mark()

    def take(self) -> pb.CheckpointEntry | None:
        """Return what there is to send, and count it as sent; None when there is nothing."""
        self._dirty = False
        offset = _NONE if self._on_owed is not None else min(self._offset, self._delivered)
        if self.sealed or (offset <= self._sent and (self._beyond, self.handled, self._skipped) == self._told):
            return None
        entry = self._entry(offset)
        self._in_call = entry.HasField("offset")
        return entry

    def _entry(self, offset: int) -> pb.CheckpointEntry:
        entry = pb.CheckpointEntry(
            lease=self.lease, completed_beyond=self._beyond[0], completed_beyond_bytes=self._beyond[1]
        )
        if offset > self._sent:
            entry.offset = offset
            self._states.add_to(entry)
            self._sent = offset
            self._urgent_at = self._hurry_at = offset + self._urgent_after
        if self.handled > _NONE:
            entry.handled = self.handled
        self._tell_skipped(entry, offset)
        self._told = (self._beyond, self.handled, self._skipped)
        return entry

    # ------------------------------------------- offsets that go with what the lambda produces (`Committing`)

    def hand_over(self, on_owed: Callable[[], None]) -> None:
        """Send no offset by itself from now on. ``on_owed`` is called when `owes` may have become true."""
        self._on_owed = on_owed
        self._owed = self._offset

    async def handed_over(self) -> None:
        """Wait until no offset that was sent before `hand_over` is without an answer."""
        while self._in_call and not self.sealed:
            self._answers.clear()
            await self._answers.wait()

    @property
    def owed(self) -> int | None:
        """A checkpoint from before the first record, or one that was ahead of what had been delivered; None: none."""
        waits = not self.sealed and min(self._owed, self._delivered) > self._sent
        return self._owed if waits else None

    def take_commit(self, offset: int) -> pb.CheckpointEntry | None:
        """Return the entry of a checkpoint that goes with records, and count it as sent; None: it changes nothing."""
        self._offset = max(self._offset, offset)
        reached = min(offset, self._delivered)
        if offset > reached:
            self._owed = offset
        return None if self.sealed or reached <= self._sent else self._entry(reached)

    def commit_refused(self) -> None:
        """Note that the call changed nothing: what it carried has to be sent again."""
        self._sent = self._accepted
        self._told = None

    def _answer_came(self) -> None:
        self._in_call = False
        self._answers.set()

    def failed(self) -> None:
        """Note that the request did not come through: what it carried has to be sent again."""
        if self._in_call:
            self._sent = self._accepted
        self._told = None
        self._answer_came()
        if not self.sealed:
            self._mark()

    def answered(self, entry: pb.CheckpointEntry, result: pb.CheckpointResult) -> None:
        """Take the sidecar's answer to ``entry``."""
        self._answer_came()
        match result.outcome:
            case (
                pb.CHECKPOINT_OUTCOME_ACCEPTED
                | pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING
                | pb.CHECKPOINT_OUTCOME_IGNORED_LOWER
            ):
                if entry.HasField("offset"):
                    self._accepted = max(self._accepted, entry.offset)
                    self._states.accepted(entry.offset)
            case pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED:
                # The offset is kept: `delivered_to` sends it with the next frame. A frame that came while the call
                # was under way has called `delivered_to` already, so this looks once more.
                self._sent = self._accepted
                self._owed = max(self._owed, self._offset)
                arrived = self._delivered
                self._delivered = min(arrived, result.delivered if result.HasField("delivered") else _NONE)
                if arrived > entry.offset:
                    self.delivered_to(arrived)
            case pb.CHECKPOINT_OUTCOME_STALE_LEASE:
                log.debug("lease %s... is over: its checkpoints are dropped", self.lease[:8])
                self.seal()
            case other:  # of a newer sidecar: unknown here, so nothing counts as accepted
                log.warning("the sidecar answered a checkpoint with outcome %s, unknown here", other)

    def seal(self, below: int | None = None) -> pb.CheckpointEntry | None:
        """Take no more checkpoints; returns the last one for Closed and Error, or None if it is accepted already.

        ``below``: the offset that failed. A checkpoint at or above it is dropped and never sent, since the handler
        did not finish that message. The checkpoint before it is not known any more; the last accepted one holds.
        """
        if self.sealed:
            return None
        self.sealed = True
        self._sink.forget(self)
        self._answers.set()
        offset = min(self._offset, self._delivered)
        # A checkpoint after records that are not answered yet must not overtake them.
        if offset <= self._accepted or (below is not None and offset >= below) or self._on_owed is not None:
            return None
        entry = pb.CheckpointEntry(lease=self.lease, offset=offset)
        self._states.add_to(entry)
        if self.handled > _NONE:
            entry.handled = self.handled
        self._tell_skipped(entry, offset)
        return entry

    def _tell_skipped(self, entry: pb.CheckpointEntry, offset: int) -> None:
        """Add the skipped messages to the entry with the offset.

        So both count or neither does, and a message that comes again is not counted twice. For the same reason the
        count is left out when the entry has the delivered offset and the lambda's own offset is above it.
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
    """Sends the progress of all leases: one call in flight with all that moved, and no more calls than needed."""

    def __init__(
        self,
        call: Callable[[pb.CheckpointRequest], Awaitable[pb.CheckpointResponse]],
        times: HandlerTimes,
        *,
        spacing: float = SPACING_S,
        handled_interval: float = HANDLED_INTERVAL_S,
    ) -> None:
        self._call = call
        self._times = times
        self._times_due = False
        self._spacing = spacing
        self._handled_interval = handled_interval
        self.limits = Limits()
        """What the present sidecar takes."""
        self._leases: set[LeaseProgress] = set()
        self._moved: dict[LeaseProgress, None] = {}
        self._wake = asyncio.Event()
        self._hurried = asyncio.Event()

    def add(self, progress: LeaseProgress) -> None:
        """Send the progress of this lease from now on."""
        self._leases.add(progress)

    def changed(self, progress: LeaseProgress) -> None:
        """Send the lease with the next call."""
        self._moved[progress] = None
        self._wake.set()
        if progress.urgent:
            self._hurried.set()

    def hurry(self) -> None:
        """Make the next call now."""
        self._hurried.set()

    def forget(self, progress: LeaseProgress) -> None:
        """Send nothing more of this lease."""
        self._leases.discard(progress)
        self._moved.pop(progress, None)

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        retry = 0.0
        last = float("-inf")
        tick: asyncio.TimerHandle | None = None

        def look_at_handled() -> None:
            nonlocal tick
            for progress in self._leases:
                progress.handled_moved()
            self._times_due = bool(self._times and self._leases)
            if self._times_due:
                self._wake.set()
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
        """Make one call; returns the seconds to wait before the next one, 0 when it came through."""
        sent = self._collect()
        times = self._take_times()
        if not sent and times is None:
            return 0.0
        try:
            response = await self._call(pb.CheckpointRequest(entries=sent.values(), handler_times=times))
            _check_results(response, len(sent))
        except (LinkError, RefusedError) as error:
            if not retry:
                log.warning("checkpoints do not come through, they are kept and sent again: %s", error)
            for progress in sent:
                progress.failed()
            if times is not None:
                self._times.put_back(times)
            return min(_MAX_RETRY_S, retry * 2) or _MIN_RETRY_S
        if retry:
            log.info("checkpoints come through again")
        for (progress, entry), result in zip(sent.items(), response.results, strict=True):
            progress.answered(entry, result)
        return 0.0

    def _take_times(self) -> pb.HandlerTimes | None:
        """The times of handlers, if they are due; None: not now."""
        if not self._times_due or not self._leases:
            return None
        self._times_due = False
        return self._times.take(next(iter(self._leases)).lease)

    def _collect(self) -> dict[LeaseProgress, pb.CheckpointEntry]:
        sent: dict[LeaseProgress, pb.CheckpointEntry] = {}
        size = 0
        max_bytes = max(1, self.limits.request_bytes - _ENTRY_BYTES)
        while self._moved and len(sent) < self.limits.checkpoint_entries and size < max_bytes:
            progress = next(iter(self._moved))
            del self._moved[progress]
            entry = progress.take()
            if entry is not None:
                sent[progress] = entry
                size += entry.ByteSize() + 4  # and the bytes that precede it in the request
        if not self._moved:
            self._wake.clear()
            self._hurried.clear()
        return sent


def _check_results(response: pb.CheckpointResponse, count: int) -> None:
    if len(response.results) != count:
        raise LinkError(f"{len(response.results)} results for {count} checkpoints")


def checked_skipped(count: int, skipping: Sequence[str], skipping_count: int | None) -> Skipped:
    """Make the arguments of `IContext.skipped` fit an entry. Raises ``TypeError`` or ``ValueError``."""
    if isinstance(skipping, str | bytes) or not all(isinstance(name, str) for name in skipping):
        raise TypeError(f"skipped(skipping): expected a sequence of texts, got {skipping!r:.100}")
    things = len(skipping) if skipping_count is None else _checked("skipped(skipping_count)", skipping_count)
    if min(_checked("skipped(count)", count), things) < 0:
        raise ValueError(f"skipped(count, skipping, skipping_count): not negative, got {count}, {things}")
    return (
        min(count, _MAX_COUNT),
        tuple(clip(name, MAX_NAME_BYTES) for name in skipping[-MAX_NAMES:]),
        min(things, _MAX_COUNT),
    )


def _checked(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    hint = ": pass its offset" if hasattr(value, "offset") else ""
    raise TypeError(f"{name} takes an int, got {type(value).__name__}{hint}")
