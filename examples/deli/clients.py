"""The connected clients.

Write clients are part of the state: the lowest reference sequence number among them is the minimum sequence number.
Read clients only get signals, and are forgotten when the process ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from examples.deli.javascript import UNDEFINED, Malformed, truthy, whole
from examples.deli.values import value


@value
class Client:
    """A write client (DL-4)."""

    client_id: str
    client_sequence_number: int
    reference_sequence_number: int
    last_update: int
    scopes: tuple[str, ...] = ()
    nack: bool = False
    """A message of it was refused; all its messages are, until it joins again."""
    can_evict: bool = True
    server_metadata: Any = UNDEFINED
    """The metadata that the service gave it with its join; null is a value too."""

    def heard(self, number: int, reference: int, time: int) -> "Client":
        """The client after a message that was not refused. The same as `replace`, which takes five times as long."""
        scopes, can_evict, metadata = self.scopes, self.can_evict, self.server_metadata
        return Client(self.client_id, number, reference, time, scopes, False, can_evict, metadata)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        stored = {
            "canEvict": self.can_evict,
            "clientId": self.client_id,
            "clientSequenceNumber": self.client_sequence_number,
            "lastUpdate": self.last_update,
            "nack": self.nack,
            "referenceSequenceNumber": self.reference_sequence_number,
            "scopes": [*self.scopes],
        }
        return stored if self.server_metadata is UNDEFINED else stored | {"serverMetadata": self.server_metadata}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Client":
        """From its stored form. Raises ``Malformed`` when it is not a client."""
        client_id, scopes = stored["clientId"], stored.get("scopes")
        if not isinstance(client_id, str):
            raise Malformed("a stored client whose id is no text")
        return cls(
            client_id=client_id,
            client_sequence_number=whole(stored, "clientSequenceNumber"),
            reference_sequence_number=whole(stored, "referenceSequenceNumber"),
            last_update=whole(stored, "lastUpdate"),
            scopes=tuple(scopes) if isinstance(scopes, list) else (),
            nack=truthy(stored.get("nack")),
            can_evict=truthy(stored.get("canEvict", True)),
            server_metadata=stored.get("serverMetadata", UNDEFINED),
        )


class Clients:
    """The write clients. Never changes: ``put`` and ``remove`` give a new table.

    ``_heap`` is a binary heap of client ids by reference sequence number. A sorted list would do for the minimum; the
    heap decides which of several clients with the lowest number is checked for idleness (DL-31), and does it as the
    service's heap: the client at the top stays there until another is strictly lower.
    """

    __slots__ = ("_clients", "_heap")

    def __init__(self, clients: Mapping[str, Client] | None = None, heap: tuple[str, ...] = ()) -> None:
        self._clients = clients or {}
        self._heap = heap

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        """In the order in which they joined."""
        return iter(self._clients.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Clients) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]  # equal by content, with metadata that has no hash

    def get(self, client_id: Any) -> Client | None:
        """The client with this id, if there is one."""
        return self._clients.get(client_id) if isinstance(client_id, str) else None

    @property
    def lowest(self) -> Client | None:
        """The client with the lowest reference sequence number."""
        return self._clients[self._heap[0]] if self._heap else None

    def put(self, client: Client) -> "Clients":
        """The table with ``client``, which is new or replaces the one with its id."""
        known = client.client_id in self._clients
        clients = {**self._clients, client.client_id: client}
        if known and len(clients) == 1:  # alone, it is at the top already
            return Clients(clients, self._heap)
        heap = [*self._heap]
        if not known:
            heap.append(client.client_id)
        _settle(heap, heap.index(client.client_id) if known else len(heap) - 1, clients)
        return Clients(clients, tuple(heap))

    def remove(self, client_id: str) -> "Clients":
        """The table without this client."""
        clients = {name: client for name, client in self._clients.items() if name != client_id}
        heap = [*self._heap]
        place = heap.index(client_id)
        last = heap.pop()
        if place < len(heap):
            heap[place] = last
            _settle(heap, place, clients)
        return Clients(clients, tuple(heap))

    def heard(self, client_id: str, number: int, reference: int, time: int) -> "Clients":
        """The table after a message of a known client that was not refused."""
        return self.put(self._clients[client_id].heard(number, reference, time))

    def touch(self, client_id: str, **changes: Any) -> "Clients":
        """The table with these fields of a known client changed."""
        return self.put(replace(self._clients[client_id], **changes))


@value
class Reader:
    """A client that gets signals only. A write client that was announced by a signal is in this table too."""

    mode: str
    expiry: int


def _settle(heap: list[str], place: int, clients: Mapping[str, Client]) -> None:
    """Restore the heap at the index ``place``: move its client up if its parent is higher, else down."""
    moving, start = heap[place], place
    reference = clients[moving].reference_sequence_number
    while place:
        above = heap[(place - 1) // 2]
        if clients[above].reference_sequence_number <= reference:
            break
        heap[place] = above
        place = (place - 1) // 2
    if place == start:
        while (child := 2 * place + 1) < len(heap):
            lowest = clients[heap[child]].reference_sequence_number
            if child + 1 < len(heap) and (other := clients[heap[child + 1]].reference_sequence_number) < lowest:
                child, lowest = child + 1, other
            if reference <= lowest:
                break
            heap[place] = heap[child]
            place = child
    heap[place] = moving
