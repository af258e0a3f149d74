"""The `IContext` of one lambda."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol

from ._checkpoints import Place, Sink
from ._outcomes import Outcomes
from ._produce import Headers, Produced, Put, Record, put_all
from .protocol import lambda_pb2 as pb

Code = Literal["lambda_error", "handler_failed", "create_failed", "produce_failed"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a lambda cannot go on, or what it reported."""

    error: BaseException | str
    action: pb.ErrorAction
    offset: int | None
    code: Code


@dataclass(frozen=True, slots=True)
class Pause:
    """What a lambda wants while a dependency is down."""

    reason: str
    retry_after: float | None
    offset: int | None


class Owner(Protocol):
    """Whose lambda it is."""

    def on_error(self, failure: Failure) -> None:
        """``context.error`` and ``context.report``."""
        ...

    def on_pause(self, pause: Pause) -> None:
        """``context.pause``. Raises ValueError when the offset cannot be."""
        ...

    @property
    def on_produce(self) -> Put:
        """``context.produce`` of one record."""
        ...

    @property
    def outcomes(self) -> Outcomes:
        """Those of what it produces."""
        ...

    def on_resume(self) -> None:
        """``context.resume``."""
        ...


class PartitionContext(Place):
    """A `Place` with an assignment: the lambda checkpoints on it without a call in between."""

    def __init__(self, assigned: pb.Assigned, window: int, sink: Sink, owner: Owner) -> None:
        start = assigned.start_offset if assigned.HasField("start_offset") else None
        super().__init__(assigned.lease, window, start, sink)
        self.topic = assigned.topic
        self.partition = assigned.partition
        self.start_offset = start
        self.attempt = assigned.attempt
        self._owner = owner

    def __repr__(self) -> str:
        return f"<context of {self.topic}/{self.partition}>"

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """See `IContext.error`."""
        check_error(error, offset)
        if not isinstance(restart, bool):
            raise TypeError(f"error(error, restart): restart is True or False, got {type(restart).__name__}")
        action = pb.ERROR_ACTION_RESTART if restart else pb.ERROR_ACTION_CRITICAL
        self._owner.on_error(Failure(error, action, offset, "lambda_error"))

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """See `IContext.report`."""
        check_error(error, offset)
        self._owner.on_error(Failure(error, pb.ERROR_ACTION_REPORT, offset, "lambda_error"))

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        """See `IContext.pause`."""
        if not isinstance(reason, str):
            raise TypeError(f"pause(reason): a text, got {type(reason).__name__}")
        check_seconds(retry_after)
        check_offset(offset)
        self._owner.on_pause(Pause(reason, retry_after, offset))

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> asyncio.Future[Produced]:
        """See `IContext.produce`."""
        self.gate = self._owner.outcomes
        return self._owner.on_produce(topic, value, key, headers, partition)

    def produce_many(self, topic: str, records: Iterable[Record]) -> asyncio.Future[list[Produced]]:
        """See `IContext.produce_many`."""
        return put_all(self.produce, topic, records, self._owner.outcomes)

    def resume(self) -> None:
        """See `IContext.resume`."""
        self._owner.on_resume()


def check_error(error: object, offset: object) -> None:
    if not isinstance(error, BaseException | str):
        raise TypeError(f"error is an exception or a text, got {type(error).__name__}")
    check_offset(offset)


def check_seconds(retry_after: object) -> None:
    if retry_after is None:
        return
    if not isinstance(retry_after, int | float) or isinstance(retry_after, bool):
        raise TypeError(f"retry_after is a number of seconds or None, got {type(retry_after).__name__}")
    if not 0 < retry_after < inf:
        raise ValueError(f"retry_after is a positive, finite number of seconds, got {retry_after}")


def check_offset(offset: object) -> None:
    if offset is None:
        return
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"offset is an int or None, got {type(offset).__name__}")
    if offset < 0:
        raise ValueError(f"an offset is not negative, got {offset}")
