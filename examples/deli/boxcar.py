"""The records of rawdeltas and deltas: boxcars of messages of one document."""

from collections.abc import Iterable, Mapping
from typing import Any

from examples.deli.javascript import Malformed, encode as encode_json, integer, parse
from examples.deli.values import value

Json = dict[str, Any]

SERVICE_TYPES = frozenset({"join", "leave", "control", "noClient", "summaryAck", "summaryNack"})
"""What only the service may send (DL-9)."""

_WITH_DATA = frozenset({"join", "leave", "control", "summaryAck", "summaryNack"})


@value
class RawOperation:
    """A message that asks for a number."""

    client_id: str | None
    """Who sent it; None: the service."""
    entry: Json
    operation: Json
    type: str
    timestamp: int
    client_sequence_number: int | None
    """Its place in its client's row; None if that is no number."""
    reference_sequence_number: int | None
    """The last sequence number that its client had seen; None if that is no number."""

    @classmethod
    def of(cls, entry: Any) -> "RawOperation | None":
        """The operation in an entry of a boxcar; None for an entry of another type, which is ignored (DL-5)."""
        if not isinstance(entry, dict) or entry.get("type") != "RawOperation":
            return None
        operation = entry.get("operation")
        timestamp = integer(entry.get("timestamp"))
        client_id = entry.get("clientId")
        if not isinstance(operation, dict) or not isinstance(type_ := operation.get("type"), str):
            raise Malformed("an entry without an operation that has a type")
        if timestamp is None:
            raise Malformed("an entry without a timestamp")
        if client_id is not None and not isinstance(client_id, str):
            raise Malformed("a clientId that is no string")
        # DL-17: an empty clientId counts as none.
        return cls(
            client_id or None,
            entry,
            operation,
            type_,
            timestamp,
            integer(operation.get("clientSequenceNumber")),
            integer(operation.get("referenceSequenceNumber")),
        )

    def data(self) -> Any:
        """The parsed ``data`` of a message of the service (DL-6); None where it has none.

        What a client claims to be such a message is refused anyway (DL-9) and not parsed: one client's garbage must
        not make the document corrupt for all.
        """
        text = self.operation.get("data")
        if self.client_id is not None or self.type not in _WITH_DATA or not text:
            return None
        if not isinstance(text, str):
            raise Malformed(f"the data of a {self.type} is no string")
        return parse(text)


@value
class Boxcar:
    """A record's value."""

    contents: tuple[Any, ...]
    tenant_id: str = ""
    document_id: str = ""

    def operations(self) -> Iterable[RawOperation]:
        """Its operations, in order."""
        return [operation for operation in map(RawOperation.of, self.contents) if operation is not None]


def parse_boxcar(value: bytes | str) -> Boxcar:
    """A boxcar from a record's value, in today's form and in those of old records.

    Raises:
        Malformed: no JSON, or no object. The service skips such a record in silence; here somebody hears of it.
    """
    message = parse(value)
    if not isinstance(message, dict):
        raise Malformed("the value is no object")
    return boxcar_of(message)


def boxcar_of(message: Mapping[str, Any]) -> Boxcar:
    """A boxcar from a record's value that is parsed already.

    Raises:
        Malformed: as `parse_boxcar`.
    """
    tenant_id, document_id = message.get("tenantId") or "", message.get("documentId") or ""
    if message.get("type") != "boxcar":  # a message alone
        return Boxcar((message,), tenant_id, document_id)
    contents = message.get("contents")
    if not isinstance(contents, list):
        raise Malformed("a boxcar without contents")
    entries = [parse(entry) if isinstance(entry, str) else entry for entry in contents]
    return Boxcar(tuple(entries), tenant_id, document_id)


def encode_boxcar(messages: Iterable[Mapping[str, Any]], tenant_id: str, document_id: str) -> bytes:
    """The value of a record with these messages."""
    contents = [*messages]
    return encode_json({"contents": contents, "documentId": document_id, "tenantId": tenant_id, "type": "boxcar"})
