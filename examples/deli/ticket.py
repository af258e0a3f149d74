"""The sequencing of one operation: from a raw message to a number, a nack, a signal or nothing."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from examples.deli.boxcar import Json, RawOperation
from examples.deli.clients import Reader
from examples.deli.config import Config
from examples.deli.control import control
from examples.deli.javascript import UNDEFINED, stringify
from examples.deli.membership import join, leave
from examples.deli.messages import Document, Event
from examples.deli.nacks import Dropped, Refused, judge
from examples.deli.noops import Send, ticket_no_client, ticket_noop
from examples.deli.state import State
from examples.deli.summaries import acknowledged, additional_content
from examples.deli.values import value

_NUMBERED_LATER = frozenset({"noop", "noClient", "control"})


@value
class Sequenced:
    """A message that has its number, or would have it (``send``)."""

    operation: Json
    send: Send
    data: Any = UNDEFINED
    clear_cache: bool = False


@value
class Nacked:
    """A refusal."""

    message: Json


@value
class Signalled:
    """A read client came or went."""

    message: Json


Outcome: TypeAlias = Sequenced | Nacked | Signalled | None


@value
class Ticket:
    """The state after an operation, and what became of it. None: it was dropped."""

    state: State
    readers: Mapping[str, Reader]
    outcome: Outcome = None
    events: tuple[Event, ...] = ()


def ticket(
    state: State, readers: Mapping[str, Reader], raw: RawOperation, config: Config, document: Document, now: int
) -> Ticket:
    """Everything from the parsed data to the message that goes out (DL-6 to DL-29), in this order.

    What lands in the document depends on the message alone; ``now`` is only in traces, nacks and signals. So a replay
    gives the same numbers and the same content (DL-59).
    """
    data = raw.data()
    verdict = judge(state, raw, config)
    if isinstance(verdict, Dropped):
        return Ticket(state, readers)
    if isinstance(verdict, Refused):
        assert raw.client_id is not None
        msn = verdict.state.minimum_sequence_number
        nack = document.nack(raw.client_id, raw.entry.get("operation"), verdict.content, msn, now)
        return Ticket(verdict.state, readers, Nacked(nack))
    if raw.client_id is None and raw.type in {"join", "leave"}:
        if raw.type == "join":
            member = join(state, readers, raw, data, config, document, now)
        else:
            member = leave(state, readers, data, document, now)
        if not member.sequenced:
            outcome = Signalled(member.signal) if member.signal else None
            return Ticket(member.state, member.readers, outcome)
        state = member.state
    return _sequence(state, readers, raw, data, config, now)


def _sequence(
    state: State,
    readers: Mapping[str, Reader],
    raw: RawOperation,
    data: Any,
    config: Config,
    now: int,
) -> Ticket:
    state, reference = _number_and_reference(state, raw)
    send, clear_cache = Send.NOW, False
    events: tuple[Event, ...] = ()
    match raw.type:
        case "noop":
            state, send = ticket_noop(state, raw)
        case "noClient":
            state, send = ticket_no_client(state)
            reference = state.sequence_number if send is Send.NOW else reference
        case "control":
            done = control(state, readers, data, config, now)
            state, readers, send = done.state, done.readers, Send.NEVER
            events, clear_cache = done.events, done.clear_cache
        case "summaryAck":
            state, acknowledged_events = acknowledged(state, data, config)
            events = tuple(acknowledged_events)
    operation = _operation(state, raw, reference, data, config, now)
    return Ticket(state, readers, Sequenced(operation, send, data, clear_cache), events)


def _number_and_reference(state: State, raw: RawOperation) -> tuple[State, Any]:
    """The number, what the message refers to (DL-16, DL-17), and the minimum that follows.

    A reference of -1 (a message sent without a session) becomes the newest number. It is taken as it is where it is
    higher than any number given, so the minimum can be too (DL-19), and then a -1 can lower it (DL-20). Clients that
    refer to what they have seen never cause either.
    """
    number, clients = state.sequence_number, state.clients
    if raw.type not in _NUMBERED_LATER or (raw.client_id is not None and raw.type != "noop"):
        number += 1
    reference: Any
    if raw.client_id is None:
        reference = raw.operation.get("referenceSequenceNumber", UNDEFINED)
    else:
        reference = raw.reference_sequence_number
        if reference == -1:
            reference = number
        assert raw.client_sequence_number is not None  # `judge` drops it
        clients = clients.heard(raw.client_id, raw.client_sequence_number, reference, raw.timestamp)
    # The minimum sequence number: the lowest reference of a write client; without any, the newest number (DL-18).
    lowest = clients.lowest
    minimum = lowest.reference_sequence_number if lowest else number
    return state.numbered(number, minimum, clients), reference


def _operation(state: State, raw: RawOperation, reference: Any, data: Any, config: Config, now: int) -> Json:
    """The message as it goes out (DL-28), without its hash."""
    source = raw.operation
    operation: Json = {"clientId": raw.entry["clientId"]} if "clientId" in raw.entry else {}
    for name in ("clientSequenceNumber", "contents", "metadata"):
        if name in source:
            operation[name] = source[name]
    if "serverMetadata" in source:
        operation["serverMetadata"] = source["serverMetadata"]
    if raw.type == "leave" and config.enable_leave_op_no_client_server_metadata and state.no_active_clients:
        operation["serverMetadata"] = _of_the_last_client(source.get("serverMetadata"))
    operation["minimumSequenceNumber"] = state.minimum_sequence_number
    if reference is not UNDEFINED:  # the service's own message may come without; null would be another hash
        operation["referenceSequenceNumber"] = reference
    operation["sequenceNumber"] = state.sequence_number
    operation["timestamp"] = raw.timestamp
    if "traces" in source:
        operation["traces"] = _traces(source["traces"], config, now)
    if "type" in source:  # of a client, it may be anything
        operation["type"] = source["type"]
    if "compression" in source:
        operation["compression"] = source["compression"]
    if raw.type in {"summarize", "noClient"}:
        operation["additionalContent"] = additional_content(state, now)
    elif data is not UNDEFINED:
        operation["data"] = stringify(data)
    return operation


def _of_the_last_client(metadata: Any) -> Any:
    """DL-38. An array has no such member in JSON, and what can have none gives way."""
    if isinstance(metadata, list):
        return metadata
    return {**(metadata if isinstance(metadata, Mapping) else {}), "noClient": True}


def _traces(traces: Any, config: Config, now: int) -> Any:
    """A message that is traced already gets the sequencer's own two (DL-29)."""
    if not config.enable_traces or not isinstance(traces, list) or len(traces) < 2:
        return traces
    return [*traces, *({"action": action, "service": "deli", "timestamp": now} for action in ("start", "end"))]
