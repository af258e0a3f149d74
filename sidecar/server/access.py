"""Access control: every call except health checks needs a token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from sidecar.config.model import ServerConfig
from sidecar.server.refusals import Context, Refusals

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

HEALTH = "/grpc.health.v1.Health/"
"""Orchestrators probe health without a token; the answer is only up or down."""

LAMBDA_HOST = "/kafka_sidecar.v1.LambdaHost/"
ADMIN = "/kafka_sidecar.admin.v1.Admin/"

FOR_LAMBDAS = (
    "token missing or wrong: the sidecar's config has server.token; give it to the lambda process "
    "(the Python SDK reads KAFKA_SIDECAR_TOKEN)"
)
FOR_OPERATORS = (
    "admin token missing or wrong: the sidecar's config has server.admin_token; give it to kafka-sidecar commands in "
    "KAFKA_SIDECAR_ADMIN_TOKEN"
)
FOR_ALL = (
    "token missing or wrong: the sidecar's config has server.token and no server.admin_token; give the token to "
    "kafka-sidecar commands in KAFKA_SIDECAR_ADMIN_TOKEN"
)


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses calls without the `authorization: Bearer TOKEN` that their service requires.

    Operators need the admin token if there is one, otherwise the lambdas' token. Other services (reflection) accept
    both tokens.
    """

    def __init__(self, config: ServerConfig, refusals: Refusals) -> None:
        token, admin = (
            None if secret is None else f"Bearer {secret.get_secret_value()}".encode()
            for secret in (config.token, config.admin_token)
        )
        self._lambdas = [] if token is None else [token]
        self._operators = self._lambdas if admin is None else [admin]
        self._others = [secret for secret in (token, admin) if secret is not None]
        self._refusals = refusals
        operators = FOR_ALL if admin is None else FOR_OPERATORS
        self._refuse = {text: self._handlers(text) for text in (FOR_LAMBDAS, operators)}
        self._for_operators = operators

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the call's own handler, or one that refuses the call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(HEALTH):
            return handler
        if method.startswith(LAMBDA_HOST):
            wanted, text = self._lambdas, FOR_LAMBDAS
        elif method.startswith(ADMIN):
            wanted, text = self._operators, self._for_operators
        else:
            wanted, text = self._others, FOR_LAMBDAS if self._lambdas else self._for_operators
        if not wanted or _carries(handler_call_details.invocation_metadata, wanted):
            return handler
        unary, stream = self._refuse[text]
        return stream if handler.request_streaming else unary

    def _handlers(self, text: str) -> tuple[Handler, Handler]:
        """Handlers that refuse a unary and a streaming method."""

        async def refuse(_: object, context: Context) -> None:
            await self._refusals.refuse(context, grpc.StatusCode.UNAUTHENTICATED, text)

        return grpc.unary_unary_rpc_method_handler(refuse), grpc.stream_stream_rpc_method_handler(refuse)


def _carries(metadata: Any, wanted: list[bytes]) -> bool:
    """Whether the call carries one of the tokens."""
    for name, value in metadata:
        if name == "authorization":
            given = value if isinstance(value, bytes) else value.encode()
            if any([hmac.compare_digest(given, token) for token in wanted]):  # noqa: C419 - all, in constant time
                return True
    return False
