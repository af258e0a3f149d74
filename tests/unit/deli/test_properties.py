"""What holds whatever comes in whatever order."""

import json
from collections import deque
from dataclasses import replace
from typing import Any

from hypothesis import given, settings, strategies as st

from examples.deli import Checkpoint, Deltas, RawDeltas, SaveState, Sequencer, State, Tick
from examples.deli.state import FIRST_HASH, next_hash
from tests.unit.deli.shared import NOW, Json, join, leave, op, raw, record, sequencer

NAMES = ("A", "B", "C")

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("join", "leave", "op", "op", "op", "op", "noop", "eager", "unread", "stale", "again", "gap"),
                *("summarize", "ack", "server noop", "read join", "forbidden"),
                *("come back", "come back", "tick", "late"),
            ]
        ),
        st.sampled_from(NAMES),
        st.integers(0, 30),
    ),
    max_size=80,
)
"""What a client or the service does next: an action, who, and a number that the action makes something of."""


class Room:
    """Clients that refer to nothing they have not seen, the loop through rawdeltas, and one sequencer between them.

    ``liars`` refer to numbers of the future as well.
    """

    def __init__(self, liars: bool = False) -> None:
        self.liars = liars
        self.sequencer: Sequencer = sequencer(clientTimeout=10_000)
        self.offset = 0
        self.now = NOW
        self.loop: deque[Json] = deque()
        self.sent: list[Json] = []
        self.nacks: list[Json] = []
        self.seen = dict.fromkeys(NAMES, 0)
        self.reset: set[str] = set()
        """Clients whose row started again in silence, since they joined twice (DL-15)."""

    @property
    def state(self) -> State:
        return self.sequencer.session.state

    def act(self, action: str, name: str, number: int) -> None:
        if action in {"tick", "late"}:
            self.now += number if action == "tick" else number * 1000
            self.take(self.sequencer.feed(Tick(), self.now))
        elif action == "come back":
            if self.loop:
                self.feed(self.loop.popleft())
        else:
            self.feed(self.message(action, name, number))

    def message(self, action: str, name: str, number: int) -> Json:
        top = self.state.sequence_number + (number if self.liars else 0)
        self.seen[name] = ref = top if self.liars else min(self.seen[name] + number, top)
        client = self.state.clients.get(name)
        csn = client.client_sequence_number + 1 if client else number
        if action == "join" and client:
            self.reset.add(name)
        by_the_service: dict[str, Json] = {
            "join": join(name, self.now),
            "read join": join(name, self.now, mode="read"),
            "leave": leave(name, self.now),
            "ack": raw(None, "summaryAck", timestamp=self.now, data='{"handle":"h"}'),
            "server noop": raw(None, "noop", timestamp=self.now),
        }
        by_a_client: dict[str, Json] = {
            "noop": raw(name, "noop", csn, ref, self.now),
            "eager": raw(name, "noop", csn, ref, self.now, contents=""),
            "unread": op(name, csn, -1, self.now),
            "stale": op(name, csn, max(self.state.minimum_sequence_number - 1, 0), self.now),
            "again": op(name, max(csn - 1 - number % 3, 0), ref, self.now),
            "gap": op(name, csn + 1 + number, ref, self.now),
            "summarize": raw(name, "summarize", csn, ref, self.now, contents="{}"),
            "forbidden": raw(name, "leave", csn, ref, self.now, data=json.dumps(name)),
            "op": op(name, csn, ref, self.now),
        }
        return (by_the_service | by_a_client)[action]

    def feed(self, *messages: Json) -> list[Any]:
        self.offset += 1
        outputs = self.sequencer.feed(record(self.offset, *messages), self.now)
        self.take(outputs)
        return [*outputs]

    def take(self, outputs: list[Any]) -> None:
        for output in outputs:
            if isinstance(output, Deltas):
                for message in output.messages:
                    (self.nacks if message["type"] == "Nack" else self.sent).append(message["operation"])
            elif isinstance(output, RawDeltas):
                self.loop.append(output.message)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_what_is_told_to_a_document(actions: list[tuple[str, str, int]]) -> None:
    room = Room()
    for action in actions:
        room.act(*action)
        assert room.state.minimum_sequence_number <= room.state.sequence_number
        restored = State.from_json(json.loads(json.dumps(room.state.to_json(room.now))))
        assert restored == room.state
    numbers = [operation["sequenceNumber"] for operation in room.sent]
    assert numbers == [*range(1, len(numbers) + 1)]
    minima = [operation["minimumSequenceNumber"] for operation in room.sent]
    assert minima == sorted(minima)
    assert all(operation["minimumSequenceNumber"] <= operation["sequenceNumber"] for operation in room.sent)
    _check_hashes(room.sent)
    _check_rows(room.sent, room.reset)


