"""Answers of sidecars, made of the scenes of explanations."""

from __future__ import annotations

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.addresses import Sidecar
from sidecar.commands.fleet.asking import Answered, Failed
from tests.unit.explain.scenes import HALTED, MINUTE, PAUSED, SECOND, ago, lambda_, partition, process, status, unheld

HERE, THERE, LOST = Sidecar("10.0.0.3:50051"), Sidecar("10.0.0.4:50051"), Sidecar("10.0.0.5:50051")
FAILED = Failed(LOST, f"no answer from {LOST.address} in time; does it run?")


def busy() -> pb.StatusResponse:
    """Two lambdas; billing has a partition that runs, one that is halted, and one that is paused."""
    running = partition(
        0, end=9000, outstanding=40, oldest_outstanding_ms=ago(3 * SECOND), done_per_second=402.4, attempt=2
    )
    halted = unheld(1, state=HALTED, reason="ValueError: no", failing_offset=8813, state_since_ms=ago(9 * MINUTE))
    paused = unheld(2, state=PAUSED, reason="migration", state_since_ms=ago(MINUTE))
    missing = pb.Problem(kind="topics", cause="topic-missing", text="missing topics: a", since_ms=ago(2 * MINUTE))
    return status(
        lambda_(
            running,
            halted,
            paused,
            processes=[process(spare=True, client="py 1", lambda_version="2.3", identity="bills")],
        ),
        lambda_(
            name="scribe",
            group="s",
            topics=["a", "b"],
            problems=[missing],
            processes=[],
            connected=False,
            joined=False,
        ),
    )


def only(answer: pb.StatusResponse) -> list[Answered | Failed]:
    """The answers of one sidecar."""
    return [Answered(HERE, answer)]
