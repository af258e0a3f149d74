"""What the tests of the sequencer share: where the recorded data lies, and how a message looks."""

import json
from pathlib import Path
from typing import Any

from examples.deli import Boxcar, Config, Document, Output, Record, Sequencer, State, Tick

DATA = Path(__file__).parents[3] / "../shared/data"
"""Recordings of another origin, on machines that have them."""

NOW = 1_700_000_000_000
"""Where the wall clock of a test starts."""

Json = dict[str, Any]


def sequencer(state: State | None = None, now: int = NOW, **settings: Any) -> Sequencer:
    """A sequencer of document d1; settings by the names of the service."""
    return Sequencer(Document("t1", "d1"), state or State(), Config.from_settings(settings), now)


def record(offset: int, *contents: Json) -> Record:
    """A record with these messages."""
    return Record(offset, Boxcar(contents, "t1", "d1"))


def tick_until(sequencer: Sequencer, time: int) -> list[Output]:
    """What the timers do up to ``time``, each at its own."""
    outputs: list[Output] = []
    while (deadline := sequencer.next_deadline) is not None and deadline <= time:
        outputs += sequencer.feed(Tick(), deadline)
    return outputs


def raw(client_id: str | None, type_: str, csn: int = -1, ref: int = -1, timestamp: int = 0, **extra: Any) -> Json:
    """A message that asks for a number."""
    operation: Json = {"clientSequenceNumber": csn, "referenceSequenceNumber": ref, "contents": None, "traces": []}
    return {
        "clientId": client_id,
        "documentId": "d1",
        "operation": {**operation, "type": type_, **extra},
        "tenantId": "t1",
        "timestamp": timestamp,
        "type": "RawOperation",
    }


def op(client_id: str, csn: int, ref: int, timestamp: int = 0, **extra: Any) -> Json:
    """An operation of a client."""
    return raw(client_id, "op", csn, ref, timestamp, **{"contents": {"k": "v"}, **extra})


def join(client_id: str, timestamp: int = 0, mode: str = "write", scopes: Any = None, **extra: Any) -> Json:
    """A client joins."""
    granted = ["doc:read", "doc:write", "summary:write"] if scopes is None else scopes
    detail = {"mode": mode, "scopes": granted}
    data = json.dumps({"clientId": client_id, "detail": detail}, separators=(",", ":"))
    return raw(None, "join", timestamp=timestamp, data=data, **extra)


def leave(client_id: str, timestamp: int = 0) -> Json:
    """A client leaves."""
    return raw(None, "leave", timestamp=timestamp, data=json.dumps(client_id))


def control(type_: str, contents: Any, timestamp: int = 0) -> Json:
    """The service talks to the sequencer."""
    return raw(None, "control", timestamp=timestamp, data=json.dumps({"type": type_, "contents": contents}))
