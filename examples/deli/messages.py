"""What goes into a sequencer and what comes out.

Outputs come in the order in which they are to be done. ``SaveState`` waits until everything before it is in Kafka.
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
    """Time went on: at ``next_deadline`` or later."""


@value
class ProduceFailed:
    """An output of the record at ``offset`` did not get into Kafka (DL-60)."""

    error: str
    offset: int
    too_large: bool = False
    """The broker refused the size, as it will again."""


@value
class Close:
    """Nothing comes out any more (DL-45)."""


Input: TypeAlias = Record | Tick | ProduceFailed | Close

# -- out ---------------------------------------------------------------------------------------------------------


@value
class Deltas:
    """One record for deltas: sequenced operations and nacks."""

    messages: tuple[Json, ...]


@value
class RawDeltas:
    """One record for rawdeltas, to the document's own partition: it comes back as a ``Record``."""

    message: Json


@value
class Signal:
    """One record for signals."""

    message: Json


@value
class Event:
    """Something that happened, for whoever listens in this process. No one needs to."""

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
    """As it was when this was decided: all that is in it is among the outputs before."""
    kafka_offset: int | None
    time: int

    @property
    def clear(self) -> bool:
        """The stored state goes away instead: the summary has it (DL-56)."""
        return self.reason is Reason.CLEAR_CACHE


@value
class Checkpoint:
    """``context.checkpoint(offset)``. One that a step gives goes through ``checkpoints.Saves`` first."""

    offset: int


@value
class Failure:
    """``context.error(...)``. The session is closed."""

    error: str
    restart: bool
    corrupt: int | None = None
    """The document cannot go on, because of the record at this offset."""


Output: TypeAlias = Deltas | RawDeltas | Signal | Event | SaveState | Checkpoint | Failure

# -- how messages look -------------------------------------------------------------------------------------------


@value
class Document:
    """Whose messages they are."""

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
        """A message that has its number."""
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
        """Somebody came or went."""
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
