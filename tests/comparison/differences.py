"""Intended differences from the published deli. Each one is in the tables of differences in deli's README."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from examples.deli.javascript import integer
from tests.comparison.played import Answer, Json, Step

OUR_FAULTS: Mapping[str, str] = {
    "no JSON": "what the service wrote is no JSON",
    "a join without": "a join without a client id, or its detail",
    "a clientId that is no string": "a client id that is no text",
    "the data of a": "data that is no text",
    "a durable sequence number": "a durable sequence number that is no whole number",
    "a summaryAck without its proposal": "a summaryAck without a proposal",
    "a control message": "a control message without contents",
    "nackMessages": "nackMessages that could not be used",
    "extendClient": "extendClient that names no list",
}
"""Prefixes of our reasons for `Malformed`: the service's message is wrong. The published deli may go on with it."""

THEIR_FAULTS: Mapping[str, str] = {
    "traces.push is not a function": "a client's traces that are no list",
    "SyntaxError": "a client's data that is no JSON",
    "Cannot create property 'noClient'": "server metadata that can have no members",
    "includes is not a function": "scopes that are no list",
}
"""Parts of errors that the published deli throws, so that its document is corrupt, while ours goes on."""


def compare(session: Json, ours: Sequence[Answer], theirs: Sequence[Answer]) -> tuple[int, str] | None:
    """The first step (0: the start) at which the answers differ, and the known reason; "" without one.

    None: all answers are equal.
    """
    theirs = without_early_checkpoints(session["steps"], theirs)
    for index in range(max(len(ours), len(theirs))):
        if index >= len(ours) or index >= len(theirs):
            return index, ""
        if ours[index] != theirs[index]:
            records = [step[1] for step in session["steps"][:index] if step[0] == "put"]
            return index, _reason(ours[index], theirs[index], records)
    return None


def without_early_checkpoints(steps: Sequence[Step], answers: Iterable[Answer]) -> list[Answer]:
    """The published deli's answers without its checkpoints for records that it had processed before.

    It makes them repeatedly, even if the state is not saved (DL-47). Our deli makes them when the state is saved.
    """
    kept = []
    told = -1
    for step, answer in zip([["start"], *steps], answers, strict=False):
        if step[0] == "restart":
            told = -1
        entries: Answer = []
        for entry in answer:
            if entry["kind"] == "kafkaCheckpoint":
                if not told < entry["offset"] <= entry["stored"]:
                    continue
                told = entry["offset"]
            entries.append(entry)
        kept.append(entries)
    return kept


def _reason(ours: Answer, theirs: Answer, records: list[list[Json]]) -> str:
    our_fault, their_fault = _thrown(ours), _thrown(theirs)
    if our_fault is not None:
        return next((why for begin, why in OUR_FAULTS.items() if our_fault.startswith(begin)), "")
    if their_fault is not None:
        return next((why for part, why in THEIR_FAULTS.items() if part in their_fault), "")
    for why, is_so in _SUSPECTS.items():
        if any(is_so(entry) for entry in _raw(records)):
            return why
    return ""


def _thrown(answer: Answer) -> str | None:
    return answer[0]["error"] if answer and answer[0]["kind"] == "thrown" else None


def _raw(records: list[list[Json]]) -> Iterator[Json]:
    return (entry for record in records for entry in record)


def _odd_reference(entry: Json) -> bool:
    return bool(entry["clientId"]) and integer(entry["operation"].get("referenceSequenceNumber")) is None


def _odd_scopes(entry: Json) -> bool:
    try:
        return not isinstance(json.loads(entry["operation"]["data"])["detail"]["scopes"], list)
    except (KeyError, TypeError, ValueError):
        return False


_SUSPECTS: Mapping[str, Callable[[Json], bool]] = {
    "a client's reference that is no whole number": _odd_reference,
    "scopes that are no list": _odd_scopes,
}
