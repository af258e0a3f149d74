"""What is true of each stream and lease after the events so far. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Event, Kind

DEAD_AT_ONCE = (pb.REVOKE_REASON_LOST, pb.REVOKE_REASON_SEEK, pb.REVOKE_REASON_ABORTED)


@dataclass(slots=True)
class Life:
    """One stream: spare at first, then one partition's life."""

    stream: int
    connection: int
    offer: pb.Offer | None = None
    welcome: pb.Welcome | None = None
    available: bool = False
    assigned: pb.Assigned | None = None
    assigned_at: float = 0.0
    ready: bool = False
    delivered: set[int] = field(default_factory=set)
    """Offsets of all records that were sent under the lease."""
    last_delivered: int = -1
    told: int = -1
    """The highest offset in a request, unless it was answered with BEYOND_DELIVERED."""
    accepted: int = -1
    """The highest offset that was accepted, in a call, in Closed or in Error."""
    entry: pb.CheckpointEntry | None = None
    """The last entry that a call carried."""
    state: bytes | None = None
    """The state that was accepted last under the lease; None: no entry had one."""
    committed: int = -1
    """The highest offset that the client was told to be committed."""
    progress: pb.Progress | None = None
    """The latest progress."""
    progress_at: float = 0.0
    pause: pb.Pause | None = None
    """The latest pause."""
    revoked: pb.Revoked | None = None
    revoked_at: float = 0.0
    errors: list[int] = field(default_factory=list)
    """The numbers of the calls Error that end the lease."""
    failed_at: float | None = None
    """When the first of them came."""
    acknowledged: bool = False
    """One of them was answered with a message."""
    stale_at: float | None = None
    """When the client was told that the lease is dead."""
    closed: pb.Closed | None = None
    closed_at: float = 0.0
    half_closed: bool = False
    over: bool = False

    @property
    def lease(self) -> str:
        """The lease; empty: a spare stream."""
        return "" if self.assigned is None else self.assigned.lease

    @property
    def partition(self) -> tuple[str, int, int] | None:
        """Topic, partition and lane."""
        assigned = self.assigned
        return None if assigned is None else (assigned.topic, assigned.partition, assigned.lane)

    @property
    def exactly_once(self) -> bool:
        """The guarantee of its lambda."""
        return self.welcome is not None and self.welcome.guarantee == pb.GUARANTEE_EXACTLY_ONCE

    def accept(self, entry: pb.CheckpointEntry) -> None:
        """Take a checkpoint that counts."""
        if not entry.HasField("offset") or entry.offset <= self.accepted:
            return
        self.accepted = entry.offset
        if entry.HasField("state"):
            self.state = entry.state

    @property
    def spare(self) -> bool:
        """Whether the stream waits for a partition."""
        return self.assigned is None and not self.over and self.closed is None

    def dead(self, now: float) -> bool:
        """Whether the lease is dead, so that what comes with it changes nothing."""
        if self.assigned is None or self.over or self.closed is not None or self.failed_at is not None:
            return True
        if self.revoked is None:
            return False
        return self.revoked.reason in DEAD_AT_ONCE or now > self.revoked_at + self.revoked.deadline_ms / 1000


@dataclass(slots=True)
class Calling:
    """A call of the client."""

    number: int
    connection: int
    request: Message
    at: float
    open: bool = True
    gone: bool = False
    """The client gave it up, or its connection is over."""
    answer: Message | None = None


