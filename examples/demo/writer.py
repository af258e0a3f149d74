"""A simulated writer: it decides from the seen messages what to send. It starts nothing and has no clock."""

import random
from collections.abc import Sequence
from typing import Literal

from examples.demo import boxcars
from examples.demo.boxcars import Json
from examples.demo.documents import Change, Document
from examples.demo.text import START, delete, insert, name_of

AHEAD = 20
"""With this many operations without a number, the writer waits for the sequencer."""

LONG = 40
"""In a text of this many words, a writer deletes as many as it types."""

State = Literal["away", "joining", "here", "refused", "leaving", "gone"]


class Writer:
    """A person who types into a document; it is a new client each time it has to join again."""

    def __init__(self, name: str, words: Sequence[str], rng: random.Random) -> None:
        """``words`` are typed in turn, again and again."""
        self.name = name
        self.state: State = "away"
        self.client = ""
        self.number = 0
        """The number of the operation that this client sent last."""
        self.seen = 0
        """The last of its own operations that has a number of the document."""
        self._words = words
        self._rng = rng
        self._typed = 0
        self._joins = 0
        self._at = START
        """The word after which the next one is inserted."""

    @property
    def waits_for(self) -> int:
        """Operations without a number."""
        return self.number - self.seen

    def step(self, document: Document, now: int) -> list[Json]:
        """The messages that it sends next, as one record; none: it waits. ``document`` is what it has seen."""
        match self.state:
            case "away":
                self._joins += 1
                self.client, self.number, self.seen = f"{self.name}-{self._joins}", 0, 0
                self.state = "joining"
                return [boxcars.join(self.client, self.name, now)]
            case "refused":
                self.state = "away"
                return [boxcars.leave(self.client, now)]
            case "here" if self.waits_for < AHEAD:
                return self._type(document, now)
        return []

    def leave(self, now: int) -> list[Json]:
        """The messages that it sends to leave; it has left when it sees them."""
        if self.state in {"away", "gone", "leaving"}:
            self.state = "leaving" if self.state == "leaving" else "gone"
            return []
        self.state = "leaving"
        return [boxcars.leave(self.client, now)]

    def saw(self, change: Change) -> None:
        """Its document has changed."""
        if change.client != self.client:
            return
        match change.kind:
            case "join" if self.state == "joining":
                self.state = "here"
            case "leave":
                self.state = "gone" if self.state == "leaving" else "away"
            case "nack" if self.state == "here":
                self.state = "refused"  # the sequencer refuses this client from now on: another one joins
            case "op":
                self.seen = change.client_number

    def _type(self, document: Document, now: int) -> list[Json]:
        there = document.text.words()
        if there and self._rng.random() < min(0.9, len(there) / LONG / 2):
            victim = self._rng.choice(there)
            return [self._operation(document, delete(victim.name), now)]
        if self._rng.random() < 0.05 and there:  # somewhere else
            self._at = self._rng.choice(there).name
        elif not self._is_known(document):
            self._at = there[-1].name if there else START
        word = self._words[self._typed % len(self._words)]
        self._typed += 1
        made = self._operation(document, insert(word, self._at), now)
        self._at = name_of(self.client, self.number)
        return [made]

    def _is_known(self, document: Document) -> bool:
        """Whether others can find the word: it is in the text, or it is its own and in flight."""
        client, _, number = self._at.rpartition("/")
        on_its_way = client == self.client and int(number) > self.seen
        return on_its_way or document.text.has(self._at)

    def _operation(self, document: Document, contents: Json, now: int) -> Json:
        self.number += 1
        return boxcars.operation(self.client, self.number, document.number, contents, now)
