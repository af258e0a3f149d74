"""Errors and reports of the lambda: what a test sees of them, and what the sidecar answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sdk_python.protocol import lambda_pb2 as pb

_ACTIONS: Final[Mapping[int, Literal["restart", "critical", "report"]]] = {
    pb.ERROR_ACTION_RESTART: "restart",
    pb.ERROR_ACTION_CRITICAL: "critical",
    pb.ERROR_ACTION_REPORT: "report",
}
_OUTCOMES: Final = {
    "restart": pb.ERROR_OUTCOME_RESTARTING,
    "critical": pb.ERROR_OUTCOME_HALTED,
    "report": pb.ERROR_OUTCOME_REPORTED,
}


@dataclass(frozen=True, slots=True)
class LambdaError:
    """What the sidecar was told by ``context.error``, ``context.report`` or an exception of the lambda."""

    action: Literal["restart", "critical", "report"]
    offset: int | None
    code: str
    message: str
    type: str
    stack: str

    @classmethod
    def of(cls, request: pb.ErrorRequest) -> "LambdaError":
        """Make it of the call."""
        offset = request.offset if request.HasField("offset") else None
        action = _ACTIONS[request.action]
        return cls(action, offset, request.code, request.message, request.type, request.stack)

    def answer(self) -> pb.ErrorResponse:
        """What the sidecar does about it."""
        return pb.ErrorResponse(outcome=_OUTCOMES[self.action])
