"""What of one partition is done: the checkpoints of many documents become one. No I/O, no clock, no lambdas.

The records that are not done form a doubly linked list in the order of their offsets. A record that is done leaves
it, and its place is kept as numbers in the record before it: how many done records follow that one before the next
that is not done, their bytes, and the last offset among them. What is done before the first unfinished record is the
partition's checkpoint. So::

    records     0   1   2   3   4   5   6        all up to 1 is done: ``done`` is 1
    state       ok  ok  A   ok  ok  B   ok
    list                A+2         B+1          A holds back 3 and 4, B holds back 6: ``beyond_count`` is 3

Each record is linked in once and out once, and each is a constant number of steps, whatever the number of documents
and however long a quiet one holds the partition back. (A minimum over the documents, as in the seed, costs a step per
document; a heap of the documents costs the logarithm, and knows nothing of what is done beyond its top.) Memory
goes with the records that are not done, which the partition's window bounds, and not with the span they lie in.

Within the list the records of each document are chained too, so a document's checkpoint finds its own at once.
"""

from collections.abc import Iterator

from sdk_python._message import Message


class Entry:
    """A record that is not done, and the run of done ones after it."""

    __slots__ = (
        *("after", "before", "following", "message", "offset", "run_count", "run_last", "run_size", "run_skipped"),
        "size",
    )

    before: "Entry"
    after: "Entry"

    def __init__(self, offset: int, size: int, message: Message | None) -> None:
        self.offset = offset
        self.size = size
        self.message = message
        self.following: Entry | None = None
        """The next one of the same document."""
        self.run_count = 0
        self.run_size = 0
        self.run_skipped = 0
        self.run_last = offset


class Lane:
    """One document's part in the partition."""

    __slots__ = ("acknowledged", "first", "head", "last")

    def __init__(self) -> None:
        self.first: Entry | None = None
        """The first record that is not done; None: all are."""
        self.last: Entry | None = None
        self.head = -1
        """The last record of the document that came."""
        self.acknowledged = -1
        """The document's own checkpoint."""

    def unfinished(self, start: int = 0) -> Iterator[Message]:
        """The records from offset ``start`` on that are not done, in their order."""
        entry = self.first
        while entry is not None:
            if entry.offset >= start and entry.message is not None:
                yield entry.message
            entry = entry.following


class Ledger:
    """All records of one partition, in the order of their offsets.

    Invariants:

    - Every record up to and including ``done`` is done, and ``done`` never decreases.
    - ``beyond_count`` and ``beyond_size`` are those of the done records after ``done``.
    - ``skipped`` counts the records up to ``done`` that no lambda was done with. One after it comes again after a
      restart, and may be handled then.
    """

    __slots__ = ("_root", "beyond_count", "beyond_size", "done", "head", "skipped")

    def __init__(self) -> None:
        # Closes the list to a ring, so that no step asks whether there is a record before or after.
        root = self._root = Entry(-1, 0, None)
        root.before = root.after = root
        self.head = -1
        """The last record that came; -1: none yet."""
        self.done = -1
        """Everything up to and including this one is done; -1: nothing."""
        self.beyond_count = 0
        self.beyond_size = 0
        self.skipped = 0

    @property
    def pending(self) -> bool:
        """Whether a record is not done."""
        return self._root.after is not self._root

    def add(self, lane: Lane, offset: int, size: int, message: Message) -> None:
        """A record of a document came; ``offset`` is above all before."""
        entry = Entry(offset, size, message)
        root = self._root
        last = root.before
        entry.before, entry.after = last, root
        last.after = root.before = entry
        if lane.last is None:
            lane.first = entry
        else:
            lane.last.following = entry
        lane.last = entry
        lane.head = self.head = offset

    def skip(self, offset: int, size: int) -> None:
        """A record comes that no lambda gets: it is done at once. ``offset`` is above all before."""
        self.head = offset
        last = self._root.before
        if last is self._root:
            self.done = offset
            self.skipped += 1
            return
        last.run_count += 1
        last.run_size += size
        last.run_skipped += 1
        last.run_last = offset
        self.beyond_count += 1
        self.beyond_size += size

    def give_up(self, lane: Lane) -> None:
        """No lambda gets, or gets done with, the records of the document that are not done: they are skipped."""
        entry = lane.first
        while entry is not None:
            # Counted in its own run: it is within the checkpoint when the run is.
            entry.run_skipped += 1
            entry = entry.following
        self.acknowledge(lane, lane.head)

    def acknowledge(self, lane: Lane, offset: int) -> None:
        """All records of the document up to and including ``offset`` are done."""
        lane.acknowledged = max(lane.acknowledged, offset)
        root, entry = self._root, lane.first
        while entry is not None and entry.offset <= offset:
            before, after, following = entry.before, entry.after, entry.following
            before.after, after.before = after, before
            if before is root:
                # It was the first unfinished one: what it held back is no longer beyond, but within the checkpoint.
                self.done = entry.run_last
                self.skipped += entry.run_skipped
                self.beyond_count -= entry.run_count
                self.beyond_size -= entry.run_size
            else:
                before.run_count += entry.run_count + 1
                before.run_size += entry.run_size + entry.size
                before.run_skipped += entry.run_skipped
                before.run_last = entry.run_last
                self.beyond_count += 1
                self.beyond_size += entry.size
            _unlink(entry)
            entry = following
        lane.first = entry
        if entry is None:
            lane.last = None

    def clear(self) -> None:
        """Take the list apart: entries that point at one another would wait for the garbage collector."""
        entry = self._root.after
        while entry is not self._root:
            following = entry.after
            _unlink(entry)
            entry = following
        self._root.before = self._root.after = self._root


def _unlink(entry: Entry) -> None:
    # Nobody may find it any more, and no cycle may be left for the collector, which a busy process runs rarely.
    del entry.before, entry.after
    entry.following = entry.message = None
