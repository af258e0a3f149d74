"""The state of a document, and how it is stored."""

import zlib
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from examples.deli.clients import Client, Clients
from examples.deli.javascript import Malformed, parse, stringify_some, truthy, whole
from examples.deli.values import value

FIRST_HASH = "00000000"

_DURABLE = "durableSequenceNumber"

_HASHED = (
    *("clientId", "sequenceNumber", "minimumSequenceNumber", "clientSequenceNumber", "referenceSequenceNumber"),
    *("type", "timestamp", "data"),
)  # in this order


@value
class State:
    """The state of one document (DL-1). Without arguments: the state of a new document (DL-2).

    Invariants:

    - ``sequence_number`` grows by one for each message that is sent, and by nothing else.
    - With write clients, ``minimum_sequence_number`` is the lowest of their reference sequence numbers.
    - It includes every record up to and including ``log_offset``, and none after it.
    """

    sequence_number: int = 0
    """The last number given."""
    minimum_sequence_number: int = 0
    """No client refers to anything below; MSN in the rules. Not stored: it follows from the rest (DL-3)."""
    last_sent_msn: int = 0
    """The minimum in the last message that was sent."""
    durable_sequence_number: int = 0
    """A summary includes every message up to it; DSN in the rules."""
    log_offset: int = -1
    last_hash: str = FIRST_HASH
    signal_client_connection_number: int = 0
    clients: Clients = field(default_factory=Clients)
    nack_messages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Reasons to refuse messages now, by identifier (DL-7)."""

    @property
    def no_active_clients(self) -> bool:
        """No write client is connected."""
        return not self.clients

    # The fields that every operation changes. `replace` does the same, and takes six times as long.

    def handling(self, log_offset: int) -> "State":
        """The record at this offset is being handled (DL-48)."""
        return State(
            self.sequence_number,
            self.minimum_sequence_number,
            self.last_sent_msn,
            self.durable_sequence_number,
            log_offset,
            self.last_hash,
            self.signal_client_connection_number,
            self.clients,
            self.nack_messages,
        )

    def numbered(self, sequence_number: int, minimum_sequence_number: int, clients: Clients) -> "State":
        """An operation has its number, which is not sent yet (DL-16 to DL-18)."""
        return State(
            sequence_number,
            minimum_sequence_number,
            self.last_sent_msn,
            self.durable_sequence_number,
            self.log_offset,
            self.last_hash,
            self.signal_client_connection_number,
            clients,
            self.nack_messages,
        )

    def told(self, last_hash: str, msn: int) -> "State":
        """An operation is sent (DL-34)."""
        return State(
            self.sequence_number,
            self.minimum_sequence_number,
            msn,
            self.durable_sequence_number,
            self.log_offset,
            last_hash,
            self.signal_client_connection_number,
            self.clients,
            self.nack_messages,
        )

    def to_json(self, now: int) -> dict[str, Any]:
        """As it is stored."""
        return {
            "clients": [client.to_json() for client in self.clients],
            "durableSequenceNumber": self.durable_sequence_number,
            "expHash1": self.last_hash,
            "logOffset": self.log_offset,
            "sequenceNumber": self.sequence_number,
            "signalClientConnectionNumber": self.signal_client_connection_number,
            "lastSentMSN": self.last_sent_msn,
            "nackMessages": [[identifier, contents] for identifier, contents in self.nack_messages.items()],
            "checkpointTimestamp": now,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "State":
        """From its stored form (DL-3).

        Raises ``Malformed`` when it is not a state. To start afresh would give numbers a second time.
        """
        try:
            clients = Clients()
            for client in stored.get("clients") or ():
                if truthy(client.get("clientId")):  # else its leave would be impossible
                    clients = clients.put(Client.from_json(client))
            sequence_number = whole(stored, "sequenceNumber")
            # A state of the service may be without these (the first as null, too).
            given = {name: value for name, value in stored.items() if value is not None or name == _DURABLE}
            counts = {_DURABLE: 0, "lastSentMSN": 0, "signalClientConnectionNumber": 0, **given}
            int(last_hash := stored.get("expHash1") or FIRST_HASH, 16)  # raises now if it is not a number
            lowest = clients.lowest
            return cls(
                sequence_number=sequence_number,
                minimum_sequence_number=lowest.reference_sequence_number if lowest else sequence_number,
                last_sent_msn=whole(counts, "lastSentMSN"),
                durable_sequence_number=whole(counts, _DURABLE),
                log_offset=whole(stored, "logOffset"),
                last_hash=last_hash,
                signal_client_connection_number=whole(counts, "signalClientConnectionNumber"),
                clients=clients,
                nack_messages=_nack_messages(stored.get("nackMessages")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Malformed(f"no stored state: {error!r}") from error


def load(stored: str | None, local: str | None = None, summary: str | None = None) -> State:
    """The state to start from.

    Args:
        stored: Field ``deli`` of the document (DL-57). None: a new document. Empty: the state was cleared, and the
            latest summary has it, where no offset counts (DL-58).
        local: The state in a collection of its own. With both, the higher sequence number wins, then the local one.
        summary: The state in the latest summary.
    """
    states = [State.from_json(parse(text)) for text in (local, stored) if text]
    if states:
        return max(states, key=lambda state: state.sequence_number)  # the first of equals: the local one
    if stored == "":
        if not summary:
            raise Malformed("the state was cleared, and there is no summary: a fresh one would give numbers twice")
        return replace(State.from_json(parse(summary)), log_offset=-1)
    return State()


def next_hash(message: Mapping[str, Any], last: str) -> str:
    """The rolling hash with this message: a signed CRC-32 in hexadecimal (DL-62)."""
    crc = zlib.crc32(stringify_some(message, _HASHED), int(last, 16) & 0xFFFFFFFF)
    return f"{crc - (1 << 32) if crc >= 1 << 31 else crc:x}"


def check_nack_messages(contents: Any) -> None:
    """Find out now whether these contents of nackMessages would fail with the next message of a client.

    Raises ``Malformed`` when they cannot be used.
    """
    if not isinstance(contents, Mapping) or contents.get("content") is None:
        raise Malformed("nackMessages whose content is null, or none")
    if not isinstance(scopes := contents.get("allowedScopes"), list | str) and truthy(scopes):
        raise Malformed("nackMessages whose allowedScopes are no list")


def _nack_messages(stored: Any) -> dict[str, Mapping[str, Any]]:
    if isinstance(stored, Mapping):  # the form of older states: a single one
        stored = [(stored["identifier"], stored)] if stored.get("identifier") else ()
    active: dict[str, Mapping[str, Any]] = dict(stored or ())
    for contents in active.values():
        check_nack_messages(contents)
    return active
