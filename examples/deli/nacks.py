"""The messages that get no number: they are refused with a nack, or dropped."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from examples.deli.boxcar import SERVICE_TYPES, Json, RawOperation
from examples.deli.clients import Client
from examples.deli.config import Config
from examples.deli.javascript import UNDEFINED, number, stringify, truthy
from examples.deli.state import State
from examples.deli.values import value

SUMMARY_SCOPE = "summary:write"

_LONGEST_SHOWN = 40
"""Characters that are shown of a reference that is not a number."""


@value
class Refused:
    """A nack with this content for its client."""

    content: Json
    state: State


@value
class Dropped:
    """The message is dropped."""


def judge(state: State, raw: RawOperation, config: Config) -> Refused | Dropped | None:
    """Why the message gets no number; None: it may get one. The order of the checks matters (DL-7 to DL-12).

    The service itself is never refused: its messages are dropped instead (DL-36).
    """
    if state.nack_messages and config.enable_nack_messages and (content := _active(state, raw)) is not None:
        return Dropped() if raw.client_id is None else Refused(content, state)
    if raw.client_id is None:
        return None
    if raw.fault is not None:
        return _bad_request(state, raw.fault)
    client = state.clients.get(raw.client_id)
    return (
        _out_of_order(state, raw, client)
        or _not_allowed(state, raw, client)
        or _behind(state, raw)
        or _no_scope(state, raw, client)
    )


def _active(state: State, raw: RawOperation) -> Json | None:
    """The first active reason to refuse it (DL-7).

    A reason without ``allowSystemMessages`` holds back the service too, and so the message that would end it (DL-40).
    """
    for contents in state.nack_messages.values():
        of_the_service = raw.type in SERVICE_TYPES or raw.client_id is None
        if truthy(contents.get("allowSystemMessages")) and of_the_service:
            continue
        client = state.clients.get(raw.client_id)
        if client and any(scope in client.scopes for scope in contents.get("allowedScopes") or ()):
            continue
        return _content(contents["content"])
    return None


def _content(stored: Any) -> Json:
    members = stored if isinstance(stored, Mapping) else {}
    return {name: members[name] for name in ("code", "type", "message", "retryAfter") if name in members}


def _out_of_order(state: State, raw: RawOperation, client: Client | None) -> Refused | Dropped | None:
    """A known client numbers its messages without a gap; a message that was seen before is dropped (DL-8)."""
    if client is None:
        return None
    expected = client.client_sequence_number + 1
    if raw.client_sequence_number == expected:
        return None
    # Other values than whole numbers are compared as in JavaScript: 2.5 and "7" can be a gap.
    sent = raw.operation.get("clientSequenceNumber", UNDEFINED)
    return _bad_request(state, "Gap detected in incoming op") if number(sent) > expected else Dropped()


def _not_allowed(state: State, raw: RawOperation, client: Client | None) -> Refused | None:
    """Types that only the service may send (DL-9), and clients that never joined or were refused before (DL-10)."""
    if raw.type in SERVICE_TYPES:
        return _bad_request(state, "Op not allowed")
    return _bad_request(state, "Nonexistent client") if client is None or client.nack else None


def _behind(state: State, raw: RawOperation) -> Refused | None:
    """A message whose reference is below the minimum: its client must join again (DL-11).

    A reference that is not a whole number counts as below it. The service would store it, and have no minimum any
    more.
    """
    reference = raw.reference_sequence_number
    if reference is not None and (reference == -1 or reference >= state.minimum_sequence_number):
        return None
    assert raw.client_id is not None
    clients = state.clients.touch(
        raw.client_id,
        client_sequence_number=raw.client_sequence_number,
        reference_sequence_number=state.minimum_sequence_number,
        last_update=raw.timestamp,
        nack=True,
    )
    marked = replace(state, clients=clients)
    shown = _shown(raw.operation.get("referenceSequenceNumber") if reference is None else reference)
    return _bad_request(marked, f"Refseq {shown} < {_shown(state.minimum_sequence_number)}")


def _shown(reference: Any) -> str:
    """A short text for it: the nack carries the message already, and twice might be too large for Kafka."""
    text = "None" if reference is None else stringify(reference)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _no_scope(state: State, raw: RawOperation, client: Client | None) -> Refused | None:
    """Only some clients may summarize (DL-12)."""
    if raw.type != "summarize" or (client and SUMMARY_SCOPE in client.scopes):
        return None
    message = f"Client {raw.client_id} does not have summary permission"
    return Refused({"code": 403, "type": "InvalidScopeError", "message": message}, state)


def _bad_request(state: State, message: str) -> Refused:
    return Refused({"code": 400, "type": "BadRequestError", "message": message}, state)
