"""The records of rawdeltas and deltas: boxcars of messages of one document."""

from collections.abc import Iterable, Mapping
from typing import Any

from examples.deli.javascript import (
    UNDEFINED,
    Malformed,
    Parsed,
    encode as encode_json,
    integer,
    parse,
    read,
    truthy,
    without_deep,
)
from examples.deli.values import value

Json = dict[str, Any]

SERVICE_TYPES = frozenset({"join", "leave", "control", "noClient", "summaryAck", "summaryNack"})
"""The types that only the service may send (DL-9)."""

_WITH_DATA = frozenset({"join", "leave", "control", "summaryAck", "summaryNack"})


@value
class RawOperation:
    """A message that is to be numbered."""

    client_id: str | None
    """The sender; None: the service."""
    entry: Json
    operation: Json
    type: str
    """Empty if the type is not a text: then no rule of a type applies."""
    timestamp: int
    client_sequence_number: int | None
    """The client's own number of the message; None if it is not a number."""
    reference_sequence_number: int | None
    """The last sequence number that its client had seen; None if it is not a number."""
    fault: str | None = None
    """Why a client's message cannot be numbered in any state."""

    @classmethod
    def of(cls, entry: Any, is_deep: bool = False) -> "RawOperation | None":
        """The operation in an entry of a boxcar; None for an entry of another type, which is ignored (DL-5).

        Args:
            entry: Of the boxcar.
            is_deep: Parts of it are left out, see `Boxcar.deep`.

        Raises:
            Malformed: a message of the service cannot be understood. For a client's message it is never raised: a
            client must not make the document corrupt for all, so its message has a ``fault``.
        """
        if not isinstance(entry, dict) or entry.get("type") != "RawOperation":
            return None
        operation = entry.get("operation")
        timestamp = integer(entry.get("timestamp"))
        client_id = entry.get("clientId")
        if client_id is not None and not isinstance(client_id, str):
            raise Malformed("a clientId that is no string")
        fault = "Op is nested too deeply" if is_deep and client_id else None
        if not isinstance(operation, dict):
            operation, fault = {}, "Op is no object"
        if timestamp is None:
            timestamp, fault = 0, "Op without a timestamp"
        if fault is not None and not client_id:
            raise Malformed(fault)
        type_ = operation.get("type")
        # DL-17: an empty clientId counts as none.
        return cls(
            client_id or None,
            entry,
            operation,
            type_ if isinstance(type_, str) else "",
            timestamp,
            integer(operation.get("clientSequenceNumber")),
            integer(operation.get("referenceSequenceNumber")),
            fault,
        )

    def data(self) -> Any:
        """The parsed ``data`` of a message of the service (DL-6); `UNDEFINED` where it has none.

        A client's message of such a type is refused anyway (DL-9) and not parsed: the garbage of one client must not
        make the document corrupt for all.
        """
        text = self.operation.get("data")
        if self.client_id is not None or self.type not in _WITH_DATA or not truthy(text):
            return UNDEFINED
        if not isinstance(text, str):
            raise Malformed(f"the data of a {self.type} is no string")
        return parse(text)


@value
class Boxcar:
    """A record's value."""

    contents: tuple[Any, ...]
    tenant_id: str = ""
    document_id: str = ""
    deep: frozenset[int] = frozenset()
    """The indexes in ``contents`` of the entries that were nested too deeply; null replaces the deep parts."""

    def operations(self) -> Iterable[RawOperation]:
        """Its operations, in order."""
        found = [RawOperation.of(entry, index in self.deep) for index, entry in enumerate(self.contents)]
        return [operation for operation in found if operation is not None]


def parse_boxcar(value: bytes | str) -> Boxcar:
    """A boxcar from a record's value, in today's form or that of old records.

    Raises ``Malformed`` when the value is not JSON or not an object. The service skips such a record in silence.
    """
    message, is_deep = read(value)
    if not isinstance(message, dict):
        raise Malformed("the value is no object")
    return boxcar_of(message, is_deep)


def boxcar_of(message: Mapping[str, Any], is_deep: bool = False) -> Boxcar:
    """A boxcar from a record's value that is parsed already.

    Raises ``Malformed`` as `parse_boxcar`.

    Args:
        message: The value.
        is_deep: See `Parsed`.
    """
    tenant_id, document_id = message.get("tenantId") or "", message.get("documentId") or ""
    if message.get("type") != "boxcar":  # a message without a boxcar
        contents: Any = [message]
    elif not isinstance(contents := message.get("contents"), list):
        raise Malformed("a boxcar without contents")
    if not is_deep and not any(isinstance(entry, str) for entry in contents):
        return Boxcar(tuple(contents), tenant_id, document_id)
    entries = [read(entry) if isinstance(entry, str) else Parsed(entry, is_deep) for entry in contents]
    deep = [index for index, entry in enumerate(entries) if entry.is_deep and without_deep(entry.value)]
    return Boxcar(tuple(entry.value for entry in entries), tenant_id, document_id, frozenset(deep))


def encode_boxcar(messages: Iterable[Mapping[str, Any]], tenant_id: str, document_id: str) -> bytes:
    """The value of a record with these messages."""
    contents = [*messages]
    return encode_json({"contents": contents, "documentId": document_id, "tenantId": tenant_id, "type": "boxcar"})
