"""States as they are stored: which can be loaded, and what is wrong with the others is found at once."""

from typing import Any

import pytest

from examples.deli import Malformed, State
from tests.unit.deli.shared import Json, join
from tests.unit.deli.test_rules import Feeder


def stored() -> Json:
    """A state with a client."""
    feed = Feeder()
    feed(join("A"))
    return feed.state.to_json(0)


def test_a_client_with_a_null_id_is_dropped() -> None:
    state = stored()
    for client_id in (None, "", 0):
        state["clients"].append({**state["clients"][0], "clientId": client_id, "referenceSequenceNumber": None})
    assert [client.client_id for client in State.from_json(state).clients] == ["A"]


@pytest.mark.parametrize("name", ["clientSequenceNumber", "referenceSequenceNumber", "lastUpdate"])
@pytest.mark.parametrize("value", [None, "1", 1.5, [], True])
def test_a_client_without_its_numbers(name: str, value: Any) -> None:
    state = stored()
    state["clients"][0][name] = value
    with pytest.raises(Malformed, match=name):
        State.from_json(state)
    del state["clients"][0][name]
    with pytest.raises(Malformed, match=name):
        State.from_json(state)


@pytest.mark.parametrize("name", ["sequenceNumber", "logOffset", "durableSequenceNumber", "lastSentMSN"])
@pytest.mark.parametrize("value", ["1", 1.5, [], float("inf"), False])
def test_a_number_that_is_none(name: str, value: Any) -> None:
    with pytest.raises(Malformed, match=name):
        State.from_json(stored() | {name: value})


@pytest.mark.parametrize("name", ["sequenceNumber", "logOffset", "durableSequenceNumber"])
def test_a_number_that_is_null(name: str) -> None:
    with pytest.raises(Malformed, match=name):
        State.from_json(stored() | {name: None})


def test_what_an_older_state_of_the_service_has_not() -> None:
    state = stored() | {"lastSentMSN": None, "signalClientConnectionNumber": None}
    del state["durableSequenceNumber"]
    loaded = State.from_json(state)
    assert (loaded.last_sent_msn, loaded.signal_client_connection_number, loaded.durable_sequence_number) == (0, 0, 0)


@pytest.mark.parametrize(
    "entry",
    [
        *(5, "ab", ["x"], ["x", 1], ["x", None], ["x", {}], ["x", {"content": None}], [["x"], {"content": {}}]),
        ["x", {"content": {}, "allowedScopes": 5}],
    ],
)
def test_nack_messages_that_could_not_be_used(entry: Any) -> None:
    with pytest.raises(Malformed):
        State.from_json(stored() | {"nackMessages": [entry]})


@pytest.mark.parametrize("state", [None, [], 5, "x", {}, {"clients": 5}, {"clients": [5]}])
def test_what_is_no_state(state: Any) -> None:
    with pytest.raises(Malformed):
        State.from_json(state)