@settings(max_examples=80, deadline=None)
@given(ACTIONS)
def test_numbers_grow_by_one_even_with_clients_that_refer_to_the_future(actions: list[tuple[str, str, int]]) -> None:
    """The minimum may then exceed the numbers, and fall (DL-19, DL-20)."""
    room = Room(liars=True)
    for action in actions:
        room.act(*action)
        lowest = room.state.clients.lowest
        if lowest:
            assert room.state.minimum_sequence_number == min(c.reference_sequence_number for c in room.state.clients)
    assert [operation["sequenceNumber"] for operation in room.sent] == [*range(1, len(room.sent) + 1)]


@settings(max_examples=80, deadline=None)
@given(ACTIONS, st.sampled_from(NAMES), st.integers(0, 5))
def test_duplicates_change_nothing(actions: list[tuple[str, str, int]], name: str, back: int) -> None:
    room = Room()
    for action in actions:
        room.act(*action)
    client = room.state.clients.get(name)
    before, sent = room.state, len(room.sent)
    # A whole record again.
    if room.offset:
        outputs = room.sequencer.feed(record(room.offset, op(name, 1, 0)), room.now)
        assert room.state == before
        assert all(isinstance(output, Checkpoint) for output in outputs)
    # A message again, in another record.
    if client:
        room.feed(op(name, client.client_sequence_number - back, room.state.sequence_number))
        assert replace(room.state, log_offset=before.log_offset) == before
        assert len(room.sent) == sent


@settings(max_examples=80, deadline=None)
@given(ACTIONS, st.data())
def test_a_restart_gives_the_same_numbers(actions: list[tuple[str, str, int]], data: st.DataObject) -> None:
    """From any state that was saved, with the records after it: the same messages, but for when nacks were made."""
    room = Room()
    fed: list[tuple[int, Json, int]] = []
    saved: list[State] = [State()]

    def feed(*messages: Json) -> list[Any]:
        outputs = Room.feed(room, *messages)
        fed.append((room.offset, messages[0], room.now))
        saved.extend(output.state for output in outputs if isinstance(output, SaveState))
        return outputs

    room.feed = feed  # type: ignore[method-assign]  # to note what was fed
    for action in actions:
        if action[0] != "read join":  # those are forgotten, by design
            room.act(*action)
    start = data.draw(st.sampled_from(saved))
    again = Room()
    again.sequencer = sequencer(State.from_json(json.loads(json.dumps(start.to_json(0)))), clientTimeout=10_000)
    for offset, message, now in fed:
        again.offset, again.now = offset - 1, now
        again.feed(message)
    assert again.sent == room.sent[start.sequence_number :]
    assert again.state == room.state


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ACTIONS, st.booleans()), max_size=6))
def test_boxcars_and_single_records_give_the_same_numbers(
    groups: list[tuple[list[tuple[str, str, int]], bool]],
) -> None:
    """One boxcar of many messages is as many records of one: a document does not see the difference."""
    one, many = Room(), Room()
    for actions, _ in groups:
        messages = [one.message(*action) for action in actions if action[0] not in {"tick", "late", "come back"}]
        one.feed(*messages)
        for message in messages:
            many.feed(message)
    assert _content(one.sent) == _content(many.sent)
    assert replace(one.state, log_offset=0) == replace(many.state, log_offset=0)


def _content(operations: list[Json]) -> list[Json]:
    """Without the state that rides on some, whose offsets differ."""
    return [{**operation, "additionalContent": None} for operation in operations]


def _check_hashes(operations: list[Json]) -> None:
    """Each hash is that of the message and all before it."""
    last = FIRST_HASH
    for operation in operations:
        assert operation["expHash1"] == (last := next_hash(operation, last))


def _check_rows(operations: list[Json], reset: set[str]) -> None:
    """A client is told of only after its join, and its messages come in its own order, none twice."""
    rows: dict[str, int] = {}
    for operation in operations:
        if operation["type"] == "join":
            rows[json.loads(operation["data"])["clientId"]] = 0
        elif operation["type"] == "leave":
            del rows[json.loads(operation["data"])]
        elif operation["clientId"]:
            assert operation["clientId"] in reset or operation["clientSequenceNumber"] > rows[operation["clientId"]]
            rows[operation["clientId"]] = operation["clientSequenceNumber"]
