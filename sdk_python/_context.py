"""The `IContext` of one lambda."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ._checkpoints import Place, Sink
from .protocol import lambda_pb2 as pb

Code = Literal["lambda_error", "handler_failed", "create_failed"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a lambda cannot go on, or what it reported."""

    error: BaseException | str
    action: pb.ErrorAction
    offset: int | None
    code: Code


class PartitionContext(Place):
    """A `Place` with an assignment: the lambda checkpoints on it without a call in between."""

    def __init__(self, assigned: pb.Assigned, window: int, sink: Sink, on_error: Callable[[Failure], None]) -> None:
        start = assigned.start_offset if assigned.HasField("start_offset") else None
        super().__init__(assigned.lease, window, start, sink)
        self.topic = assigned.topic
        self.partition = assigned.partition
        self.start_offset = start
        self.attempt = assigned.attempt
        self._on_error = on_error

    def __repr__(self) -> str:
        return f"<context of {self.topic}/{self.partition}>"

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """See `IContext.error`."""
        _check_error(error, offset)
        if not isinstance(restart, bool):
            raise TypeError(f"error(error, restart): restart is True or False, got {type(restart).__name__}")
        action = pb.ERROR_ACTION_RESTART if restart else pb.ERROR_ACTION_CRITICAL
        self._on_error(Failure(error, action, offset, "lambda_error"))

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """See `IContext.report`."""
        _check_error(error, offset)
        self._on_error(Failure(error, pb.ERROR_ACTION_REPORT, offset, "lambda_error"))


def _check_error(error: object, offset: object) -> None:
    if not isinstance(error, BaseException | str):
        raise TypeError(f"error is an exception or a text, got {type(error).__name__}")
    if offset is None:
        return
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"offset is an int or None, got {type(offset).__name__}")
    if offset < 0:
        raise ValueError(f"an offset is not negative, got {offset}")
