"""Mistakes about streams."""

from __future__ import annotations

import asyncio
from typing import Any

from sdk_python import _client, _connection, _life, _message
from sdk_python.protocol import lambda_pb2 as pb
from tests.clients.python.mutations.planting import caught_by, put, wrap


@caught_by("one-process-id", 1)
def _process_id_of_each_stream() -> None:
    def make(old: Any) -> Any:
        async def offer_once(self: Any) -> Any:
            self._offer = _client._offer(self.name, "")
            return await old(self)

        return offer_once

    wrap(_client.Client, "_offer_once", make)


@caught_by("loads-first", 3)
def _available_before_loading() -> None:
    def make(old: Any) -> Any:
        async def created(self: Any, welcome: pb.Welcome) -> Any:
            await self._spare_stream.write(_client._AVAILABLE)
            return await old(self, welcome)

        return created

    def remembering(old: Any) -> Any:
        def opened(self: Any) -> Any:
            put(_client.Client, "_spare_stream", stream := old(self))
            return stream

        return opened

    wrap(_connection.Connection, "open", remembering)
    wrap(_client.Client, "_created", make)


@caught_by("one-spare", 4)
def _two_spares() -> None:
    def make(old: Any) -> Any:
        async def keep_offering(self: Any) -> None:
            await asyncio.gather(old(self), old(self))

        return keep_offering

    wrap(_client.Client, "_keep_offering", make)


@caught_by("old-one-first", 6)
def _ready_before_the_old_one_has_closed() -> None:
    wrap(_life.Life, "run", lambda old: lambda self, **_: old(self))


@caught_by("old-one-after-break", 8)
def _offers_before_the_old_one_has_closed() -> None:
    async def at_once(self: Any) -> None:
        pass

    put(_client.Client, "_old_lives_closed", at_once)


@caught_by("one-stream-breaks", 9)
def _one_break_ends_all() -> None:
    lives: list[Any] = []

    def remembering(old: Any) -> Any:
        def begun(self: Any, life: Any) -> None:
            lives.append(life)
            old(self, life)

        return begun

    def make(old: Any) -> Any:
        def lose(self: Any, why: str) -> None:
            for life in lives:
                life._link.close()
            old(self, why)

        return lose

    wrap(_client.Client, "_begin", remembering)
    wrap(_life.Life, "_lose", make)


@caught_by("unknown-frame", 50)
def _unknown_frame_is_an_error() -> None:
    def make(old: Any) -> Any:
        async def read(self: Any) -> Any:
            frame = await old(self)
            if frame is not None and frame.WhichOneof("frame") is None:
                raise _message.FrameError("an unknown frame")
            return frame

        return read

    wrap(_connection.Stream, "read", make)
