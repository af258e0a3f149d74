"""Joins and leaves. They come from the service, with the client's name in ``data``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from examples.deli.boxcar import Json, RawOperation
from examples.deli.clients import Client, Reader
from examples.deli.config import Config
from examples.deli.javascript import UNDEFINED, Malformed, stringify, truthy
from examples.deli.messages import Document
from examples.deli.state import State
from examples.deli.values import value


@value
class Membership:
    """The tables after a join or a leave."""

    state: State
    readers: Mapping[str, Reader]
    sequenced: bool = False
    """A write client joined or left: the message gets a number."""
    signal: Json | None = None
    """A read client joined or left."""


def leave(state: State, readers: Mapping[str, Reader], data: Any, document: Document, now: int) -> Membership:
    """The client leaves (DL-13). An unknown client has left before: nothing happens."""
    if state.clients.get(data):
        return Membership(replace(state, clients=state.clients.remove(data)), readers, sequenced=True)
    if not isinstance(data, str) or data not in readers:
        return Membership(state, readers)
    state, signal = leave_signal(state, data, state.sequence_number, document, now)
    return Membership(state, without(readers, data), signal=signal)


def join(
    state: State,
    readers: Mapping[str, Reader],
    raw: RawOperation,
    data: Any,
    config: Config,
    document: Document,
    now: int,
) -> Membership:
    """The client joins: a read client with a signal (DL-14), a write client with a number (DL-15).

    A write client that joins again gets no number, but it starts anew: its own numbers and its reference are reset,
    and a nack is forgotten. Its scopes stay those of its first join.
    """
    client_id, detail = joining(data)
    if detail.get("mode") == "read":
        if client_id in readers:
            return Membership(state, readers)
        state, signal = join_signal(state, data, state.sequence_number, document, now)
        return Membership(state, added(readers, data, config, now), signal=signal)
    known = state.clients.get(client_id)
    metadata, scopes = raw.operation.get("serverMetadata", UNDEFINED), detail.get("scopes")
    if known and not truthy(metadata):
        metadata = known.server_metadata
    client = Client(
        client_id=client_id,
        client_sequence_number=0,
        reference_sequence_number=state.minimum_sequence_number,
        last_update=raw.timestamp,
        scopes=known.scopes if known else tuple(scopes) if isinstance(scopes, list) else (),
        can_evict=known.can_evict if known else True,
        server_metadata=metadata,
    )
    return Membership(replace(state, clients=state.clients.put(client)), readers, sequenced=known is None)


def joining(data: Any) -> tuple[str, Mapping[str, Any]]:
    """The id of the joining client, and the client's description.

    Raises ``Malformed`` when there is no such data (DL-6), or the client has no id. Such a client would hold the
    minimum back forever, since its messages count as the service's (DL-17).
    """
    detail = data.get("detail") if isinstance(data, Mapping) else None
    if detail is None:
        raise Malformed("a join without the client's detail")
    client_id = data.get("clientId")
    if not isinstance(client_id, str) or not client_id:
        raise Malformed("a join without a clientId")
    return client_id, detail if isinstance(detail, Mapping) else {}  # a text or a number has no such members


def join_signal(state: State, data: Any, reference: int, document: Document, now: int) -> tuple[State, Json]:
    """Signal that a client joined."""
    client_id, _ = joining(data)
    content = {"type": "join", "content": {"clientId": client_id, "client": data["detail"]}}
    return _signal(state, content, reference, document, now)


def leave_signal(state: State, client_id: str, reference: int, document: Document, now: int) -> tuple[State, Json]:
    """Signal that a client left."""
    return _signal(state, {"type": "leave", "content": client_id}, reference, document, now)


def announces(config: Config, type_: str, metadata: Any) -> bool:
    """Whether a sequenced join or leave is also sent as a signal (DL-37)."""
    if not config.signals or type_ not in {"join", "leave"}:
        return False
    asked_for = isinstance(metadata, Mapping) and truthy(metadata.get("createSignal"))
    return config.enable_write_client_signals or asked_for


def added(readers: Mapping[str, Reader], data: Any, config: Config, now: int) -> dict[str, Reader]:
    """The table with the joined client. It expires unless somebody extends it (DL-42)."""
    client_id, detail = joining(data)
    mode = "read" if detail.get("mode") == "read" else "write"
    return {**readers, client_id: Reader(mode, now + config.client_timeout)}


def without(readers: Mapping[str, Reader], client_id: Any) -> dict[str, Reader]:
    """The table without the client that left."""
    return {name: reader for name, reader in readers.items() if name != client_id}


def _signal(state: State, content: Json, reference: int, document: Document, now: int) -> tuple[State, Json]:
    count = state.signal_client_connection_number + 1
    state = replace(state, signal_client_connection_number=count)
    return state, document.signal(stringify(content), reference, count, now)
