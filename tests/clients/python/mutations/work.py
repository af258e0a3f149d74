"""Mistakes about checkpoints and errors."""

from __future__ import annotations

import asyncio
from typing import Any

from sdk_python import _checkpoints, _life
from sdk_python._reporting import Reporting
from sdk_python.protocol import lambda_pb2 as pb
from tests.clients.python.mutations.planting import caught_by, put, wrap


@caught_by("one-checkpoint-call", 17)
def _two_checkpoint_calls() -> None:
    tasks: set[Any] = set()

    def make(old: Any) -> Any:
        async def send(self: Any, retry: float) -> float:
            task = asyncio.ensure_future(old(self, retry))
            tasks.add(task)
            await asyncio.sleep(0)
            return 0.0

        return send

    wrap(_checkpoints.CheckpointSender, "_send", make)


@caught_by("checkpoint-again", 19)
def _failed_checkpoints_are_forgotten() -> None:
    put(_checkpoints.LeaseProgress, "failed", lambda _: None)


@caught_by("far-beyond", 20)
def _what_is_beyond_delivered_is_forgotten() -> None:
    def make(old: Any) -> Any:
        def checkpoint(self: Any, offset: int) -> None:
            if offset <= self._delivered:
                old(self, offset)

        return checkpoint

    wrap(_checkpoints.LeaseProgress, "checkpoint", make)


@caught_by("last-in-closed", 21)
def _closed_has_no_checkpoint() -> None:
    def make(old: Any) -> Any:
        async def write(self: Any, frame: pb.LambdaFrame) -> bool:
            if frame.HasField("closed"):
                frame.closed.ClearField("last_checkpoint")
            written: bool = await old(self, frame)
            return written

        return write

    wrap(_life.Life, "_write", make)


@caught_by("unknown-outcome", 50)
def _unknown_outcome_is_acceptance() -> None:
    def make(old: Any) -> Any:
        def answered(self: Any, entry: pb.CheckpointEntry, _: Any) -> None:
            old(self, entry, pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED))

        return answered

    wrap(_checkpoints.LeaseProgress, "answered", make)


@caught_by("error-carries-last", 21)
def _error_without_last_checkpoint() -> None:
    def make(old: Any) -> Any:
        def error_request(self: Any, failure: Any) -> pb.ErrorRequest:
            request: pb.ErrorRequest = old(self, failure)
            request.ClearField("last_checkpoint")
            return request

        return error_request

    wrap(Reporting, "error_request", make)


@caught_by("error-below-offset", 23)
def _last_checkpoint_at_the_failing_offset() -> None:
    wrap(_checkpoints.LeaseProgress, "seal", lambda old: lambda self, *_: old(self))


@caught_by("closed-waits-for-error", 25)
def _closed_before_the_response_to_error() -> None:
    tasks: set[Any] = set()

    def make(old: Any) -> Any:
        async def send_error(self: Any, request: pb.ErrorRequest) -> bool:
            tasks.add(asyncio.ensure_future(old(self, request)))
            await asyncio.sleep(0.05)
            return True

        return send_error

    wrap(Reporting, "send_error", make)


@caught_by("error-unanswered", 26)
def _closed_though_error_got_no_response() -> None:
    def make(old: Any) -> Any:
        async def send_error(self: Any, request: pb.ErrorRequest) -> bool:
            await old(self, request)
            return True

        return send_error

    wrap(Reporting, "send_error", make)


@caught_by("handler-fails", 27)
def _offset_zero_is_absent() -> None:
    def make(old: Any) -> Any:
        def request(self: Any, failure: Any) -> pb.ErrorRequest:
            made: pb.ErrorRequest = old(self, failure)
            if not made.offset:
                made.ClearField("offset")
            return made

        return request

    wrap(Reporting, "_request", make)
