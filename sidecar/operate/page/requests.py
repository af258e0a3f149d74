"""The page's API: requests and answers as JSON, with a bound on their size, and refusals with a reason."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sidecar.dead_letters.clients import DeadLettersError
from sidecar.mail.boxes import GoneError
from sidecar.operate.page.plain import shown
from sidecar.operate.page.refusal import Refusal
from sidecar.partitions.vocabulary import OrderRefused

MAX_BODY_BYTES = 64 * 1024
"""The size of a request's body: an order about one partition has a few hundred bytes."""

_STATUSES = {"argument": 400, "unknown": 404, "state": 409, "range": 422, "kafka": 503}

Endpoint = Callable[[Request], Awaitable[Response]]
M = TypeVar("M", bound=Message)


def answer(document: Any, status: int = 200) -> Response:
    """A JSON answer."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    return Response(body, status, media_type="application/json")


def answering(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose refusals become answers: `{"error": TEXT}` with a status."""

    async def wrapped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            refused = answer({"error": str(refusal)}, refusal.status)
            refused.headers.update(refusal.headers or {})
            return refused
        except OrderRefused as refusal:
            return answer({"error": shown(str(refusal))}, _STATUSES[refusal.kind])
        except GoneError as error:
            return answer({"error": str(error)}, 503)
        except DeadLettersError as error:
            return answer({"error": shown(str(error))}, 502)
        except TimeoutError:
            return answer({"error": "there is no answer yet; the page shows when it is done"}, 504)

    return wrapped


async def said(request: Request) -> dict[str, Any]:
    """The JSON object that a request has as its body. Raises ``Refusal``.

    Its content type must say JSON: no form of another site's page can send that.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "expected a JSON object, with content-type: application/json")
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Refusal(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise Refusal(400, "the connection ended within the request") from None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(found, dict):
        raise Refusal(400, "expected a JSON object")
    return found


def parsed(document: dict[str, Any], message: M) -> M:
    """Fill a message of the admin contract from JSON with its fields' names. Raises ``Refusal``."""
    try:
        return ParseDict(document, message)
    except ParseError as error:
        raise Refusal(400, shown(str(error))) from None


def text_of(document: dict[str, Any], name: str) -> str:
    """A text member. Raises ``Refusal``."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(400, f"{name}: expected a text")
    return value
