"""What the sidecar does with exactly-once: it holds what a lambda produces, and writes it with a checkpoint.

Pure: requests go in, responses come out, and what has become visible is noted.
"""

from __future__ import annotations

from typing import NamedTuple

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.lives import Life
from sidecar.producing.outcomes import Outgoing
from sidecar.server import producing
from sidecar.server.frames import InvalidFrameError
from sidecar.server.held import NEXT

HELD = answers.Placed(pb.PRODUCE_OUTCOME_HELD)
_TOO_MUCH = answers.Placed(pb.PRODUCE_OUTCOME_TOO_MUCH_HELD, error="too much waits for a checkpoint")


class Held(NamedTuple):
    """A record that waits for a checkpoint."""

    record: Outgoing
    source: int
    """The offset of the checkpoint that it waits for; -1: any."""


class Commit(NamedTuple):
    """A transaction that has become visible."""

    lease: str
    offset: int
    """Of its checkpoint."""
    records: tuple[Outgoing, ...]


def check(request: pb.ProduceRequest, life: Life | None) -> list[Held]:
    """Check a request as a sidecar does; returns its records. Raises ``InvalidFrameError``, which names the field."""
    records = producing.outgoing(request)
    producing.committing(request)
    if life is not None and not life.exactly_once and (request.sources or request.HasField("commit")):
        field = "commit" if request.HasField("commit") else "sources"
        raise InvalidFrameError(f"{field}: only with exactly-once, and Welcome.guarantee is another")
    sources = [*request.sources] or [NEXT] * len(records)
    return [Held(*one) for one in zip(records, sources, strict=True)]


class Transactions:
    """Those of one process."""

    def __init__(self, log: answers.Log) -> None:
        self.commits: list[Commit] = []
        """In their order."""
        self._log = log
        self._held: dict[str, list[Held]] = {}

    def held(self, lease: str) -> int:
        """How many records wait under a lease."""
        return len(self._held.get(lease, ()))

    def produce(self, request: pb.ProduceRequest, life: Life, now: float) -> pb.ProduceResponse:
        """Take a request of a lease that is alive."""
        records = check(request, life)
        limits = life.welcome.limits if life.welcome is not None else pb.Limits()
        if limits.max_held_records and self.held(request.lease) + len(records) > limits.max_held_records:
            return answers.produced([_TOO_MUCH] * len(records))
        self._held.setdefault(request.lease, []).extend(records)
        if not request.HasField("commit"):
            return answers.produced([HELD] * len(records))
        result = answers.checkpoint(request.commit, life, now)
        if not answers.is_accepted(result):
            response = answers.produced([HELD] * len(records))
        else:
            written = self.commit(request.lease, request.commit.offset)
            response = answers.produced([written.get(id(one.record), HELD) for one in records])
        response.commit.CopyFrom(result)
        return response

    def commit(self, lease: str, offset: int) -> dict[int, answers.Placed]:
        """Make a checkpoint visible, with what waits for it; returns where each record is, by its ``id``."""
        waiting = self._held.pop(lease, [])
        self._held[lease] = [one for one in waiting if one.source > offset]
        records = tuple(one.record for one in waiting if one.source <= offset)
        self.commits.append(Commit(lease, offset, records))
        return {id(record): self._log.place(record) for record in records}

    def drop(self, lease: str) -> None:
        """Forget what waits under a lease, which has ended."""
        self._held.pop(lease, None)
