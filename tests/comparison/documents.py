"""Documents whose clients make no mistakes: the records to produce to Kafka, for tests of the whole path."""

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

from tests.comparison.played import Answer, Json
from tests.comparison.sessions import NOW

LENGTHS = {"minutes-of-a-meeting": 420, "table-é": 260, "short": 60}
"""The number of records of each document."""

AS_RECORDED: Json = {
    "clientTimeout": 10**13,
    "noOpConsolidationTimeout": 10**8,
    "activityTimeout": 10**8,
    "disableNoClientMessage": True,
}
"""The sequencer sends no messages of its own: they would appear between the records at varying positions."""

TELLING = (
    *("sequenceNumber", "minimumSequenceNumber", "type", "clientId", "clientSequenceNumber"),
    *("referenceSequenceNumber", "timestamp", "expHash1"),
)
"""The fields that are kept of a sequenced operation. The hash covers the others, except those passed on unchanged."""


class _Document:
    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.rng = rng
        self.time = NOW
        self.number = 0
        self.clients: dict[str, list[int]] = {}
        """By client: its last client sequence number, and its last reference sequence number."""

    def records(self, count: int) -> Iterator[list[Json]]:
        """The contents of ``count`` records."""
        yield [self._join()]
        for _ in range(count - 4):
            self.time += self.rng.choice((3, 40, 900, 20_000))
            yield self._record()
        name = next(iter(self.clients))
        for other in [*self.clients]:
            if other != name:
                yield [self._leave(other)]
        yield [self._leave(name)]
        yield [self._raw(None, "noClient")]

    def _record(self) -> list[Json]:
        choice = self.rng.random()
        if choice < 0.03 or not self.clients:
            return [self._join()]
        name = self.rng.choice([*self.clients])
        if choice < 0.05 and len(self.clients) > 2:
            return [self._leave(name)]
        if choice < 0.06:
            data = json.dumps({"handle": "h", "summaryProposal": {"summarySequenceNumber": self.number}})
            self.number += 1
            return [self._raw(None, "summaryAck", data=data)]
        return [self._of_a_client(name) for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]

    def _of_a_client(self, name: str) -> Json:
        rng = self.rng
        type_ = rng.choices(("op", "noop", "propose", "summarize"), (85, 12, 1, 2))[0]
        client = self.clients[name]
        client[0] += 1
        client[1] = rng.randint(client[1], self.number)
        self.number += type_ != "noop"
        word = rng.choice(("insert", "remove", "é\u2028", "\U0001f600"))
        contents: Any = json.dumps({"address": name[:8], "contents": {"pos": rng.randrange(999), "text": word}})
        if type_ == "noop":
            contents = None
        return self._raw(name, type_, client[0], client[1], contents=contents)

    def _join(self) -> Json:
        name = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        self.clients[name] = [0, self.number]
        # A reference to the current number is never below the minimum, which is at most every client's reference.
        self.number += 1
        detail = {"mode": "write", "scopes": ["doc:read", "doc:write", "summary:write"], "user": {"id": name[:8]}}
        return self._raw(None, "join", data=json.dumps({"clientId": name, "detail": detail}))

    def _leave(self, name: str) -> Json:
        del self.clients[name]
        self.number += 1
        return self._raw(None, "leave", data=json.dumps(name))

    def _raw(self, client_id: str | None, type_: str, number: int = -1, reference: int = -1, **extra: Any) -> Json:
        operation = {"clientSequenceNumber": number, "contents": None, "referenceSequenceNumber": reference}
        return {
            "clientId": client_id,
            "documentId": self.name,
            "operation": {**operation, "traces": [], "type": type_, **extra},
            "tenantId": "recorded",
            "timestamp": self.time,
            "type": "RawOperation",
        }


def made(name: str, count: int, seed: str) -> list[list[Json]]:
    """The contents of a document's records."""
    return [*_Document(name, random.Random(f"{seed}-{name}")).records(count)]


def session(contents: list[list[Json]]) -> Json:
    """A session with these records for the published deli."""
    state: Json = {"clients": [], "durableSequenceNumber": 0, "logOffset": -1, "sequenceNumber": 0}
    steps = [["put", entries, 0] for entries in contents]
    return {"now": NOW, "config": AS_RECORDED, "signals": False, "state": state, "steps": steps}


def recorded(name: str, contents: list[list[Json]], answers: list[Answer]) -> Json:
    """A document as it is stored: its records, and the expected sequenced operations."""
    outputs = [output for answer in answers for output in answer if output["kind"] == "deltas"]
    messages = [message for output in outputs for message in output["msgs"]]
    refused = [message for message in messages if message["type"] != "SequencedOperation"]
    if refused:
        raise ValueError(f"{name}: {refused[0]}")
    boxcar = {"documentId": name, "tenantId": "recorded", "type": "boxcar"}
    operations = [message["operation"] for message in messages]
    return {
        "name": name,
        "rawdeltas": [{"key": name, "value": {"contents": entries, **boxcar}} for entries in contents],
        "deltas": [{field: operation[field] for field in TELLING} for operation in operations],
    }