class Lives:
    """All streams, leases and calls of one process, from the events alone."""

    def __init__(self) -> None:
        self.streams: dict[int, Life] = {}
        self.leases: dict[str, Life] = {}
        self.calls: dict[int, Calling] = {}

    def see(self, event: Event) -> None:
        """Take one event."""
        life = self.streams.get(event.stream)
        match event.kind:
            case Kind.OPENED:
                self.streams[event.stream] = Life(event.stream, event.connection)
            case Kind.FRAME if life is not None and isinstance(event.message, pb.LambdaFrame):
                _frame(life, event.message, event.at)
            case Kind.SENT if life is not None and isinstance(event.message, pb.HostFrame):
                self._sent(life, event.message, event.at)
            case Kind.HALF_CLOSED if life is not None:
                life.half_closed = True
            case Kind.BROKE | Kind.ENDED if life is not None:
                life.over = True
            case Kind.CUT:
                self._cut(event.connection)
            case Kind.CALL if event.message is not None:
                self.calls[event.call] = Calling(event.call, event.connection, event.message, event.at)
                self._called(event)
            case Kind.ANSWERED | Kind.GONE:
                self._answered(event)
            case _:
                pass

    def _cut(self, connection: int) -> None:
        for life in self.streams.values():
            if life.connection == connection:
                life.over = True
        for call in self.calls.values():
            if call.connection == connection and call.open:
                call.open, call.gone = False, True

    def _sent(self, life: Life, frame: pb.HostFrame, at: float) -> None:
        match frame.WhichOneof("frame"):
            case "welcome":
                life.welcome = frame.welcome
            case "assigned":
                life.assigned, life.assigned_at = frame.assigned, at
                self.leases[frame.assigned.lease] = life
            case "batch":
                offsets = offsets_of(frame.batch)
                life.delivered.update(offsets)
                life.last_delivered = max(offsets, default=life.last_delivered)
            case "resumed" if life.pause is not None and life.pause.HasField("offset"):
                if frame.resumed.number == life.pause.number:  # what came from there on was void
                    first = frame.resumed.from_offset
                    life.last_delivered = min(life.last_delivered, first - 1)
                    life.delivered = {offset for offset in life.delivered if offset < first}
            case "revoked":
                life.revoked, life.revoked_at = frame.revoked, at
            case "committed":
                life.committed = max(life.committed, frame.committed.offset)
            case _:
                pass

    def _called(self, event: Event) -> None:
        match event.message:
            case pb.CheckpointRequest():
                for entry in event.message.entries:
                    life = self.leases.get(entry.lease)
                    if life is not None:
                        life.entry = entry
                        _tell(life, entry)
            case pb.ProduceRequest() if event.message.HasField("commit"):
                life = self.leases.get(event.message.lease)
                if life is not None:
                    _tell(life, event.message.commit)
            case pb.ErrorRequest() if event.message.action != pb.ERROR_ACTION_REPORT:
                life = self.leases.get(event.message.lease)
                if life is not None:
                    life.errors.append(event.call)
                    life.failed_at = event.at if life.failed_at is None else life.failed_at
            case _:
                pass

    def _answered(self, event: Event) -> None:
        call = self.calls.get(event.call)
        if call is None or not call.open:
            return
        call.open, call.gone, call.answer = False, event.kind is Kind.GONE, event.message
        match call.request, event.message:
            case pb.CheckpointRequest() as request, pb.CheckpointResponse() as response:
                for entry, result in zip(request.entries, response.results, strict=False):
                    _result(self.leases.get(entry.lease), entry, result, event.at)
            case pb.ErrorRequest() as request, pb.ErrorResponse():
                life = self.leases.get(request.lease)
                if life is not None and call.number in life.errors:
                    life.acknowledged = True
                    life.accept(request.last_checkpoint)
            case pb.ProduceRequest() as request, pb.ProduceResponse() as response if request.HasField("commit"):
                _result(self.leases.get(request.lease), request.commit, response.commit, event.at)
            case _:
                pass


def _frame(life: Life, frame: pb.LambdaFrame, at: float) -> None:
    match frame.WhichOneof("frame"):
        case "offer":
            life.offer = frame.offer
        case "available":
            life.available = True
        case "ready":
            life.ready = True
        case "pause":
            life.pause = frame.pause
        case "progress":
            life.progress, life.progress_at = frame.progress, at
        case "closed":
            if not life.dead(at):
                life.accept(frame.closed.last_checkpoint)
            life.closed, life.closed_at = frame.closed, at
        case _:
            pass


def _tell(life: Life, entry: pb.CheckpointEntry) -> None:
    if entry.HasField("offset"):
        life.told = max(life.told, entry.offset)


def _result(life: Life | None, entry: pb.CheckpointEntry, result: pb.CheckpointResult, at: float) -> None:
    if life is None:
        return
    if result.outcome in (pb.CHECKPOINT_OUTCOME_ACCEPTED, pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING):
        life.accept(entry)
    elif result.outcome == pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED:
        # It does not count. The next one is bounded by what was delivered, and so may be lower: a client that has not
        # read the next Batch by then says so.
        delivered = result.delivered if result.HasField("delivered") else -1
        life.told = min(life.told, max(delivered, life.accepted))
    elif result.outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE and life.stale_at is None:
        life.stale_at = at


def offsets_of(batch: pb.Batch) -> list[int]:
    """The offset of each record of a frame."""
    if batch.offsets:
        return [*batch.offsets]
    return [*range(batch.first_offset, batch.first_offset + len(batch.values))]
