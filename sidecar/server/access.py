"""Access control: every call except health checks needs an identity that may make it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from sidecar.config.model import ServerConfig
from sidecar.server.identities import ANYBODY, Caller, Identities, set_caller
from sidecar.server.refusals import Context, Refusals

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Refusal: TypeAlias = tuple[grpc.StatusCode, str]

HEALTH = "/grpc.health.v1.Health/"
"""Orchestrators probe health without a token; the answer is only up or down."""

LAMBDA_HOST = "/kafka_sidecar.v1.LambdaHost/"
ADMIN = "/kafka_sidecar.admin.v1.Admin/"
STATUS = f"{ADMIN}Status"

_BEARER = b"Bearer "


class AccessCheck(grpc.aio.ServerInterceptor):
    """Refuses calls that their caller may not make, and tells the others' handlers who calls (`identities.caller`).

    A caller is known by its token, `authorization: Bearer TOKEN`, and without one by its certificate. A token that is
    there decides alone: a wrong one is refused whatever the certificate says.
    """

    def __init__(self, config: ServerConfig, identities: Identities, refusals: Refusals) -> None:
        self._identities = identities
        self._refusals = refusals
        self._for_lambdas = _for_lambdas(config)
        self._for_operators = _for_operators(config)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return a handler that checks the caller before the call's own handler runs."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(HEALTH):
            return handler
        kind = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
        make: Callable[..., Handler] = getattr(grpc, f"{kind}_rpc_method_handler")
        inner: Callable[[Any, Context], Any] = getattr(handler, kind)
        return make(self._checked(method, inner), handler.request_deserializer, handler.response_serializer)

    def _checked(self, method: str, inner: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def checked(request: Any, context: Context) -> Any:
            peer = context.peer()
            found = self._caller(context, method)
            refusal = self._refusal(found, method)
            if refusal is not None or found is None:
                status, text = refusal or (grpc.StatusCode.UNAUTHENTICATED, self._for_lambdas)
                return await self._refusals.refuse(context, status, text, peer=peer)
            set_caller(found)
            answer = inner(request, context)
            if not hasattr(answer, "__aiter__"):
                return await answer
            async for part in answer:
                await context.write(part)
            return None

        return checked

    def _caller(self, context: Context, method: str) -> Caller | None:
        """Who makes the call; None: nobody who is known."""
        if method.startswith(LAMBDA_HOST) and self._identities.anybody_offers:
            return ANYBODY
        given = [
            value if isinstance(value, bytes) else value.encode()
            for name, value in context.invocation_metadata() or ()
            if name == "authorization"
        ]
        if not given and self._identities.by_certificate:
            return self._identities.with_certificate(context.auth_context())
        tokens = (value.removeprefix(_BEARER) for value in given if value.startswith(_BEARER))
        return next(filter(None, map(self._identities.with_token, tokens)), None)

    def _refusal(self, found: Caller | None, method: str) -> Refusal | None:
        """Why this caller may not call this method; None: it may."""
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED
        if method.startswith(LAMBDA_HOST):
            may = found is not None and bool(found.identity.lambdas)
            return None if may else (unauthenticated, self._for_lambdas)
        if method.startswith(ADMIN):
            if found is None or found.identity.operate == "none":
                return unauthenticated, self._for_operators
            if found.identity.operate == "read" and method != STATUS:
                text = f"the identity {found.identity.name!r} may only read; `operate: all` allows this call"
                return grpc.StatusCode.PERMISSION_DENIED, text
            return None
        return (unauthenticated, self._for_lambdas) if found is None else None


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _for_lambdas(config: ServerConfig) -> str:
    """The text for a call of a lambda that is refused."""
    where = [f"server.{key}" for key in ("token", "identities") if getattr(config, key)] or ["server.admin_token"]
    certificate = " or show its certificate" if any(one.certificate for one in config.identities) else ""
    return (
        f"token missing or wrong: the sidecar's config has {' and '.join(where)}; give a token from there to the "
        f"lambda process (the Python SDK reads KAFKA_SIDECAR_TOKEN){certificate}"
    )


def _for_operators(config: ServerConfig) -> str:
    """The text for a call of an operator that is refused."""
    if config.admin_token is not None or config.token is None:
        ways = ["server.admin_token"] if config.admin_token is not None else []
        ways += ["`operate` of server.identities"] if config.identities else []
        return (
            f"admin token missing or wrong: the sidecar's config has {' and '.join(ways)}; give a token that it lets "
            "operate to kafka-sidecar commands in KAFKA_SIDECAR_ADMIN_TOKEN"
        )
    return (
        "token missing or wrong: the sidecar's config has server.token and no server.admin_token; give the token to "
        "kafka-sidecar commands in KAFKA_SIDECAR_ADMIN_TOKEN"
    )
