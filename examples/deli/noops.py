"""Noops: they move the minimum sequence number, and are seldom worth a number of their own.

A client says with a noop how far it has read. Many noops are gathered, and one noop of the service sends the minimum.
"""

from dataclasses import replace
from enum import Enum

from examples.deli.boxcar import RawOperation
from examples.deli.state import State


class Send(Enum):
    """When a message is sent."""

    NOW = "now"
    LATER = "later"
    """After the consolidation time, in a noop of the service (DL-33)."""
    NEVER = "never"


def ticket_noop(state: State, raw: RawOperation) -> tuple[State, Send]:
    """A number for a noop, if it is worth one.

    - a client's noop with ``contents`` null waits (DL-21); null and a missing key differ;
    - any other noop of a client waits if it has nothing new (DL-22);
    - a noop of the service that has nothing new is not sent (DL-23).
    """
    news = state.minimum_sequence_number > state.last_sent_msn
    if raw.client_id is None:
        return (number(state), Send.NOW) if news else (state, Send.NEVER)
    patient = "contents" in raw.operation and raw.operation["contents"] is None
    return (number(state), Send.NOW) if news and not patient else (state, Send.LATER)


def ticket_no_client(state: State) -> tuple[State, Send]:
    """A number for the message that says that no client is connected, if that is still so (DL-24)."""
    if not state.no_active_clients:
        return state, Send.NEVER
    state = number(state)
    return replace(state, minimum_sequence_number=state.sequence_number), Send.NOW


def number(state: State) -> State:
    """Give the next number."""
    return replace(state, sequence_number=state.sequence_number + 1)
