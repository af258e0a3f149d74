"""Records of deltas for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from examples.deli.boxcar import encode_boxcar
from tests.unit.waiting import until

__all__ = ["TENANT", "boxcar", "boxcars", "nack", "sequenced", "until"]

TENANT = "tenant"


def sequenced(number: int, document: str = "doc", **operation: Any) -> dict[str, Any]:
    """A sequenced operation, as deli produces it."""
    return {
        "type": "SequencedOperation",
        "tenantId": TENANT,
        "documentId": document,
        "operation": {
            "clientId": "A",
            "clientSequenceNumber": number,
            "contents": f"contents {number}",
            "minimumSequenceNumber": 0,
            "referenceSequenceNumber": 0,
            "sequenceNumber": number,
            "timestamp": 1_700_000_000_000 + number,
            "traces": [{"service": "deli", "action": "start", "timestamp": 1}],
            "type": "op",
            **operation,
        },
    }


def nack(document: str = "doc") -> dict[str, Any]:
    """What deli refused; scriptorium has nothing to do with it."""
    return {"type": "Nack", "tenantId": TENANT, "documentId": document, "clientId": "A", "operation": {}}


def boxcar(*messages: dict[str, Any], document: str = "doc") -> bytes:
    """A record's value."""
    return encode_boxcar(messages, TENANT, document)


def boxcars(numbers: Iterable[int], document: str = "doc") -> list[bytes]:
    """A record for each number."""
    return [boxcar(sequenced(number, document), document=document) for number in numbers]
