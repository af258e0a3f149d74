"""How the sidecar answers calls: from what is true of the leases. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.lives import Life, Lives
from sidecar.producing.outcomes import Outgoing
from sidecar.server import producing


def checkpoints(request: pb.CheckpointRequest, lives: Lives, now: float) -> pb.CheckpointResponse:
    """The response to Checkpoint."""
    results = [checkpoint(entry, lives.leases.get(entry.lease), now) for entry in request.entries]
    return pb.CheckpointResponse(results=results)


def checkpoint(entry: pb.CheckpointEntry, life: Life | None, now: float) -> pb.CheckpointResult:
    """What becomes of one checkpoint, of a lease that may be unknown."""
    if life is None or life.dead(now):
        return pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)
    if life.welcome is not None and len(entry.state) > life.welcome.max_state_bytes:
        return pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STATE_TOO_LARGE)
    if entry.HasField("offset") and entry.offset > life.last_delivered:
        return beyond(life)
    if entry.HasField("offset") and entry.offset < life.accepted:
        return pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_IGNORED_LOWER)
    draining = life.revoked is not None
    return pb.CheckpointResult(
        outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING if draining else pb.CHECKPOINT_OUTCOME_ACCEPTED
    )


def is_accepted(result: pb.CheckpointResult) -> bool:
    """Whether the checkpoint counts."""
    return result.outcome in (pb.CHECKPOINT_OUTCOME_ACCEPTED, pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING)


def beyond(life: Life) -> pb.CheckpointResult:
    """BEYOND_DELIVERED, with the last offset that was delivered."""
    delivered = life.last_delivered if life.last_delivered >= 0 else None
    return pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED, delivered=delivered)


def error(request: pb.ErrorRequest, lives: Lives, *, again: bool) -> pb.ErrorResponse:
    """The response to Error; ``again``: the lease had failed before."""
    life = lives.leases.get(request.lease)
    if life is None or life.over or again:
        return pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_STALE_LEASE)
    if request.action == pb.ERROR_ACTION_REPORT:
        return pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_REPORTED)
    if request.action == pb.ERROR_ACTION_CRITICAL and life.ready:
        return pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_HALTED)
    return pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING, retry_after_ms=100)


class Placed(NamedTuple):
    """What became of one record."""

    outcome: pb.ProduceOutcome
    partition: int = -1
    offset: int = -1
    error: str = ""


class Log:
    """The topics to which Kafka would have written."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self._next: dict[tuple[str, int], int] = {}

    def write(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Write all records of a request that `producing.outgoing` takes, but for those that Kafka cannot take."""
        return produced([self.place(record) for record in producing.outgoing(request)])

    def place(self, record: Outgoing) -> Placed:
        """Write a record, unless Kafka cannot take it."""
        if record.refusal:
            return Placed(pb.PRODUCE_OUTCOME_FAILED, error=record.refusal)
        partition = max(0, record.partition)
        offset = self._next.get((record.topic, partition), 0)
        self._next[record.topic, partition] = offset + 1
        self.records.append(record)
        return Placed(pb.PRODUCE_OUTCOME_WRITTEN, partition, offset)


def produced(placed: Sequence[Placed]) -> pb.ProduceResponse:
    """The response to Produce."""
    return pb.ProduceResponse(
        outcomes=[one.outcome for one in placed],
        partitions=[one.partition for one in placed],
        offsets=[one.offset for one in placed],
        errors=[one.error for one in placed] if any(one.error for one in placed) else (),
    )


def stale(request: pb.ProduceRequest) -> pb.ProduceResponse:
    """The response to a request whose lease is dead."""
    response = nothing_written(len(request.values), pb.PRODUCE_OUTCOME_STALE_LEASE, "the lease is dead")
    if request.HasField("commit"):
        response.commit.outcome = pb.CHECKPOINT_OUTCOME_STALE_LEASE
    return response


def nothing_written(
    count: int, outcome: pb.ProduceOutcome, text: str = "", retry_after_ms: int = 0
) -> pb.ProduceResponse:
    """The response when none of ``count`` records was written."""
    return pb.ProduceResponse.FromString(producing.nothing_written(count, outcome, text, retry_after_ms))
