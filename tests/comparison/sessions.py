"""Random sessions of deli: clients, the service, time, saves that hang or fail, restarts.

Both packages get the session: ``config``, ``signals``, ``state`` and ``now`` at the start, and ``steps``:

- ``put, entries, gap``: a record with these messages, ``gap`` offsets further on;
- ``loop``: the oldest message that the sequencer has sent to itself comes back;
- ``again, n``: the record of n records ago is read again;
- ``advance, ms``: time passes, and each timer fires at its time;
- ``hang``: saves hang until ``saved`` or ``unsaved`` ends one; its argument says whether the next saves hang too;
- ``restart``: another process starts with the stored state and the committed offset.
"""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.comparison.mutations import mutated
from tests.comparison.played import DOCUMENT, TENANT, Answer, Json, Player, Step

NOW = 1_700_000_000_000

NAMES = ("A", "B", "C", "D", "é-\U0001f600")

WAITS = (
    0,
    1,
    200,
    249,
    250,
    251,
    5_000,
    9_999,
    10_000,
    10_001,
    29_750,
    30_000,
    30_001,
    59_999,
    60_000,
    300_000,
    300_001,
)
"""Milliseconds: among them the timers' times, and one less and one more."""


def session(seed: str, length: int = 60, mutating: float = 0.0) -> tuple[Json, list[Answer]]:
    """A session, and the answers of our sequencer, on which its steps depend.

    Args:
        seed: The same seed makes the same session.
        length: The number of steps.
        mutating: The share of messages with a field that they should not have.
    """
    rng = random.Random(seed)
    story = _Story(rng, mutating)
    answers = [story.player.opening]
    steps: list[Step] = []
    while len(steps) < length and story.player.malformed is None:
        steps.append(story.step())
        answers.append(story.player.play(steps[-1]))
    return {
        "now": NOW,
        "config": story.config,
        "signals": story.signals,
        "state": story.state,
        "steps": steps,
    }, answers


