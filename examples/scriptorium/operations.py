"""Makes stored documents of a record of deltas, and compares two stored documents."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from examples.deli.boxcar import parse_boxcar
from examples.deli.javascript import Malformed, integer

Document = tuple[str, str]
"""A collaborative document: tenant and id."""

LARGEST = 16 * 1024 * 1024
"""Bytes of the largest document that MongoDB stores."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_LEAST, _MOST = -(2**63), 2**63 - 1
_ANY_DATE: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
"""Python's own dates end with the year 9999."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A sequenced operation in its stored form."""

    document: Document
    number: int
    """Its sequence number."""
    offset: int
    """The offset of its record."""
    encoded: bytes
    """The stored document in BSON. The handler encodes it, once, and finds there that it cannot be stored."""


def operations_of(value: bytes | None, offset: int) -> list[Operation]:
    """The sequenced operations in a record's value; entries of other types are left out (SC-1).

    Raises ``Malformed`` when it is not JSON or not a boxcar, or when an operation lacks a field of the index or does
    not fit into BSON.
    """
    if value is None:
        raise Malformed("a record without a value")
    boxcar = parse_boxcar(value)
    found = []
    for index, entry in enumerate(boxcar.contents):
        if isinstance(entry, Mapping) and entry.get("type") == "SequencedOperation":
            if index in boxcar.deep:
                raise Malformed("a sequenced operation that is nested too deeply to be read")
            found.append(_operation(entry, offset))
    return found


def same(ours: bytes, stored: bytes) -> bool:
    """Whether two stored documents, in BSON, are one operation.

    A sequencer that starts again gives the same messages the same numbers, at a later time (DL-59): fields with times
    of the sequencing are not compared. ``timestamp`` belongs to the client's message and is compared.
    """
    return _essence(ours) == _essence(stored)


def _essence(encoded: bytes) -> dict[str, Any]:
    document = bson.decode(encoded, _ANY_DATE)
    for name in ("_id", "mongoTimestamp"):
        document.pop(name, None)
    operation = document.get("operation")
    if isinstance(operation, dict):
        for name in ("traces", "additionalContent"):
            operation.pop(name, None)
    return document


def _operation(entry: Mapping[str, Any], offset: int) -> Operation:
    tenant_id, document_id, operation = entry.get("tenantId"), entry.get("documentId"), entry.get("operation")
    if not isinstance(tenant_id, str) or not isinstance(document_id, str) or not isinstance(operation, Mapping):
        raise Malformed("a sequenced operation without a tenantId, a documentId or an operation")
    number, timestamp = integer(operation.get("sequenceNumber")), integer(operation.get("timestamp"))
    if number is None or timestamp is None:
        raise Malformed("a sequenced operation without a sequenceNumber or a timestamp")
    if not (_LEAST <= number <= _MOST and _LEAST <= timestamp <= _MOST):
        raise Malformed("a sequenced operation whose sequenceNumber or timestamp has more than 64 bits")
    # SC-2. The driver gives no _id to a document that is encoded already.
    stored = {
        **entry,
        "_id": bson.ObjectId(),
        "operation": {**operation, "traces": []},
        "mongoTimestamp": DatetimeMS(timestamp),
    }
    encoded = _encode(stored)
    if len(encoded) > LARGEST:
        raise Malformed(f"operation {number} takes {len(encoded)} bytes, more than {LARGEST}")
    return Operation((tenant_id, document_id), number, offset, encoded)


def _encode(document: Mapping[str, Any]) -> bytes:
    try:
        return bson.encode(document)
    except (OverflowError, UnicodeError):
        pass
    except (BSONError, RecursionError) as error:
        raise Malformed(f"BSON cannot hold it: {error}") from error
    try:
        return bson.encode(_as_javascript(document))
    except (BSONError, OverflowError, UnicodeError, RecursionError) as error:
        raise Malformed(f"BSON cannot hold it: {error}") from error


def _as_javascript(value: Any) -> Any:
    """The value as the service stores it: integers beyond 64 bits are doubles, half a surrogate pair is U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, int) and not isinstance(value, bool) and not _LEAST <= value <= _MOST:
        return float(value)
    if isinstance(value, Mapping):
        return {_as_javascript(key): _as_javascript(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [*map(_as_javascript, value)]
    return value
