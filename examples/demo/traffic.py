"""The simulated writers at work: each in its own rhythm, all in one thread."""

import heapq
import random
import time
from collections.abc import Mapping, Sequence

from examples.demo.boxcars import boxcar
from examples.demo.documents import Change, Document, Documents
from examples.demo.feed import Feed
from examples.demo.writer import Writer

PAUSE = 0.05
"""The longest sleep in seconds between two checks."""


def wall_clock() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class Traffic(Feed):
    """Writers of documents. They see ``documents``; the reader of the stream passes changes to `saw`."""

    def __init__(
        self, address: str, topic: str, documents: Documents, cast: Mapping[str, Sequence[Writer]], pace: float
    ) -> None:
        """``pace`` is the average number of operations per second of a writer."""
        super().__init__(address, topic)
        self._documents = documents
        self._cast = cast
        self._pace = pace
        self._rng = random.Random()
        everybody = [(name, writer) for name, writers in cast.items() for writer in writers]
        # One after the other, so that their joins can be seen.
        began = time.monotonic()
        self._due = [(began + 0.1 * turn, turn, *one) for turn, one in enumerate(everybody)]
        heapq.heapify(self._due)

    @property
    def waiting(self) -> int:
        """Sent operations without a number yet."""
        return sum(one.waits_for for writers in self._cast.values() for one in writers if one.state != "gone")

    @property
    def complete(self) -> bool:
        """Whether all writers have left, and the sequencer has said that no client is connected."""
        with self._documents.lock:
            if any(writer.state != "gone" for writers in self._cast.values() for writer in writers):
                return False
            lasts = [one.last.kind for one in self._documents.all.values() if one.last is not None]
            return all(kind == "noClient" for kind in lasts)

    def saw(self, change: Change) -> None:
        """A document has changed. Called with the lock."""
        for writer in self._cast.get(change.document, ()):
            writer.saw(change)

    def work(self) -> float:
        """See `Feed.work`."""
        with self._documents.lock:
            if self.leaving.is_set():
                return self._leave()
            now = time.monotonic()
            while self._due[0][0] <= now:
                _, turn, name, writer = heapq.heappop(self._due)
                self._send(name, writer.step(self._document(name), wall_clock()))
                following = now + self._rng.expovariate(self._pace)
                heapq.heappush(self._due, (following, turn, name, writer))
            return min(PAUSE, self._due[0][0] - now)

    def _leave(self) -> float:
        for name, writers in self._cast.items():
            for writer in writers:
                self._send(name, writer.leave(wall_clock()))
        return PAUSE

    def _send(self, name: str, entries: Sequence[dict[str, object]]) -> None:
        if entries:
            self.send(name, boxcar(name, entries))

    def _document(self, name: str) -> Document:
        return self._documents.all.setdefault(name, Document(name))