class _Story:
    """Chooses the steps of one session."""

    def __init__(self, rng: random.Random, mutating: float) -> None:
        self.rng = rng
        self.mutating = mutating
        self.of_clients_only = rng.random() < 0.5
        """Only clients' messages are mutated: a mutated message of the service ends a session, often soon."""
        self.config = _config(rng)
        self.signals = rng.random() < 0.5
        self.state: Json = {"clients": [], "durableSequenceNumber": 0, "logOffset": -1, "sequenceNumber": 0}
        self.player = Player(self.config, self.signals, self.state, NOW)
        self.hangs = False

    def step(self) -> Step:
        """The next step."""
        rng = self.rng
        kind = rng.choices(("put", "loop", "advance", "again", "save", "restart"), (60, 14, 14, 3, 7, 2))[0]
        match kind:
            case "put":
                count = rng.choice((1, 1, 1, 1, 2, 3, 5))
                return ["put", self._entries(count), rng.choice((0, 0, 0, 1, 3))]
            case "again":
                return ["again", rng.randrange(4)]
            case "advance":
                return ["advance", rng.choice(WAITS)]
            case "save":
                return self._save()
            case "restart":
                self.hangs = False
        return [kind]

    def _save(self) -> Step:
        if not self.hangs:
            self.hangs = True
            return ["hang"]
        self.hangs = self.rng.random() < 0.5
        return [self.rng.choice(("saved", "saved", "unsaved")), self.hangs]

    def _entries(self, count: int) -> list[Any]:
        numbers: dict[str, int] = {}
        entries = [self._entry(numbers) for _ in range(count)]
        return [
            mutated(self.rng, entry)
            if self.rng.random() < self.mutating and (entry["clientId"] or not self.of_clients_only)
            else entry
            for entry in entries
        ]

    def _entry(self, numbers: dict[str, int]) -> Json:
        rng, state = self.rng, self.player.state
        joined = [client.client_id for client in state.clients]
        if not joined or rng.random() < 0.16:
            return self._by_the_service(rng.choice(joined) if joined and rng.random() < 0.6 else rng.choice(NAMES))
        name = rng.choice(joined) if rng.random() < 0.95 else rng.choice(NAMES)
        client = state.clients.get(name)
        number = numbers[name] = numbers.get(name, client.client_sequence_number if client else 0) + 1
        lowest = client.reference_sequence_number if client else 0
        reference = rng.randint(max(0, min(lowest, state.sequence_number)), max(state.sequence_number, 0))
        if rng.random() < 0.08:
            number += rng.choice((-2, -1, 1, 2))
            del numbers[name]
        if rng.random() < 0.08:
            reference = rng.choice((-1, -1, 0, state.minimum_sequence_number - 1, state.sequence_number + 3))
        return self._by_a_client(name, number, reference)

    def _by_a_client(self, name: str, number: int, reference: int) -> Json:
        rng = self.rng
        type_ = rng.choices(
            ("op", "noop", "summarize", "propose", "reject", "tripComplete", "odd", "leave", "noClient", "control"),
            (60, 22, 5, 4, 2, 1, 1, 1, 1, 1),
        )[0]
        extra: Json = {"contents": rng.choice((None, "", {"k": "v"}, '{"address":"é\\u2028"}', [1, 2.5, 1e21], 7))}
        if type_ == "noop":
            extra["contents"] = rng.choice((None, None, None, "", "x"))
        if rng.random() < 0.1:
            extra["metadata"] = rng.choice((None, {"batch": True}, "m"))
        if rng.random() < 0.05:
            extra["serverMetadata"] = rng.choice((None, {}, {"x": 1}, 0))
        if rng.random() < 0.05:
            extra["compression"] = "lz4"
        if rng.random() < 0.1:
            extra["traces"] = [{"service": "client", "action": "start", "timestamp": 1}] * rng.randrange(4)
        if type_ == "summarize":
            extra["contents"] = json.dumps({"handle": "h", "head": "", "message": "m", "parents": []})
        return self._raw(name, type_, number, reference, **extra)

    def _by_the_service(self, name: str) -> Json:
        rng = self.rng
        makes: list[tuple[int, Callable[[], Json]]] = [
            (35, lambda: self._join(name)),
            (20, lambda: self._raw(None, "leave", data=json.dumps(name), **self._metadata())),
            (8, lambda: self._raw(None, "noop")),
            (5, lambda: self._raw(None, "noClient")),
            (8, self._ack),
            (4, lambda: self._raw(None, "summaryNack", data=rng.choice(('{"code":400}', "null", "5")))),
            (16, lambda: self._raw(None, "control", data=json.dumps(self._control(name)))),
            (2, lambda: self._raw(None, "op", contents="of the service")),
            (2, lambda: self._raw("", "op", contents="of nobody")),
        ]
        make = rng.choices([make for _, make in makes], [weight for weight, _ in makes])[0]
        return make()

    def _join(self, name: str) -> Json:
        rng = self.rng
        scopes = [scope for scope in ("doc:read", "doc:write", "summary:write") if rng.random() < 0.8]
        detail: Json = {
            "mode": rng.choice(("write", "write", "write", "read", None)),
            "scopes": scopes,
            "user": {"id": "u-é", "2": 1, "1": 1.50, "name": "\u2028"},
        }
        return self._raw(None, "join", data=json.dumps({"clientId": name, "detail": detail}), **self._metadata())

    def _metadata(self) -> Json:
        if self.rng.random() < 0.6:
            return {}
        return {"serverMetadata": self.rng.choice(({}, {"createSignal": True}, {"x": [1]}, None))}

    def _ack(self) -> Json:
        number = self.rng.randint(0, self.player.state.sequence_number)
        data = json.dumps({"handle": "h", "summaryProposal": {"summarySequenceNumber": number}})
        return self._raw(None, "summaryAck", data=data)

    def _control(self, name: str) -> Json:
        rng, state = self.rng, self.player.state
        kind = rng.choices(("updateDSN", "nackMessages", "extendClient", "lambdaStartResult"), (5, 4, 3, 1))[0]
        contents: Any = {"lambdaName": "Scribe"}
        if kind == "updateDSN":
            known = min(state.durable_sequence_number, state.sequence_number)
            number = rng.randint(max(known - 2, 0), state.sequence_number)
            contents = {"durableSequenceNumber": number, "clearCache": rng.random() < 0.3}
        elif kind == "extendClient":
            contents = rng.choice(({"clientId": name}, {"clientIds": [name, "Z"]}, {"clientIds": []}))
        elif kind == "nackMessages":
            contents = {"identifier": rng.choice(("summaryMaxOps", "other"))}
            if state.nack_messages or rng.random() < 0.5:
                contents["identifier"] = rng.choice([*state.nack_messages, "other"])
            else:
                content = {"code": 429, "type": "ThrottlingError", "message": "later"}
                contents["content"] = rng.choice((content, content | {"retryAfter": 3}, {}))
                contents["allowSystemMessages"] = rng.random() < 0.9
                contents["allowedScopes"] = rng.choice((["summary:write"], ["doc:write"], []))
        return {"type": kind, "contents": contents}

    def _raw(self, client_id: str | None, type_: str, number: int = -1, reference: int = -1, **extra: Any) -> Json:
        operation: Json = {
            "clientSequenceNumber": number,
            "contents": None,
            "referenceSequenceNumber": reference,
            "traces": [],
            "type": type_,
        }
        return {
            "clientId": client_id,
            "documentId": DOCUMENT,
            "operation": operation | extra,
            "tenantId": TENANT,
            "timestamp": self.player.now,
            "type": "RawOperation",
        }


def _config(rng: random.Random) -> Json:
    config: Json = {}
    for name in (
        *(
            "enableAutoDSNUpdate",
            "enableWriteClientSignals",
            "enableLeaveOpNoClientServerMetadata",
            "maintainBatches",
        ),
        *("checkForIdleClientsOnStartup", "disableNoClientMessage"),
    ):
        if rng.random() < 0.25:
            config[name] = True
    for name in ("kafkaCheckpointOnReprocessingOp", "enableOpHashing"):
        if rng.random() < 0.2:
            config[name] = False
    if rng.random() < 0.4:
        config["clientTimeout"] = rng.choice((5_000, 30_000, 60_000))
    if rng.random() < 0.5:
        config["checkpointHeuristics"] = {"enable": True, "maxMessages": rng.choice((3, 10, 500))}
    if rng.random() < 0.3:
        config["summaryNackMessages"] = {"enable": True, "maxOps": rng.choice((2, 10)), "checkOnStartup": True}
    if rng.random() < 0.3:
        config["opEvent"] = {"enable": True, "maxOps": rng.choice((2, 8))}
    return config
