"""Mistakes about records, deadlines and pauses."""

from __future__ import annotations

from typing import Any

from sdk_python import _connection, _life, _message, _pause_gate
from sdk_python._dispatch import Dispatcher
from sdk_python.protocol import lambda_pb2 as pb
from tests.clients.python.mutations.planting import caught_by, put, wrap


@caught_by("gaps", 12)
def _offsets_are_counted() -> None:
    def make(old: Any) -> Any:
        def init(self: Any, batch: pb.Batch, topic: str, partition: int) -> None:
            old(self, batch, topic, partition)
            self._offsets = range(batch.first_offset, batch.first_offset + self.count)

        return init

    wrap(_message.Columns, "__init__", make)


@caught_by("null-and-empty", 12)
def _null_is_empty() -> None:
    put(_message, "_with_nulls", lambda column, _: list(column))


@caught_by("headers", 12)
def _duplicate_headers_are_lost() -> None:
    wrap(_message, "_headers", lambda old: lambda batch: [tuple(dict(row).items()) for row in old(batch)])


@caught_by("header-names-are-bytes", 12)
def _header_names_are_text() -> None:
    put(_message._Names, "__missing__", lambda _, name: name.decode(errors="replace"))


@caught_by("append-time", 12)
def _one_kind_of_time() -> None:
    def make(old: Any) -> Any:
        def init(self: Any, batch: pb.Batch, topic: str, partition: int) -> None:
            old(self, batch, topic, partition)
            self._kind = 1

        return init

    wrap(_message.Columns, "__init__", make)


@caught_by("large-record", 49)
def _receives_less_than_offered() -> None:
    small = ("grpc.max_receive_message_length", 4 * 1024 * 1024)
    options = [small if name == small[0] else (name, value) for name, value in _connection._OPTIONS]
    put(_connection, "_OPTIONS", options)


@caught_by("handler-cancelled", 14)
def _closed_after_the_deadline() -> None:
    put(_life, "_HANDLER_SHARE", 1.1)


@caught_by("not-begun-is-dropped", 13)
def _what_waits_is_handled_after_revoked() -> None:
    put(Dispatcher, "stop", lambda self: None if self.waiting or self._current else _stopped(self))


def _stopped(dispatcher: Any) -> None:
    dispatcher._stopped = True
    dispatcher._news.set()


@caught_by("read-ahead", 11)
def _reads_when_the_handler_is_ready() -> None:
    def make(old: Any) -> Any:
        async def take(self: Any, batch: pb.Batch) -> None:
            await old(self, batch)
            await self._dispatcher.idle.wait()

        return take

    wrap(_pause_gate.PauseGate, "take", make)


@caught_by("old-resumed", 38)
def _any_resumed_ends_a_pause() -> None:
    def make(old: Any) -> Any:
        def resumed(self: Any, frame: pb.Resumed) -> None:
            old(self, pb.Resumed(number=self._number, from_offset=frame.from_offset))

        return resumed

    wrap(_pause_gate.PauseGate, "resumed", make)


@caught_by("pause-again", 38)
def _void_frames_are_handled() -> None:
    def make(old: Any) -> Any:
        async def take(self: Any, batch: pb.Batch) -> None:
            rewind, self._rewind = self._rewind, None
            self._next_offset = min(self._next_offset, batch.first_offset)
            await old(self, batch)
            self._rewind = rewind

        return take

    wrap(_pause_gate.PauseGate, "take", make)
