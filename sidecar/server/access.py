"""Who may call: the token, on every call but health checks."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

OPEN = "/grpc.health.v1.Health/"
"""Orchestrators probe health without a token; it tells nothing but up or down."""


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses calls without `authorization: Bearer TOKEN`."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._refusal: Handler = grpc.unary_unary_rpc_method_handler(_refuse)
        self._stream_refusal: Handler = grpc.stream_stream_rpc_method_handler(_refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Let the call through, or put a refusal in its place."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(OPEN):
            return handler
        for name, value in handler_call_details.invocation_metadata:
            if name == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
                if hmac.compare_digest(given, self._expected):
                    return handler
        return self._stream_refusal if handler.request_streaming else self._refusal


async def _refuse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "token missing or wrong: the sidecar's config has server.token; give it to the lambda process "
        "(the Python SDK reads KAFKA_SIDECAR_TOKEN)",
    )
