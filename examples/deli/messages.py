"""The inputs and outputs of a sequencer.

Outputs come in the order in which the caller must handle them. ``SaveState`` waits until everything before it is in
Kafka.
"""

from enum import IntEnum
from typing import Any, TypeAlias

from examples.deli.boxcar import Boxcar, Json
from examples.deli.state import State
from examples.deli.values import value

# -- in ----------------------------------------------------------------------------------------------------------


@value
class Record:
    """A record of rawdeltas."""

    offset: int
    boxcar: Boxcar


@value
class Tick:
    """The time is ``next_deadline`` or later."""


@value
class ProduceFailed:
    """An output of the record at ``offset`` was not written to Kafka (DL-60)."""

    error: str
    offset: int
    too_large: bool = False
    """The broker refused the size, and will refuse it again."""


@value
class Close:
    """After this there are no outputs (DL-45)."""


Input: TypeAlias = Record | Tick | ProduceFailed | Close

# -- out ---------------------------------------------------------------------------------------------------------


@value
class Deltas:
    """One record for deltas: sequenced operations and nacks."""

    messages: tuple[Json, ...]


@value
class RawDeltas:
    """One record for rawdeltas, in the document's own partition: it comes back as a ``Record``."""

    message: Json


@value
class Signal:
    """One record for signals."""

    message: Json


@value
class Event:
    """An event for listeners in this process, if there are any."""

    name: str
    detail: Any = None


class Reason(IntEnum):
    """Why the state is saved (DL-51)."""

    EVERY_MESSAGE = 0
    IDLE_TIME = 1
    MAX_TIME = 2
    MAX_MESSAGES = 3
    CLEAR_CACHE = 4
    NO_CLIENTS = 5


@value
class SaveState:
    """Save ``state``, and when it is saved checkpoint ``kafka_offset``, if any (``checkpoints.Saves`` does that)."""

    reason: Reason
    state: State
    """The state at the time of the decision: all its numbers are in the outputs before."""
    kafka_offset: int | None
    time: int

    @property
    def clear(self) -> bool:
        """The stored state is removed instead: the summary has it (DL-56)."""
        return self.reason is Reason.CLEAR_CACHE


@value
class Checkpoint:
    """Call ``context.checkpoint(offset)``. A checkpoint from a step goes through ``checkpoints.Saves`` first."""

    offset: int


@value
class Failure:
    """Call ``context.error(...)``. The session is closed."""

    error: str
    restart: bool
    corrupt: int | None = None
    """The document cannot continue, because of the record at this offset."""


Output: TypeAlias = Deltas | RawDeltas | Signal | Event | SaveState | Checkpoint | Failure

# -- how messages look -------------------------------------------------------------------------------------------


@value
class Document:
    """The document of the messages."""

    tenant_id: str
    document_id: str

    def raw(self, type_: str, now: int, traces: bool, **extra: Any) -> Json:
        """A message of the service to itself."""
        operation: Json = {"clientSequenceNumber": -1, "contents": None, "referenceSequenceNumber": -1}
        if traces:
            operation["traces"] = []
        operation |= {"type": type_} | extra
        return {
            "clientId": None,
            "documentId": self.document_id,
            "operation": operation,
            "tenantId": self.tenant_id,
            "timestamp": now,
            "type": "RawOperation",
        }

    def sequenced(self, operation: Json) -> Json:
        """A numbered message."""
        return {
            "type": "SequencedOperation",
            "tenantId": self.tenant_id,
            "documentId": self.document_id,
            "operation": operation,
        }

    def nack(self, client_id: str, operation: Any, content: Json, msn: int, now: int) -> Json:
        """A refusal (DL-36): its number is the minimum sequence number."""
        return {
            "clientId": client_id,
            "documentId": self.document_id,
            "operation": {"content": content, "operation": operation, "sequenceNumber": msn},
            "tenantId": self.tenant_id,
            "timestamp": now,
            "type": "Nack",
        }

    def signal(self, content: str, reference: int, connection: int, now: int) -> Json:
        """A signal that a client joined or left."""
        operation: Json = {
            "clientId": None,
            "content": content,
            "referenceSequenceNumber": reference,
            "clientConnectionNumber": connection,
        }
        return {
            "type": "Signal",
            "tenantId": self.tenant_id,
            "documentId": self.document_id,
            "operation": operation,
            "timestamp": now,
        }
