"""Control messages from the service to its sequencer. They are not sent to clients and get no number (DL-25)."""

from collections.abc import Mapping
from typing import Any

from examples.deli.clients import Reader
from examples.deli.config import Config
from examples.deli.javascript import UNDEFINED, Malformed, truthy
from examples.deli.messages import Event
from examples.deli.state import State, check_nack_messages
from examples.deli.summaries import set_nack_messages, update_durable
from examples.deli.values import value


@value
class Controlled:
    """The effect of a control message."""

    state: State
    readers: Mapping[str, Reader]
    events: tuple[Event, ...] = ()
    clear_cache: bool = False
    """The stored state may be cleared: the summary has it, and nobody is connected."""


def control(state: State, readers: Mapping[str, Reader], data: Any, config: Config, now: int) -> Controlled:
    """Carry out a control message. A message of an unknown type becomes an event."""
    if data is None or data is UNDEFINED:
        raise Malformed("a control message without data")
    kind, contents = (data.get("type"), data.get("contents")) if isinstance(data, Mapping) else (None, None)
    if kind not in ("updateDSN", "nackMessages", "extendClient"):  # not a set: the value may have no hash
        return Controlled(state, readers, (Event("controlMessage", data),))
    if not isinstance(contents, Mapping):
        raise Malformed(f"a control message {kind} without contents")
    if kind == "updateDSN":
        return _update_dsn(state, readers, contents, config)
    if kind == "nackMessages":
        return _nack_messages(state, readers, contents)
    return _extend_client(state, readers, contents, now + config.client_timeout)


def _update_dsn(
    state: State, readers: Mapping[str, Reader], contents: Mapping[str, Any], config: Config
) -> Controlled:
    updated, events = update_durable(state, contents.get("durableSequenceNumber"), config)
    # No event: the number was lower than the known one, and the rest of the message is as old.
    clear = bool(events) and truthy(contents.get("clearCache")) and state.no_active_clients
    return Controlled(updated, readers, tuple(events), clear)


def _nack_messages(state: State, readers: Mapping[str, Reader], contents: Mapping[str, Any]) -> Controlled:
    identifier = contents.get("identifier")
    if not isinstance(identifier, str):
        raise Malformed("nackMessages without an identifier")
    if "content" in contents:
        check_nack_messages(contents)
    state, event = set_nack_messages(state, identifier, dict(contents) if "content" in contents else None)
    return Controlled(state, readers, (event,))


def _extend_client(
    state: State, readers: Mapping[str, Reader], contents: Mapping[str, Any], expiry: int
) -> Controlled:
    """Extend the expiry of the named read clients.

    The service asks an external client manager to note that. Here there is only the sequencer's own table, so the
    expiry moves in it.
    """
    named = contents.get("clientIds")
    if named is None:
        named = [contents.get("clientId")]
    if not isinstance(named, list | str):
        raise Malformed("extendClient whose clientIds are no list")
    known = [name for name in named if isinstance(name, str) and name in readers]
    extended = {name: Reader(readers[name].mode, expiry) for name in known}
    events = (Event("extendClients", tuple(known)),) if known else ()
    return Controlled(state, {**readers, **extended}, events)
