"""Helpers for tests of dead letters: a lambda that fails, and the dead letters in the topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.hand_client import HandClient
from tests.integration.harness import NAME, PATIENCE, Program, Sidecar, Stage
from tests.servers.topics import Stored, read_all

CONNECT = "__connect.errors."
OURS = "__kafka_sidecar.errors."
ADDED = [
    *(f"{CONNECT}{name}" for name in ("topic", "partition", "offset")),
    *(f"{CONNECT}exception.{name}" for name in ("class.name", "message", "stacktrace")),
    *(f"{OURS}{name}" for name in ("timestamp", "timestamp.type")),
    *(f"{OURS}{name}" for name in ("code", "attempts", "first.failure", "last.failure")),
    *(f"{OURS}{name}" for name in ("lambda", "lambda.version", "group")),
]
"""The headers that a dead letter has after its record's own, in order."""


def dead_topic(stage: Stage) -> str:
    """The default topic of the dead letters."""
    return f"{stage.topic}.{NAME}.dead-letter"


def read_dead(stage: Stage, topic: str = "") -> list[Stored]:
    """All dead letters so far."""
    return read_all(stage.broker.address, topic or dead_topic(stage))


def added(letter: Stored) -> dict[str, str]:
    """The headers of a dead letter about its failure, which are its last ones."""
    assert letter.headers is not None
    own = letter.headers[-len(ADDED) :]
    assert [name for name, _ in own] == ADDED
    return {name: (value or b"").decode() for name, value in own}


def sources(letters: Sequence[Stored]) -> list[checks.RecordId]:
    """The records from which the dead letters come, in order."""
    said = map(added, letters)
    return sorted((int(one[f"{CONNECT}partition"]), int(one[f"{CONNECT}offset"])) for one in said)


def start_failing(
    stage: Stage, record_ids: Sequence[checks.RecordId], *, native: bool = True, **settings: Any
) -> tuple[Sidecar, Program]:
    """A sidecar with the policy, and a lambda that fails at these records."""
    sidecar = stage.sidecar(on_critical="dead-letter", native=native)
    return sidecar, stage.process(sidecar, module="failing", fail_records=record_ids, **settings)


def check_left_out(stage: Stage, dead: Sequence[checks.RecordId]) -> None:
    """All records but the dead ones were handled, in order and without a gap, and the lag is 0."""
    stage.wait_until_handled(len(stage.produced) - len(dead))
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(stage.produced, events, left_out=dead)
    checks.gapless_leases(stage.produced, events, left_out=dead)


def fail(client: HandClient, offset: int | None, **fields: Any) -> int:
    """Report a critical error, and close. Returns the outcome: what becomes of the partition."""
    request = pb.ErrorRequest(
        lease=client.lease, action=pb.ERROR_ACTION_CRITICAL, offset=offset, message="cannot", **fields
    )
    answer: pb.ErrorResponse = client.stub.Error(request, timeout=PATIENCE)
    client.close(pb.CLOSED_REASON_ERROR)
    return answer.outcome


def failures_of(stage: Stage) -> list[checks.RecordId]:
    """The records at which the lambda failed, each time."""
    return [(event.partition, event.offset) for event in stage.history.events("failing")]
