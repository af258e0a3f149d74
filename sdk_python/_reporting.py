"""Tells the sidecar of a lambda's errors and reports. Both are calls beside the stream.

Owner: the event loop.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from logging import INFO
from typing import Final, Literal

from ._checkpoints import LeaseProgress
from ._connection import Calls, LinkError
from ._counters import Counters
from ._errors import RefusedError, message_of, stack_of, type_of
from ._log import PartitionLogger
from .protocol import lambda_pb2 as pb
from .protocol.names import name_of

_MAX_REPORTS: Final = 100
"""Reports of one lease that may be under way at a time."""
_RETRY_PAUSES_S: Final = (0.0, 0.1, 0.3, 1.0)
"""How long to wait before each attempt to send an error."""


Code = Literal["lambda_error", "handler_failed", "create_failed", "produce_failed"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a lambda cannot go on, or what it reported."""

    error: BaseException | str
    action: pb.ErrorAction
    offset: int | None
    code: Code


class Reporting:
    """What one lease tells the sidecar by calls of Error."""

    def __init__(
        self,
        progress: LeaseProgress,
        calls: Calls,
        link_over: asyncio.Event,
        log: PartitionLogger,
        counters: Counters,
    ) -> None:
        """Send by ``calls``, and give up an error when ``link_over`` is set: then nobody needs it any more."""
        self._counters = counters
        self._progress = progress
        self._calls = calls
        self._link_over = link_over
        self._log = log
        self._ended = False
        self._reports: set[asyncio.Task[None]] = set()

    @property
    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """The reports that are under way."""
        return tuple(self._reports)

    def end(self) -> None:
        """Send no more reports: the lease has ended."""
        self._ended = True

    def error_request(self, failure: Failure) -> pb.ErrorRequest:
        """Make the request for a failure and seal the checkpoints: what the lambda does afterwards does not count."""
        restarts = failure.action == pb.ERROR_ACTION_RESTART
        self._counters.errors["restart" if restarts else "critical"] += 1
        request = self._request(failure)
        entry = self._progress.seal(failure.offset)
        if entry is not None:
            request.last_checkpoint.CopyFrom(entry)
        return request

    async def send_error(self, request: pb.ErrorRequest) -> bool:
        """Send it, several times if need be; returns whether the sidecar has it."""
        for pause in _RETRY_PAUSES_S:
            if pause:
                await asyncio.sleep(pause)
            if self._link_over.is_set():
                return False
            try:
                response = await self._calls.error(request)
            except (LinkError, RefusedError) as error:
                self._log.warning("the error could not be reported: %s", error)
            else:
                self._log.log(INFO, "the sidecar's answer: %s", name_of(pb.ErrorOutcome, response.outcome))
                return True
        return False

    def report(self, failure: Failure) -> None:
        """Send a report in a task of its own."""
        if self._ended:
            self._log.info("an error after the end of the lease is not reported: %s", message_of(failure.error))
            return
        if len(self._reports) >= _MAX_REPORTS:
            self._log.warning("too many reports under way, not sent: %s", message_of(failure.error))
            return
        self._counters.errors["report"] += 1
        task = asyncio.create_task(self._send_report(failure))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _send_report(self, failure: Failure) -> None:
        self._log.warning("reported: %s", message_of(failure.error))
        try:
            await self._calls.error(self._request(failure))
        except (LinkError, RefusedError) as error:
            self._log.warning("the report did not come through: %s", error)

    def _request(self, failure: Failure) -> pb.ErrorRequest:
        return pb.ErrorRequest(
            lease=self._progress.lease,
            action=failure.action,
            offset=failure.offset,
            code=failure.code,
            message=message_of(failure.error),
            type=type_of(failure.error),
            stack=stack_of(failure.error),
        )
