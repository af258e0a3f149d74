"""The documents that the sequenced stream describes, and its contradictions. It starts and queries nothing."""

import json
import threading
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.demo.text import Text, name_of

WRONG_KEPT = 20
"""The most contradictions that are kept; one is an error already."""

_OF_THE_SEQUENCING = ("traces", "additionalContent")
"""Parts of an operation with times of the sequencing itself: they differ when it is sequenced again."""


@dataclass(frozen=True)
class Change:
    """A message of the sequenced stream, when it is read for the first time."""

    document: str
    number: int
    """0: it was refused."""
    minimum: int
    kind: str
    """``op``, ``join``, ``leave``, ...; ``nack``: it was refused."""
    client: str
    """The client that it is from or about; empty: the sequencer itself."""
    client_number: int
    contents: Any
    age: int
    """Milliseconds since it was sent."""

    @property
    def what(self) -> str:
        """The message in words."""
        contents = self.contents if isinstance(self.contents, Mapping) else {}
        if "insert" in contents:
            return f"types {contents['insert']}"
        if "delete" in contents:
            return f"deletes {contents.get('word') or 'a word'}"
        return {
            "join": "comes",
            "leave": "goes",
            "noClient": "nobody is here any more",
            "nack": f"is refused: {contents.get('message', '')}",
        }.get(self.kind, self.kind)


@dataclass
class Document:
    """A document with all operations up to its newest number."""

    name: str
    number: int = 0
    minimum: int = 0
    clients: dict[str, int] = field(default_factory=dict)
    """The connected clients, each with its own last number."""
    text: Text = field(default_factory=Text)
    last: Change | None = None
    seen: "array[int]" = field(default_factory=lambda: array("q"))
    """By number, from 1 on: a fingerprint of the content; 0: the number is missing."""


class Documents:
    """All documents of a stream. Several threads may use it if they hold its ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.all: dict[str, Document] = {}
        self.latest: deque[Change] = deque(maxlen=100)
        self.numbers = 0
        """How many numbers were given, over all documents."""
        self.again = 0
        """How often a number came again with the same content."""
        self.refused = 0
        self.wrong: list[str] = []
        """The contradictions; empty: all is well."""

    def take(self, value: bytes, now: int) -> list[Change]:
        """Take a record of deltas at this time, in milliseconds. Returns its new messages."""
        changes = []
        for message in json.loads(value)["contents"]:
            document = self.all.setdefault(message["documentId"], Document(message["documentId"]))
            if message["type"] == "Nack":
                self.refused += 1
                changes.append(_refusal(document, message))
            elif message["type"] == "SequencedOperation" and self._is_new(document, message["operation"]):
                changes.append(self._apply(document, message["operation"], now))
        self.latest.extend(changes)
        return changes

    def _is_new(self, document: Document, operation: Mapping[str, Any]) -> bool:
        """Check the number. Returns whether it is the next one."""
        number = operation["sequenceNumber"]
        print_ = _fingerprint(operation)
        if number > document.number:
            missing = number - document.number - 1
            if missing:
                self._say(f"{document.name}: number {number} came after {document.number}")
                document.seen.extend([0] * missing)
            document.seen.append(print_)
            document.number = number
            self.numbers += 1
            return True
        known = document.seen[number - 1] if number > 0 else 0
        if known == print_:
            self.again += 1
        elif known:
            self._say(f"{document.name}: number {number} came twice, with different contents")
        else:
            self._say(f"{document.name}: number {number} came late")
        return False

    def _apply(self, document: Document, operation: Mapping[str, Any], now: int) -> Change:
        client, kind, number = operation.get("clientId") or "", operation["type"], operation["sequenceNumber"]
        own, contents = operation.get("clientSequenceNumber", -1), operation.get("contents")
        document.minimum = operation["minimumSequenceNumber"]
        if kind == "join":
            client = json.loads(operation["data"])["clientId"]
            document.clients[client] = 0
        elif kind == "leave":
            client = json.loads(operation["data"])
            document.clients.pop(client, None)
        elif client:
            # A gap may be right here: consolidated noops have no number in the document.
            if own <= document.clients.get(client, 0):
                self._say(f"{document.name}: number {number} is operation {own} of {client}, which has one already")
            document.clients[client] = own
            if isinstance(contents, Mapping) and "delete" in contents:
                contents = {**contents, "word": _word(document.text, contents["delete"])}
            if not document.text.apply(name_of(client, own), number, contents, document.minimum):
                self._say(f"{document.name}: number {number} refers to a word that is not there")
        age = max(0, now - operation["timestamp"])
        document.last = Change(document.name, number, document.minimum, kind, client, own, contents, age)
        return document.last

    def _say(self, text: str) -> None:
        if len(self.wrong) < WRONG_KEPT:
            self.wrong.append(text)


def _refusal(document: Document, message: Mapping[str, Any]) -> Change:
    content = message["operation"]
    nacked = content.get("operation") or {}
    reason = content.get("content") or {}
    own = nacked.get("clientSequenceNumber", -1)
    return Change(document.name, 0, document.minimum, "nack", message.get("clientId") or "", own, reason, 0)


def _word(text: Text, name: str) -> str:
    return next((word.text for word in text.words() if word.name == name), "")


def _fingerprint(operation: Mapping[str, Any]) -> int:
    """Equal for equal operations, within this process; never 0."""
    essence = {name: value for name, value in operation.items() if name not in _OF_THE_SEQUENCING}
    return hash(json.dumps(essence, sort_keys=True)) or 1
