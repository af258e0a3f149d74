"""The kit answers calls as the sidecar does."""

from __future__ import annotations

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.lives import Lives
from sidecar.conformance.records import Rec, batch_of

DELIVERED = 4


@pytest.fixture
def lives() -> Lives:
    """One lease, `a`, with records 0 to 4, of which 2 is checkpointed."""
    made = Lives()
    made.see(Event(0, Kind.OPENED, 1, 1))
    for frame in (
        pb.HostFrame(assigned=pb.Assigned(lease="a", topic="t", start_offset=0, attempt=1)),
        pb.HostFrame(batch=batch_of([Rec(offset) for offset in range(DELIVERED + 1)])),
    ):
        made.see(Event(0, Kind.SENT, stream=1, message=frame))
    made.see(Event(0, Kind.FRAME, stream=1, message=pb.LambdaFrame(ready=pb.Ready(lease="a"))))
    entry = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="a", offset=2)])
    made.see(Event(0, Kind.CALL, call=1, message=entry))
    made.see(Event(0, Kind.ANSWERED, call=1, message=answers.checkpoints(entry, made, 0)))
    return made


def _outcome(lives: Lives, offset: int, lease: str = "a", now: float = 0.0) -> pb.CheckpointResult:
    request = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease=lease, offset=offset)])
    [result] = answers.checkpoints(request, lives, now).results
    return result


def _revoke(lives: Lives, reason: pb.RevokeReason, deadline_ms: int) -> None:
    frame = pb.HostFrame(revoked=pb.Revoked(reason=reason, deadline_ms=deadline_ms))
    lives.see(Event(1, Kind.SENT, stream=1, message=frame))


def test_outcomes_of_checkpoints(lives: Lives) -> None:
    assert _outcome(lives, 3).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED
    assert _outcome(lives, 1).outcome == pb.CHECKPOINT_OUTCOME_IGNORED_LOWER
    assert _outcome(lives, 3, "b").outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
    beyond = _outcome(lives, 5)
    assert (beyond.outcome, beyond.delivered) == (pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED, DELIVERED)


def test_while_it_drains_and_after(lives: Lives) -> None:
    _revoke(lives, pb.REVOKE_REASON_REBALANCE, 1000)
    assert _outcome(lives, 3, now=1.9).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING
    assert _outcome(lives, 3, now=2.1).outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE


def test_a_lost_lease_is_dead_at_once(lives: Lives) -> None:
    _revoke(lives, pb.REVOKE_REASON_LOST, 0)
    assert _outcome(lives, 3, now=1).outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (pb.ERROR_ACTION_RESTART, pb.ERROR_OUTCOME_RESTARTING),
        (pb.ERROR_ACTION_CRITICAL, pb.ERROR_OUTCOME_HALTED),
        (pb.ERROR_ACTION_REPORT, pb.ERROR_OUTCOME_REPORTED),
    ],
)
def test_outcomes_of_errors(lives: Lives, action: pb.ErrorAction, outcome: pb.ErrorOutcome) -> None:
    request = pb.ErrorRequest(lease="a", action=action)
    assert answers.error(request, lives, again=False).outcome == outcome
    assert answers.error(request, lives, again=True).outcome == pb.ERROR_OUTCOME_STALE_LEASE


def test_an_error_ends_the_lease(lives: Lives) -> None:
    request = pb.ErrorRequest(lease="a", action=pb.ERROR_ACTION_RESTART, last_checkpoint=pb.CheckpointEntry(offset=3))
    lives.see(Event(1, Kind.CALL, call=2, message=request))
    assert _outcome(lives, 4).outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
    lives.see(Event(1, Kind.ANSWERED, call=2, message=pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING)))
    assert lives.leases["a"].accepted == 3


def test_the_log() -> None:
    log = answers.Log()
    request = pb.ProduceRequest(
        lease="a",
        topics=["t"],
        values=[b"a", b"b", b"c"],
        header_counts=[0, 1, 0],
        header_names=[b"\xff"],
        header_values=[b""],
    )
    response = log.write(request)
    written, failed = pb.PRODUCE_OUTCOME_WRITTEN, pb.PRODUCE_OUTCOME_FAILED
    assert [*response.outcomes] == [written, failed, written]
    assert [*response.offsets] == [0, -1, 1]
    assert [record.value for record in log.records] == [b"a", b"c"]
