"""Why a life ends: the four reasons, and what the lambda is told of each."""

from dataclasses import dataclass
from typing import Final

from ._awaiting import Deadline
from ._interfaces import CloseReason
from ._reporting import Failure
from .protocol import lambda_pb2 as pb

_STOPPING_REVOKES: Final = frozenset(
    {pb.REVOKE_REASON_SHUTDOWN, pb.REVOKE_REASON_SEEK, pb.REVOKE_REASON_HALTED, pb.REVOKE_REASON_PAUSED}
)
_DEAD_REVOKES: Final = frozenset({pb.REVOKE_REASON_LOST, pb.REVOKE_REASON_SEEK, pb.REVOKE_REASON_ABORTED})
"""The lease is dead when they come."""
WHY_REVOKED: Final = {
    pb.REVOKE_REASON_DEADLINE: ": neither a checkpoint nor progress for the lambda's `deadline`",
    pb.REVOKE_REASON_ABORTED: ": a transaction was aborted, and what was produced in it is not written",
}
"""What the log says after the names of these reasons."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """The sidecar takes the partition back."""

    reason: int
    deadline: Deadline

    @property
    def is_dead(self) -> bool:
        """Whether the lease is dead already."""
        return self.reason in _DEAD_REVOKES


@dataclass(frozen=True, slots=True)
class Stopped:
    """The process ends in order."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream is gone."""

    why: str


Ending = Revoked | Failure | Stopped | Lost


def close_reason(ending: Ending) -> CloseReason:
    """What ``close`` gets when the life ends for this reason."""
    if isinstance(ending, Stopped):
        return CloseReason.STOPPED
    if isinstance(ending, Revoked) and ending.reason != pb.REVOKE_REASON_ABORTED:
        return CloseReason.STOPPED if ending.reason in _STOPPING_REVOKES else CloseReason.REBALANCED
    return CloseReason.ERROR
