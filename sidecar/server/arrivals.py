"""The first message of a call or stream: it must come in time, and whoever withholds it keeps nobody else out.

For gRPC the unary calls are streams of one message, which is the same on the wire: so a message is read when its turn
has come, and waited for here, since gRPC would wait for ever. On the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from sidecar.server.frames import InvalidFrameError
from sidecar.server.refusals import Context, Refusals, Refused, is_one_connection
from sidecar.server.silent import Silent

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

OFFER_TIMEOUT = 10.0
"""Seconds within which a stream must say what it offers."""

REQUEST_TIMEOUT = 10.0
"""Seconds within which a call must bring its message."""

MOST_SILENT = 1_000
"""Streams over all that have yet to make their offer, and calls over all that have yet to bring their message. Beyond
it the oldest of the connection with the most ends."""

MOST_SILENT_EACH = 32
"""Of one connection, streams that have yet to make their offer: an honest client has a few, for a moment."""

MOST_WATCHES = 100
"""Calls over all that have no end by themselves: of health (`Watch`), which asks for no token, and of reflection."""

MOST_RECEIVED = 1024 * 1024
"""Bytes of one message from a lambda. The contract's largest are 10,000 checkpoints of at most 75 bytes each, and an
error of 42 KiB, whose texts may be longer than they are kept."""

OUR_STREAMS = "/kafka_sidecar.v1.LambdaHost/"
"""Its methods read their messages themselves."""


@dataclass(eq=False, slots=True)
class _Place:
    """Of one that is silent."""

    limit: asyncio.Timeout
    made_room: bool = False

    def leave(self) -> None:
        """End what waits here."""
        self.made_room = True
        with suppress(RuntimeError):  # its time is over just now: it ends in any case
            self.limit.reschedule(asyncio.get_running_loop().time())


class Arrivals(grpc.aio.ServerInterceptor):
    """All first messages of one server; as its interceptor, those of health, reflection and operators too."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self.streams: Silent[_Place] = Silent(MOST_SILENT)
        self.calls: Silent[_Place] = Silent(MOST_SILENT)
        self.watches: Silent[_Place] = Silent(MOST_WATCHES)

    async def offer(self, context: Context) -> bytes:
        """The first message of a stream. Raises ``Refused`` and ``InvalidFrameError``."""
        peer = context.peer()
        if is_one_connection(peer) and self.streams.of(peer) >= MOST_SILENT_EACH:
            text = f"offer: {MOST_SILENT_EACH} streams of this connection have yet to make theirs"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        return await self._first(context, self.streams, OFFER_TIMEOUT, "offer", "the stream")

    async def message(self, context: Context) -> bytes:
        """The message of a call. Raises ``Refused`` and ``InvalidFrameError``."""
        return await self._first(context, self.calls, REQUEST_TIMEOUT, "message", "the call")

    async def _first(self, context: Context, silent: Silent[_Place], seconds: float, what: str, where: str) -> bytes:
        async with _in_time(context, silent, seconds, what):
            data = await context.read()
        if isinstance(data, bytes):
            return data
        if context.peer():
            raise InvalidFrameError(f"{what}: {where} ended before it")
        # gRPC has ended it, and told the client so; what is left of it is a line in our log.
        text = f"{what}: did not come whole; gRPC itself refuses what has more than {MOST_RECEIVED} bytes"
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    # --- what is not ours: health, reflection, and the operators' calls ---------------------------------------------

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Put a handler that waits for its message here in the place of one for which gRPC would wait."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(OUR_STREAMS):
            return handler
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._bounded(handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._bounded(self._read(handler, handler.unary_stream)), None, handler.response_serializer
            )
        if handler.request_streaming:
            return handler
        return grpc.stream_unary_rpc_method_handler(
            self._read(handler, handler.unary_unary), None, handler.response_serializer
        )

    def _read(self, handler: Handler, call: Any) -> Callable[[object, Context], Awaitable[Any]]:
        """``call``, with the message read here."""

        async def read(_: object, context: Context) -> Any:
            peer = context.peer()
            try:
                data = await self.message(context)
                try:
                    request = data if handler.request_deserializer is None else handler.request_deserializer(data)
                except Exception:  # whatever it raises, it is not its message
                    raise InvalidFrameError(f"{len(data)} bytes that are not the message of this method") from None
            except Refused as refused:
                status, text = refused.status, str(refused)
            except InvalidFrameError as error:
                status, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
            else:
                return await call(request, context)
            return await self._refusals.refuse(context, status, text, peer=peer)

        return read

    def _bounded(self, call: Any) -> Callable[[Any, Context], Awaitable[None]]:
        """``call``, which may last as long as there are not too many of its kind. It writes what it has to say."""

        async def bounded(requests: Any, context: Context) -> None:
            peer = context.peer()
            try:
                async with _in_time(context, self.watches, None, "watch"):
                    answers = call(requests, context)
                    if hasattr(answers, "__aiter__"):
                        async for answer in answers:
                            await context.write(answer)
                    else:
                        await answers
            except Refused as refused:
                await self._refusals.refuse(context, refused.status, str(refused), peer=peer)

        return bounded


@asynccontextmanager
async def _in_time(context: Context, silent: Silent[_Place], seconds: float | None, what: str) -> AsyncIterator[None]:
    """What is done in here takes so long at most, and ends earlier when others need its place. Raises ``Refused``."""
    peer = context.peer()
    place: _Place | None = None
    try:
        async with asyncio.timeout(seconds) as limit:
            place = _Place(limit)
            silent.add(peer, place)
            for other in silent.crowded_out():
                other.leave()
            yield
    except TimeoutError:
        if place is not None and place.made_room:
            text = f"{what}: {silent.most} others wait too; this one, the oldest of those with the most, makes room"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text) from None
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, f"{what}: did not come within {seconds:g} s") from None
    finally:
        if place is not None:
            silent.remove(peer, place)
