"""The first message of each call or stream must arrive in time; clients that withhold it keep nobody else out.

gRPC would wait for a unary call's message for ever. So unary calls are registered as streams of one message, which is
the same on the wire, and their message is read here. Runs on the event loop.
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

OFFER_TIMEOUT_S = 10.0
"""Within this time a stream must send its Offer."""

REQUEST_TIMEOUT_S = 10.0
"""Within this time a call must send its message."""

MAX_SILENT = 1_000
"""Streams without an Offer on all connections together, and likewise calls without a message. Beyond this, the oldest
of the connection with the most of them ends."""

MAX_SILENT_PER_CONNECTION = 32
"""Streams without an Offer on one connection: an honest client has a few, for a moment."""

MAX_WATCHES = 100
"""Endless calls on all connections together: health's `Watch`, which needs no token, and reflection."""

MAX_REQUEST_BYTES = 1024 * 1024
"""The size of one message from a client. The contract's largest are 10,000 checkpoints of at most 75 bytes each, and
an error of 42 KiB, whose texts may be longer before we cut them."""

OUR_STREAMS = "/kafka_sidecar.v1.LambdaHost/"
"""Methods of this service read their messages themselves."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A call or stream that waits for its first message."""

    limit: asyncio.Timeout
    made_room: bool = False

    def leave(self) -> None:
        """End the wait, to make room for others."""
        self.made_room = True
        with suppress(RuntimeError):  # its time has just expired: it ends in any case
            self.limit.reschedule(asyncio.get_running_loop().time())


class Arrivals(grpc.aio.ServerInterceptor):
    """Waits for all first messages of one server; as its interceptor also for health, reflection and operators."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self.streams: Silent[_Waiter] = Silent(MAX_SILENT)
        self.calls: Silent[_Waiter] = Silent(MAX_SILENT)
        self.watches: Silent[_Waiter] = Silent(MAX_WATCHES)

    async def offer(self, context: Context) -> bytes:
        """The first message of a stream. Raises ``Refused`` and ``InvalidFrameError``."""
        peer = context.peer()
        if is_one_connection(peer) and self.streams.of(peer) >= MAX_SILENT_PER_CONNECTION:
            text = f"offer: {MAX_SILENT_PER_CONNECTION} streams of this connection have yet to make theirs"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        return await self._first(context, self.streams, OFFER_TIMEOUT_S, "offer", "the stream")

    async def message(self, context: Context) -> bytes:
        """The message of a call. Raises ``Refused`` and ``InvalidFrameError``."""
        return await self._first(context, self.calls, REQUEST_TIMEOUT_S, "message", "the call")

    async def _first(self, context: Context, silent: Silent[_Waiter], seconds: float, what: str, where: str) -> bytes:
        async with _in_time(context, silent, seconds, what):
            data = await context.read()
        if isinstance(data, bytes):
            return data
        if context.peer():
            raise InvalidFrameError(f"{what}: {where} ended before it")
        # gRPC itself has refused the call and told the client; this text goes to our log only.
        text = f"{what}: did not come whole; gRPC itself refuses what has more than {MAX_REQUEST_BYTES} bytes"
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    # --- the other services: health, reflection, and the operators' calls -------------------------------------------

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return a handler that reads its message here, instead of one for which gRPC would read it."""
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
        """A handler that reads the message here and then calls ``call``."""

        async def read(_: object, context: Context) -> Any:
            peer = context.peer()
            try:
                data = await self.message(context)
                try:
                    request = data if handler.request_deserializer is None else handler.request_deserializer(data)
                except Exception:  # whatever it raises, these bytes are not its message
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
        """A handler for an endless ``call``, which may last until there are too many of them."""

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
async def _in_time(
    context: Context, silent: Silent[_Waiter], seconds: float | None, what: str
) -> AsyncIterator[None]:
    """End the block after ``seconds``, or earlier to make room for others; then raises ``Refused``."""
    peer = context.peer()
    waiter: _Waiter | None = None
    try:
        async with asyncio.timeout(seconds) as limit:
            waiter = _Waiter(limit)
            silent.add(peer, waiter)
            for other in silent.crowded_out():
                other.leave()
            yield
    except TimeoutError:
        if waiter is not None and waiter.made_room:
            text = f"{what}: {silent.most} others wait too; this one, the oldest of those with the most, makes room"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text) from None
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, f"{what}: did not come within {seconds:g} s") from None
    finally:
        if waiter is not None:
            silent.remove(peer, waiter)
