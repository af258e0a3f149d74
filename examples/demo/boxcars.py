"""The records that clients of a document, and the service on their behalf, write to rawdeltas."""

import json
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

TENANT = "demo"

_OF_THE_SERVICE: Json = {"clientSequenceNumber": -1, "referenceSequenceNumber": -1, "contents": None, "traces": []}


def join(client: str, name: str, now: int) -> Json:
    """A write client joins. Times are milliseconds since the Unix epoch."""
    detail = {"mode": "write", "scopes": ["doc:read", "doc:write"], "user": {"id": name}}
    return _entry(
        None, {**_OF_THE_SERVICE, "type": "join", "data": _data({"clientId": client, "detail": detail})}, now
    )


def leave(client: str, now: int) -> Json:
    """A client leaves."""
    return _entry(None, {**_OF_THE_SERVICE, "type": "leave", "data": _data(client)}, now)


def operation(client: str, number: int, reference: int, contents: Json, now: int) -> Json:
    """A client's operation: its own number, and the last number of the document that the client has seen."""
    made = {"clientSequenceNumber": number, "referenceSequenceNumber": reference, "contents": contents}
    return _entry(client, {**made, "traces": [], "type": "op"}, now)


def boxcar(document: str, entries: Sequence[Json]) -> bytes:
    """The value of a record with these entries; its key is the document."""
    contents = [{**entry, "documentId": document, "tenantId": TENANT} for entry in entries]
    return _data({"contents": contents, "documentId": document, "tenantId": TENANT, "type": "boxcar"}).encode()


def _entry(client: str | None, made: Json, now: int) -> Json:
    return {"clientId": client, "operation": made, "timestamp": now, "type": "RawOperation"}


def _data(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
