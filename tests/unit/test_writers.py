"""The demo's simulated writers, their text, and the checks of the stream; nothing is started here."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

import pytest

from examples.deli import Config, Deltas, Document as Name, RawDeltas, Record, Sequencer, State, parse_boxcar
from examples.demo.boxcars import boxcar
from examples.demo.cast import cast
from examples.demo.documents import Document, Documents
from examples.demo.text import START, Text, delete, insert
from examples.demo.writer import AHEAD, Writer

Json = dict[str, Any]


def sequenced(number: int, client: str = "a-1", own: int | None = None, **fields: Any) -> Json:
    operation = {
        "clientId": client,
        "clientSequenceNumber": number if own is None else own,
        "contents": None,
        "minimumSequenceNumber": 0,
        "referenceSequenceNumber": 0,
        "sequenceNumber": number,
        "timestamp": 1_000,
        "traces": [],
        "type": "op",
        **fields,
    }
    return {"type": "SequencedOperation", "tenantId": "t", "documentId": "d", "operation": operation}


def joined(number: int, client: str) -> Json:
    data = json.dumps({"clientId": client, "detail": {}})
    return sequenced(number, None, -1, type="join", data=data)  # type: ignore[arg-type]


def record(*messages: Json) -> bytes:
    return json.dumps({"type": "boxcar", "documentId": "d", "tenantId": "t", "contents": messages}).encode()


def taken(*messages: Json) -> Documents:
    documents = Documents()
    for message in messages:
        documents.take(record(message), 1_010)
    return documents


# --- the text -------------------------------------------------------------------------------------------------------


def test_words_are_appended_and_deleted() -> None:
    text = Text()
    assert text.apply("a/1", 1, insert("one", START), 0)
    assert text.apply("a/2", 2, insert("three", "a/1"), 0)
    assert text.apply("b/1", 3, insert("two", "a/1"), 0)
    assert str(text) == "one two three"
    assert text.apply("b/2", 4, delete("a/1"), 0)
    assert str(text) == "two three"


def test_a_deleted_word_is_known_until_all_have_seen_that() -> None:
    text = Text()
    text.apply("a/1", 1, insert("one", START), 0)
    text.apply("a/2", 2, delete("a/1"), 0)
    assert text.apply("b/1", 3, insert("late", "a/1"), 1)
    assert text.apply("b/2", 4, delete("a/1"), 1), "somebody else was faster"
    assert text.apply("b/3", 5, insert("more", "b/1"), 2), "now all have seen number 2"
    assert not text.apply("b/4", 6, insert("lost", "a/1"), 2)
    assert not text.apply("b/5", 7, delete("a/1"), 2)
    assert str(text) == "late more lost"


def test_contents_of_others_change_no_text() -> None:
    text = Text()
    assert all(text.apply("a/1", 1, contents, 0) for contents in (None, "x", 7, {"type": "component"}))
    assert not str(text)


# --- the checks of the stream ---------------------------------------------------------------------------------------


def test_numbers_without_a_gap() -> None:
    documents = taken(*(sequenced(number) for number in range(1, 6)))
    assert (documents.numbers, documents.again, documents.wrong) == (5, 0, [])
    assert [change.age for change in documents.latest] == [10] * 5


def test_a_gap() -> None:
    assert taken(sequenced(1), sequenced(3)).wrong == ["d: number 3 came after 1"]
    late = taken(sequenced(1), sequenced(3), sequenced(2, own=4))
    assert late.wrong == ["d: number 3 came after 1", "d: number 2 came late"]


def test_a_number_that_comes_again() -> None:
    again = taken(sequenced(1), sequenced(2), sequenced(1, traces=[{"timestamp": 7}], additionalContent="{}"))
    assert (again.numbers, again.again, again.wrong) == (2, 1, [])
    other = taken(sequenced(1), sequenced(2), sequenced(1, contents="other"))
    assert other.wrong == ["d: number 1 came twice, with different contents"]


def test_an_operation_that_gets_two_numbers() -> None:
    twice = taken(joined(1, "a-1"), sequenced(2, own=1), sequenced(3, own=1))
    assert twice.wrong == ["d: number 3 is operation 1 of a-1, which has one already"]
    assert not taken(joined(1, "a-1"), sequenced(2, own=1), joined(3, "a-1"), sequenced(4, own=1)).wrong


def test_a_word_that_nobody_knows() -> None:
    documents = taken(joined(1, "a-1"), sequenced(2, own=1, contents=delete("b-1/7")))
    assert documents.wrong == ["d: number 2 refers to a word that is not there"]


def test_contradictions_are_bounded() -> None:
    assert len(taken(*(sequenced(number) for number in range(2, 200, 2))).wrong) == 20


# --- a writer -------------------------------------------------------------------------------------------------------


class Desk:
    """A writer, its document, and a sequencer for the two."""

    def __init__(self, words: str = "one two three", seed: int = 1) -> None:
        self.documents = Documents()
        self.document = self.documents.all.setdefault("d", Document("d"))
        self.writer = Writer("ann", words.split(), random.Random(seed))
        self.sequencer = Sequencer(Name("demo", "d"), State(), Config(), 0)
        self.offset = 0

    def send(self, entries: list[Json]) -> None:
        """Pass entries through the sequencer, and its operations on to the writer."""
        waiting = [boxcar("d", entries)]
        while waiting:
            outputs = self.sequencer.feed(Record(self.offset, parse_boxcar(waiting.pop(0))), 0)
            self.offset += 1
            waiting += [boxcar("d", [output.message]) for output in outputs if isinstance(output, RawDeltas)]
            for output in outputs:
                if isinstance(output, Deltas):
                    for change in self.documents.take(record(*output.messages), 0):
                        self.writer.saw(change)

    def state(self) -> str:
        return self.writer.state

    def step(self) -> list[Json]:
        return self.writer.step(self.document, 0)


def test_a_writer_joins_waits_types_and_leaves() -> None:
    desk = Desk()
    join = desk.step()
    assert [entry["operation"]["type"] for entry in join] == ["join"]
    assert desk.step() == [], "it has not seen that it is here"
    desk.send(join)
    (first,) = desk.step()
    made = first["operation"]
    assert (first["clientId"], made["clientSequenceNumber"], made["referenceSequenceNumber"]) == ("ann-1", 1, 1)
    assert made["contents"] == {"insert": "one", "behind": ""}
    desk.send([first])
    (second,) = desk.step()
    assert second["operation"]["referenceSequenceNumber"] == 2
    assert second["operation"]["contents"] == {"insert": "two", "behind": "ann-1/1"}
    desk.send([second])
    assert str(desk.document.text) == "one two"
    desk.send(desk.writer.leave(0))
    assert desk.state() == "gone"
    assert desk.writer.leave(0) == desk.step() == []
    assert [change.kind for change in desk.documents.latest] == ["join", "op", "op", "leave", "noClient"]


def test_a_writer_types_ahead_and_waits_when_its_words_get_no_numbers() -> None:
    desk = Desk()
    desk.send(desk.step())
    made = [entry for _ in range(AHEAD + 5) for entry in desk.step()]  # no word to delete yet
    assert [entry["operation"]["clientSequenceNumber"] for entry in made] == [*range(1, AHEAD + 1)]
    assert {entry["operation"]["referenceSequenceNumber"] for entry in made} == {1}
    assert made[5]["operation"]["contents"]["behind"] == "ann-1/5"
    desk.send(made)
    assert desk.writer.waits_for == 0
    assert len(desk.document.text.words()) == AHEAD


def test_a_writer_that_is_refused_joins_again() -> None:
    desk = Desk()
    desk.send(desk.step())
    (entry,) = desk.step()
    desk.send([{**entry, "operation": {**entry["operation"], "clientSequenceNumber": 9}}])
    assert desk.state() == "refused"
    assert desk.documents.refused == 1
    desk.send(desk.step())
    assert desk.state() == "away"
    desk.send(desk.step())
    assert (desk.state(), desk.writer.client) == ("here", "ann-2")
    desk.send(desk.step())
    assert desk.documents.wrong == []
    assert len(desk.document.text.words()) == 1


def test_a_writer_that_was_sent_away_joins_again() -> None:
    desk = Desk()
    desk.send(desk.step())
    desk.send(Writer.leave(desk.writer, 0))
    desk.writer.state = "here"  # it did not ask for it
    desk.writer.saw(next(change for change in desk.documents.latest if change.kind == "leave"))
    assert desk.state() == "away"
    desk.send(desk.step())
    assert desk.writer.client == "ann-2"


@pytest.mark.parametrize("seed", range(5))
def test_writers_with_delays_are_never_refused_and_never_contradict(seed: int) -> None:
    """With delays before the sequencer and before the writers, their references stay known."""
    rng = random.Random(seed)
    documents = Documents()
    ((name, writers),) = cast(1, 4, seed).items()
    document = documents.all.setdefault(name, Document(name))
    sequencer = Sequencer(Name("demo", name), State(), Config(), 0)
    raw: deque[bytes] = deque()
    deltas: deque[bytes] = deque()
    offset = 0
    for turn in range(8_000):
        match rng.randrange(4):
            case 0 | 1 if turn < 6_000:
                raw += [boxcar(name, made) for made in [rng.choice(writers).step(document, turn)] if made]
            case 2 if raw:
                for output in sequencer.feed(Record(offset, parse_boxcar(raw.popleft())), turn):
                    if isinstance(output, Deltas):
                        deltas.append(record(*output.messages))
                offset += 1
            case 3 if deltas:
                for change in documents.take(deltas.popleft(), turn):
                    for writer in writers:
                        writer.saw(change)
    assert not raw
    assert not deltas
    assert (documents.refused, documents.wrong) == (0, [])
    assert documents.numbers > 500
    assert {writer.state for writer in writers} == {"here"}
    assert {writer.waits_for for writer in writers} == {0}
    assert 5 < len(document.text.words()) < 120


def test_names_are_unique() -> None:
    names = [writer.name for writers in cast(20, 3).values() for writer in writers]
    assert len(set(names)) == 60
    assert len(cast(20, 3)) == 20
