"""The page and its API, as routes of the operators' HTTP server.

| path | needs the token | |
| --- | --- | --- |
| `/`, its files | no | the page |
| `/api/status` | no | the state, for programs |
| `/api/events` | no | the state again and again, as server-sent events |
| `/api/access` | yes | whether the token is right |
| `/api/pause`, `/api/resume`, `/api/seek` | yes | an order, as in `proto/admin.proto` |
| `/api/dead-letters`, and below | yes | what failed, a letter, a replay |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sdk_python.protocol import admin_pb2 as pb
from sidecar.config import Config
from sidecar.logs import get_logger
from sidecar.operate.page.access import HOW_TO_ACT, Access, Operators
from sidecar.operate.page.dead_letters import DeadLetterDesk
from sidecar.operate.page.feed import Event, Feed, Source
from sidecar.operate.page.files import HEADERS, Files
from sidecar.operate.page.plain import clean, plain
from sidecar.operate.page.refusal import Refusal
from sidecar.operate.page.requests import Endpoint, answer, answering, parsed, said, text_of

ORDER_TIMEOUT_S = 60.0
"""An order must be carried out within this time; otherwise the answer says that it is not yet."""

_log = get_logger(__name__)


class Orders(Protocol):
    """What the page asks of the sidecar: the admin service's calls. They raise ``OrderRefused`` and ``GoneError``."""

    async def resume(self, request: pb.ResumeRequest) -> pb.ResumeResponse: ...

    async def pause(self, request: pb.PauseRequest) -> pb.PauseResponse: ...

    async def seek(self, request: pb.SeekRequest) -> pb.SeekResponse: ...


class Page:
    """The page of one sidecar. Made, started and stopped on one event loop."""

    def __init__(
        self, config: Config, source: Source, orders: Orders, operators: Operators, embedded_at: str | None = None
    ) -> None:
        """
        Args:
            config: whose dead letters the page shows.
            source: the sidecar's state.
            orders: the sidecar itself.
            operators: who may give them.
            embedded_at: where the embedded broker listens, if there is one.
        """
        self._source = source
        self._orders = orders
        self._access = Access(operators)
        self._desk = DeadLetterDesk(config, embedded_at)
        self._feed = Feed(source, self._extras)
        self._files = Files()

    def start(self, spawn: Callable[..., asyncio.Task[None]] = asyncio.create_task) -> None:
        """Begin to keep the history, in a task that ``spawn`` makes."""
        spawn(self._feed.run(), name="the page's look at the sidecar")

    async def stop(self) -> None:
        """End the events of all who watch, and a replay."""
        await self._feed.close()
        await self._desk.stop()

    @property
    def routes(self) -> list[BaseRoute]:
        """The paths."""
        reads: dict[str, Endpoint] = {"/api/status": self._status, "/api/events": self._events}
        with_token: dict[str, tuple[str, Endpoint]] = {
            "/api/access": ("GET", self._allowed),
            "/api/pause": ("POST", self._pause),
            "/api/resume": ("POST", self._resume),
            "/api/seek": ("POST", self._seek),
            "/api/dead-letters": ("GET", self._groups),
            "/api/dead-letters/letter": ("GET", self._letter),
            "/api/dead-letters/replay": ("POST", self._replay),
            "/api/dead-letters/stop": ("POST", self._stop),
        }
        return [
            *(Route(f"/{name}", self._files.serve) for name in ("", *self._files.names)),
            *(Route(path, answering(endpoint)) for path, endpoint in reads.items()),
            *(
                Route(path, answering(self._checked(endpoint)), methods=[method])
                for path, (method, endpoint) in with_token.items()
            ),
        ]

    def _checked(self, endpoint: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Response:
            request.state.operator = await self._access.check(request)
            return await endpoint(request)

        return checked

    def _extras(self) -> dict[str, Any]:
        actions = {"possible": True} if self._access.possible else {"possible": False, "how": HOW_TO_ACT}
        return {"actions": actions, **self._desk.state()}

    async def _status(self, _: Request) -> Response:
        return Response(await self._feed.latest(), media_type="application/json", headers=HEADERS)

    async def _events(self, _: Request) -> Response:
        self._feed.check_room()

        async def encoded() -> AsyncIterator[bytes]:
            async with aclosing(self._feed.events()) as events:
                async for event in events:
                    yield _encoded(event)

        return StreamingResponse(encoded(), media_type="text/event-stream", headers=HEADERS)

    async def _allowed(self, _: Request) -> Response:
        return answer({"allowed": True})

    async def _pause(self, request: Request) -> Response:
        return await self._order(request, pb.PauseRequest(), self._orders.pause)

    async def _seek(self, request: Request) -> Response:
        return await self._order(request, pb.SeekRequest(), self._orders.seek)

    async def _resume(self, request: Request) -> Response:
        document = await said(request)
        expected = document.pop("failing_offset", None)
        order = parsed(document, pb.ResumeRequest())
        if order.skip and expected is not None:
            await self._check_offset(order, expected)
        return await self._carried_out(request, order, self._orders.resume)

    async def _check_offset(self, order: pb.ResumeRequest, expected: Any) -> None:
        """Raise ``Refusal`` if the partition has since come to fail at another offset than the one that a person saw
        when they decided to leave it out."""
        owner = (await self._source.snapshot()).lambdas.get(order.lambda_name)
        for one in [] if owner is None else owner.partitions:
            meant = one.tp == (order.topic, order.partition) and one.lane == order.lane
            if meant and one.failing_offset != expected:
                raise Refusal(409, f"it fails at offset {one.failing_offset} now, and not at {expected}: look again")

    async def _order(self, request: Request, order: Any, call: Callable[[Any], Awaitable[Message]]) -> Response:
        return await self._carried_out(request, parsed(await said(request), order), call)

    async def _carried_out(self, request: Request, order: Any, call: Callable[[Any], Awaitable[Message]]) -> Response:
        _log.info(
            "an order was given on the page",
            order=request.url.path.rpartition("/")[2],
            lambda_=order.lambda_name,
            topic=order.topic,
            partition=order.partition,
            operator=request.state.operator,
            peer=request.client.host if request.client else None,
        )
        async with asyncio.timeout(ORDER_TIMEOUT_S):
            made = await call(order)
        clean(made)
        return answer(plain(made))

    async def _groups(self, _: Request) -> Response:
        return answer(await self._desk.groups())

    async def _letter(self, request: Request) -> Response:
        asked = dict(request.query_params)
        return answer(await self._desk.letter(text_of(asked, "topic"), text_of(asked, "which")))

    async def _replay(self, request: Request) -> Response:
        document = await said(request)
        return answer(
            self._desk.replay(text_of(document, "topic"), text_of(document, "which"), request.state.operator), 202
        )

    async def _stop(self, _: Request) -> Response:
        return answer(await self._desk.stop())


def _encoded(event: Event) -> bytes:
    """A server-sent event. JSON has no line end, so it is one line."""
    name, body = event
    return b"event: %b\ndata: %b\n\n" % (name.encode(), body)
