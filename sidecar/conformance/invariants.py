"""What holds in every case, whatever its script does. Pure: events go in, broken rules come out.

A client and its server see some things in another order: a client cancels a stream and opens the next one, and the
server's code may hear of the second first. So what may look wrong for a moment is a *suspicion*, which counts when it
is still true after its grace.
"""

from __future__ import annotations

from collections.abc import Iterator

from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.protocol.names import name_of
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.lives import DEAD_AT_ONCE, Life, Lives
from sidecar.conformance.rules import Broken
from sidecar.conformance.suspicions import Suspicions

GRACE_S = 1.0
"""Seconds after which what was true on one side is known on both."""
HALF_CLOSE_S = 6.0
"""Seconds in which a half-close follows Closed, also where hundreds of streams are closed together."""
LATE_S = 1.0
"""Seconds in which a client has read what was sent to it, and stopped what it was about to send."""
MAX_STREAMS_PER_CONNECTION = 64
MIN_PROGRESS_S = 0.5
"""Less than the second that lies between two frames Progress: either may come late."""

Found = Iterator[Broken]


class Invariants:
    """The rules that hold always, for the events of one process at a time."""

    def __init__(self, lambda_name: str = "", *, ahead: bool = False) -> None:
        """``ahead``: the lambda may checkpoint offsets that were not delivered yet."""
        self.lives = Lives()
        self._name = lambda_name
        self._ahead = ahead
        self._process_id = ""
        self._signalled: float | None = None
        """When the process was told to end."""
        self._suspicions = Suspicions()
        self._calling: set[int] = set()
        """The connections that have carried a call."""

    def see(self, event: Event) -> list[Broken]:
        """Take one event; returns the rules that it breaks."""
        found = [*self._suspicions.judged(event.at)]
        if event.kind is Kind.STARTED:
            self._process_id = ""
            self._signalled = None
        elif event.kind is Kind.SIGNALLED:
            self._signalled = event.at
        elif event.kind is Kind.INVALID:
            found.append(Broken(event.rule, event.note))
        elif event.kind is Kind.CALMED:
            found.append(Broken(44, "gRPC ended a connection: it was pinged more than once a second"))
        elif event.kind is Kind.FRAME:
            found += self._frame(event)
        elif event.kind is Kind.CALL:
            found += self._call_before(event)
        self.lives.see(event)
        if event.kind is Kind.OPENED:
            found += self._opened(event)
        elif event.kind is Kind.CALL:
            self._call_after(event)
        return found

    def finish(self, now: float) -> list[Broken]:
        """Find what only the end can tell: suspicions that are still true."""
        return [*self._suspicions.judged(now)]

    # --- streams ----------------------------------------------------------------------------------------------

    def _opened(self, event: Event) -> Found:
        spares = [life for life in self.lives.streams.values() if life.spare]
        if len(spares) > 1:
            first, last = spares[0], spares[-1]
            numbers = f"streams {first.stream} and {last.stream}"
            text = f"{numbers} are spare at the same time"
            self._suspicions.add(event.at + GRACE_S, lambda: first.spare and last.spare, 4, text)
        beside = [s for s in self.lives.streams.values() if s.connection == event.connection and not s.over]
        if event.connection and len(beside) > MAX_STREAMS_PER_CONNECTION:
            yield Broken(43, f"{len(beside)} streams on connection {event.connection}")
        if self._signalled is not None and event.at - self._signalled > LATE_S:
            yield Broken(42, f"stream {event.stream} is opened, though the process was told to end")
        if event.connection in self._calling:
            yield Broken(43, f"stream {event.stream} is on connection {event.connection}, which carries calls")

    def _frame(self, event: Event) -> Found:
        life = self.lives.streams.get(event.stream)
        frame = event.message
        if life is None or not isinstance(frame, pb.LambdaFrame):
            return
        kind = frame.WhichOneof("frame") or "an empty frame"
        if life.closed is not None:
            yield Broken(7, f"{kind} on stream {life.stream} after Closed")
        if (life.offer is None) != (kind == "offer"):
            yield Broken(2 if kind == "offer" else 7, f"{kind} on stream {life.stream}: Offer comes first, and once")
        match kind:
            case "offer":
                yield from self._offer(frame.offer)
            case "available" if life.available:
                yield Broken(7, f"Available comes twice on stream {life.stream}")
            case "ready":
                yield from self._ready(life, frame.ready)
            case "pause":
                yield from _pause(life, frame.pause)
            case "progress":
                yield from _progress(life, event.at)
            case "resume" if not life.ready:
                yield Broken(7, f"Resume on stream {life.stream} before Ready")
            case "closed":
                yield from self._closed(life, frame.closed, event.at)
            case _:
                pass

    def _offer(self, offer: pb.Offer) -> Found:
        if self._name and offer.lambda_name != self._name:
            yield Broken(2, f"Offer.lambda_name is {offer.lambda_name!r}, not {self._name!r}")
        if self._process_id and offer.process_id != self._process_id:
            yield Broken(1, "process_id is another one than on the streams before")
        self._process_id = offer.process_id

    def _ready(self, life: Life, ready: pb.Ready) -> Found:
        if life.assigned is None or life.ready:
            yield Broken(7, f"Ready on stream {life.stream} comes twice, or before Assigned")
        elif ready.lease != life.lease:
            yield Broken(7, f"Ready on stream {life.stream} has lease {ready.lease!r}, not {life.lease!r}")
        for old in self.lives.streams.values():
            same = old is not life and old.partition is not None and old.partition == life.partition
            if same and old.ready and old.closed is None and not old.over:
                yield Broken(6, f"Ready on stream {life.stream} before Closed of the old lambda on {old.stream}")

    # --- Closed -----------------------------------------------------------------------------------------------

    def _closed(self, life: Life, closed: pb.Closed, now: float) -> Found:
        self._suspicions.add(
            now + HALF_CLOSE_S,
            lambda: not life.half_closed and not life.over,
            7,
            f"no half-close follows Closed on stream {life.stream}",
        )
        yield from self._closed_reason(life, closed)
        if any(self.lives.calls[number].open for number in life.errors):
            yield Broken(25, f"Closed on stream {life.stream} before the response to Error")
        elif life.errors and not life.acknowledged:
            yield Broken(26, f"Closed on stream {life.stream}, though Error got no response")
        if not closed.HasField("last_checkpoint"):
            return
        entry = closed.last_checkpoint
        if life.errors and entry.HasField("offset"):
            yield Broken(24, f"Closed on stream {life.stream} has a checkpoint, after an Error")
        yield from self._unanswered(life, entry, "Closed.last_checkpoint")
        yield from self._entry(life, entry, "Closed.last_checkpoint")

    def _closed_reason(self, life: Life, closed: pb.Closed) -> Found:
        reason = name_of(pb.ClosedReason, closed.reason)
        right = {
            pb.CLOSED_REASON_REVOKED: life.revoked is not None,
            pb.CLOSED_REASON_DECLINED: not life.ready,
            pb.CLOSED_REASON_STOPPED: self._signalled is not None,
            pb.CLOSED_REASON_ERROR: bool(life.errors),
        }.get(closed.reason, False)
        if not right:
            yield Broken(7, f"Closed on stream {life.stream} has the reason {reason}, which nothing has given")

    # --- calls ------------------------------------------------------------------------------------------------

    def _call_before(self, event: Event) -> Found:
        self._calling.add(event.connection)
        beside = [s for s in self.lives.streams.values() if s.connection == event.connection and not s.over]
        if event.connection and beside:
            yield Broken(43, f"a call on connection {event.connection}, which carries stream {beside[0].stream}")
        match event.message:
            case pb.CheckpointRequest():
                for entry in event.message.entries:
                    yield from self._told(entry, event.at)
            case pb.ErrorRequest():
                yield from self._error(event.message, event.at)
            case pb.ProduceRequest():
                yield from self._produce(event.message, event.at)
            case _:
                pass

    def _call_after(self, event: Event) -> None:
        calls = [call for call in self.lives.calls.values() if call.open]
        match event.message:
            case pb.CheckpointRequest():
                same = [call for call in calls if isinstance(call.request, pb.CheckpointRequest)]
                rule, what = 17, "two calls of Checkpoint are under way"
            case pb.ProduceRequest(lease=lease):
                same = [c for c in calls if isinstance(c.request, pb.ProduceRequest) and c.request.lease == lease]
                rule, what = 28, "two calls of Produce are under way for one lease"
            case _:
                return
        if len(same) > 1:
            first = same[0]  # unless the client had given it up, which is heard of later
            self._suspicions.add(event.at + GRACE_S, lambda: not first.gone, rule, what)

    def _lease(self, lease: str, what: str, now: float) -> Found:
        life = self.lives.leases.get(lease)
        if life is None:
            yield Broken(10, f"{what} has lease {lease!r}, which was not given out")
            return
        # An Error that got no answer is sent again.
        dead_since = [life.stale_at, None if what == "Error" else life.failed_at]
        if life.closed is not None:
            dead_since.append(life.closed_at)
        if life.revoked is not None and life.revoked.reason in DEAD_AT_ONCE:
            dead_since.append(life.revoked_at)
        since = min((at for at in dead_since if at is not None), default=None)
        if since is not None and now - since > LATE_S:
            rule = 24 if since == life.failed_at else 10
            yield Broken(rule, f"{what} with the lease of stream {life.stream}, {now - since:.1f} s after its end")

    def _told(self, entry: pb.CheckpointEntry, now: float) -> Found:
        yield from self._lease(entry.lease, "Checkpoint", now)
        life = self.lives.leases.get(entry.lease)
        if life is None:
            return
        if not entry.HasField("offset"):
            yield from _state(life, entry, "Checkpoint")
            return
        if entry.offset < life.told:
            yield Broken(16, f"Checkpoint {entry.offset} of stream {life.stream} after {life.told}")
        yield from self._unanswered(life, entry, "Checkpoint")
        yield from self._entry(life, entry, "Checkpoint")

    def _produce(self, request: pb.ProduceRequest, now: float) -> Found:
        yield from self._lease(request.lease, "Produce", now)
        life = self.lives.leases.get(request.lease)
        if life is None:
            return
        if request.HasField("commit"):
            if request.commit.offset < life.told:
                yield Broken(16, f"ProduceRequest.commit {request.commit.offset} after {life.told}")
            yield from self._entry(life, request.commit, "ProduceRequest.commit")

    def _unanswered(self, life: Life, entry: pb.CheckpointEntry, what: str) -> Found:
        """With exactly-once a checkpoint commits what is held: what it covers must have come before it."""
        if not life.exactly_once or not entry.HasField("offset"):
            return
        for call in self.lives.calls.values():
            if call.open and isinstance(call.request, pb.ProduceRequest) and call.request.lease == life.lease:
                yield Broken(59, f"{what} of stream {life.stream}, while call {call.number} of Produce is unanswered")

    def _entry(self, life: Life, entry: pb.CheckpointEntry, what: str) -> Found:
        yield from _state(life, entry, what)
        if not entry.HasField("offset") or self._ahead:
            return
        if entry.offset not in life.delivered and entry.offset > life.accepted:
            yield Broken(16, f"{what} of stream {life.stream} names {entry.offset}, which was not delivered")

    def _error(self, request: pb.ErrorRequest, now: float) -> Found:
        yield from self._lease(request.lease, "Error", now)
        life = self.lives.leases.get(request.lease)
        if life is None or not request.HasField("last_checkpoint"):
            return
        last = request.last_checkpoint
        if request.HasField("offset") and last.HasField("offset") and last.offset >= request.offset:
            yield Broken(23, f"Error at offset {request.offset} has last_checkpoint {last.offset}")
        yield from self._unanswered(life, last, "Error.last_checkpoint")
        yield from self._entry(life, last, "Error.last_checkpoint")


def _state(life: Life, entry: pb.CheckpointEntry, what: str) -> Found:
    if not entry.HasField("state"):
        return
    if not entry.HasField("offset"):
        yield Broken(53, f"{what} of stream {life.stream} has a state and no offset")
    most = 0 if life.welcome is None else life.welcome.max_state_bytes
    if len(entry.state) > most:
        text = f"{what} of stream {life.stream} has a state of {len(entry.state)} bytes"
        yield Broken(54, f"{text}, and Welcome.max_state_bytes is {most}")


def _progress(life: Life, now: float) -> Found:
    if not life.ready:
        yield Broken(7, f"Progress on stream {life.stream} before Ready")
    if life.progress is not None and now - life.progress_at < MIN_PROGRESS_S:
        yield Broken(56, f"Progress on stream {life.stream} {now - life.progress_at:.2f} s after the one before")


def _pause(life: Life, pause: pb.Pause) -> Found:
    if not life.ready:
        yield Broken(7, f"Pause on stream {life.stream} before Ready")
    before = 0 if life.pause is None else life.pause.number
    if pause.number <= before or (not before and pause.number != 1):
        yield Broken(37, f"Pause on stream {life.stream} has number {pause.number}, after {before}")
