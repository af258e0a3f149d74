"""How the sidecar answers calls: from what is true of the leases. Pure."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.lives import Life, Lives
from sidecar.producing.outcomes import Outgoing
from sidecar.server import producing


def checkpoints(request: pb.CheckpointRequest, lives: Lives, now: float) -> pb.CheckpointResponse:
    """The response to Checkpoint."""
    return pb.CheckpointResponse(results=[_result(entry, lives, now) for entry in request.entries])


def _result(entry: pb.CheckpointEntry, lives: Lives, now: float) -> pb.CheckpointResult:
    life = lives.leases.get(entry.lease)
    if life is None or life.dead(now):
        return pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)
    if entry.HasField("offset") and entry.offset > life.last_delivered:
        return beyond(life)
    if entry.HasField("offset") and entry.offset < life.accepted:
        return pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_IGNORED_LOWER)
    draining = life.revoked is not None
    return pb.CheckpointResult(
        outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING if draining else pb.CHECKPOINT_OUTCOME_ACCEPTED
    )


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


class Log:
    """The topics to which Kafka would have written."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self._next: dict[tuple[str, int], int] = {}

    def write(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Write all records of a request that `producing.outgoing` takes, but for those that Kafka cannot take."""
        outcomes: list[pb.ProduceOutcome] = []
        partitions, offsets, errors = [], [], []
        for record in producing.outgoing(request):
            partition = max(0, record.partition)
            offset = self._next.get((record.topic, partition), 0)
            refused = record.refusal
            if not refused:
                self._next[record.topic, partition] = offset + 1
                self.records.append(record)
            outcomes.append(pb.PRODUCE_OUTCOME_FAILED if refused else pb.PRODUCE_OUTCOME_WRITTEN)
            partitions.append(-1 if refused else partition)
            offsets.append(-1 if refused else offset)
            errors.append(refused)
        return pb.ProduceResponse(
            outcomes=outcomes, partitions=partitions, offsets=offsets, errors=errors if any(errors) else ()
        )


def nothing_written(
    count: int, outcome: pb.ProduceOutcome, text: str = "", retry_after_ms: int = 0
) -> pb.ProduceResponse:
    """The response when none of ``count`` records was written."""
    return pb.ProduceResponse.FromString(producing.nothing_written(count, outcome, text, retry_after_ms))
