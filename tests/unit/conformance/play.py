"""Events of one process, as the kit sees them, for tests of its invariants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.invariants import Invariants
from sidecar.conformance.records import Rec, batch_of


@dataclass
class Play:
    """Feeds invariants with the events of one process."""

    ahead: bool = False
    now: float = 0.0
    broken: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._invariants = Invariants("graded", ahead=self.ahead)
        self.add(Kind.STARTED)

    def add(self, kind: Kind, message: Message | None = None, **fields: int) -> None:
        self.now += 0.001
        event = Event(self.now, kind, message=message, **fields)  # type: ignore[arg-type]
        self.broken += [broken.rule for broken in self._invariants.see(event)]

    def frame(self, stream: int, **arm: Message) -> None:
        self.add(Kind.FRAME, pb.LambdaFrame(**arm), stream=stream)  # type: ignore[arg-type]

    def sent(self, stream: int, **arm: Message) -> None:
        self.add(Kind.SENT, pb.HostFrame(**arm), stream=stream)  # type: ignore[arg-type]

    def welcomed(self, stream: int, **fields: Any) -> None:
        self.sent(stream, welcome=pb.Welcome(**fields))

    def produced(self, call: int, lease: str, *values: bytes, commit: int | None = None, **fields: Any) -> None:
        entry = None if commit is None else pb.CheckpointEntry(offset=commit)
        self.called(call, pb.ProduceRequest(lease=lease, topics=["t"], values=values, commit=entry, **fields))

    def opened(self, stream: int, connection: int = 1, process: str = "p") -> None:
        self.add(Kind.OPENED, stream=stream, connection=connection)
        self.frame(stream, offer=pb.Offer(lambda_name="graded", process_id=process, protocol_version=1))
        self.frame(stream, available=pb.Available())

    def running(self, stream: int = 1, partition: int = 0, lane: int = 0) -> str:
        """A stream with a partition and records 0 to 4; returns the lease."""
        self.opened(stream)
        lease = f"lease-{stream}"
        assigned = pb.Assigned(lease=lease, topic="t", partition=partition, start_offset=0, lane=lane)
        self.sent(stream, assigned=assigned)
        self.frame(stream, ready=pb.Ready(lease=lease))
        self.sent(stream, batch=batch_of([Rec(offset) for offset in range(5)]))
        return lease

    def called(self, call: int, request: Message, connection: int = 2) -> None:
        self.add(Kind.CALL, request, call=call, connection=connection)

    def checkpoint(self, call: int, lease: str, offset: int, connection: int = 2) -> None:
        entry = pb.CheckpointEntry(lease=lease, offset=offset)
        self.called(call, pb.CheckpointRequest(entries=[entry]), connection)

    def answered(self, call: int, response: Message | None = None) -> None:
        self.add(Kind.ANSWERED, response, call=call)

    def accepted(self, call: int) -> None:
        result = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)
        self.answered(call, pb.CheckpointResponse(results=[result]))

    def error(self, call: int, lease: str, offset: int | None = None, last: int | None = None) -> None:
        entry = None if last is None else pb.CheckpointEntry(offset=last)
        action = pb.ERROR_ACTION_RESTART
        self.called(call, pb.ErrorRequest(lease=lease, action=action, offset=offset, last_checkpoint=entry))

    def closed(self, stream: int, reason: pb.ClosedReason, last: int | None = None) -> None:
        entry = None if last is None else pb.CheckpointEntry(offset=last)
        self.frame(stream, closed=pb.Closed(reason=reason, last_checkpoint=entry))

    def revoked(self, stream: int, reason: pb.RevokeReason = pb.REVOKE_REASON_HAND_OVER, ms: int = 1000) -> None:
        self.sent(stream, revoked=pb.Revoked(reason=reason, deadline_ms=ms))

    def later(self, seconds: float) -> list[int]:
        """Let time pass; returns all rules that were broken so far."""
        self.now += seconds
        self.broken += [broken.rule for broken in self._invariants.finish(self.now)]
        return self.broken
