"""The durable sequence number, and the checks of its distance from the newest number."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from examples.deli.boxcar import Json
from examples.deli.config import Config
from examples.deli.javascript import Malformed, integer, stringify
from examples.deli.messages import Event
from examples.deli.nacks import SUMMARY_SCOPE
from examples.deli.state import State

SUMMARY_MAX_OPS = "summaryMaxOps"


def update_durable(state: State, number: Any, config: Config) -> tuple[State, list[Event]]:
    """Everything up to ``number`` is in a summary. A lower one than before is ignored (DL-25)."""
    durable = integer(number)
    if durable is None:
        raise Malformed("a durable sequence number that is no number")
    if durable < state.durable_sequence_number:
        return state, []
    state = replace(state, durable_sequence_number=durable)
    state, events = end_summary_nacks(state, config)
    return state, [*events, Event("dsn", durable)]


def acknowledged(state: State, ack: Any, config: Config) -> tuple[State, list[Event]]:
    """A summaryAck from the service (DL-26)."""
    if not config.enable_auto_dsn_update:
        return state, []
    proposal = ack.get("summaryProposal") if isinstance(ack, Mapping) else None
    if not isinstance(proposal, Mapping):
        raise Malformed("a summaryAck without its proposal")
    return update_durable(state, proposal.get("summarySequenceNumber"), config)


def set_nack_messages(state: State, identifier: str, contents: Json | None) -> tuple[State, Event]:
    """Refuse messages from now on, or (without contents) no longer (DL-25)."""
    ends = contents is None
    active = {name: each for name, each in state.nack_messages.items() if name != identifier or not ends}
    if contents is not None:
        active[identifier] = contents  # one that is replaced keeps its place
    return replace(state, nack_messages=active), Event("updatedNackMessages", (identifier, contents))


def begin_summary_nacks(state: State, config: Config) -> tuple[State, list[Event]]:
    """Too much since the last summary: only who can summarize may write (DL-39).

    Looked at after a whole boxcar, so that no batch is cut in two.
    """
    nacks = config.summary_nack_messages
    if not nacks.enable or SUMMARY_MAX_OPS in state.nack_messages:
        return state, []
    if state.sequence_number - state.durable_sequence_number <= nacks.max_ops:
        return state, []
    contents: Json = {
        "identifier": SUMMARY_MAX_OPS,
        "content": dict(nacks.nack_content),
        "allowSystemMessages": True,
        "allowedScopes": [SUMMARY_SCOPE],
    }
    state, event = set_nack_messages(state, SUMMARY_MAX_OPS, contents)
    return state, [event]


def end_summary_nacks(state: State, config: Config) -> tuple[State, list[Event]]:
    """A summary came: everybody may write again (DL-39)."""
    nacks = config.summary_nack_messages
    behind = state.sequence_number - state.durable_sequence_number
    if not nacks.enable or SUMMARY_MAX_OPS not in state.nack_messages or behind > nacks.max_ops:
        return state, []
    state, event = set_nack_messages(state, SUMMARY_MAX_OPS, None)
    return state, [event]


def additional_content(state: State, now: int) -> str:
    """The state that a summarize or a noClient carries, for whoever writes the summary (DL-28).

    Its sequence number is that of the message; hash and last sent minimum are still those before it.
    """
    return stringify(state.to_json(now))
