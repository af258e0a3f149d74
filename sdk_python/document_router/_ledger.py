"""Makes the checkpoint of one partition from those of many documents. No I/O, no clock, no lambdas.

The unfinished records form a doubly linked list in the order of their offsets. A record that is done leaves the list.
It is then only counted, in the unfinished record before it: how many done records follow that one before the next
unfinished record, their bytes, and the last offset among them. The records before the first unfinished one are the
partition's checkpoint. So::

    records     0   1   2   3   4   5   6        all up to 1 is done: ``done`` is 1
    state       ok  ok  A   ok  ok  B   ok
    list                A+2         B+1          A holds back 3 and 4, B holds back 6: ``beyond_count`` is 3

Each record is linked in once and out once. Each takes a constant number of steps, whatever the number of documents
and however long a quiet document holds the partition back. (A minimum over the documents, as Fluid Framework's
kafka-service has it, costs a step per document. A heap of the documents costs the logarithm, and does not know the
records after its minimum that are done.) The memory grows with the number of unfinished records, which the
partition's window bounds, and not with the span of their offsets.

The unfinished records of each document are chained too, so a document's checkpoint finds its own records at once.
"""

from collections.abc import Iterator

from sdk_python._message import Message


class Entry:
    """An unfinished record, and the run of done records that follow it."""

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
        """The next unfinished record of the same document."""
        self.run_count = 0
        self.run_size = 0
        self.run_skipped = 0
        self.run_last = offset


class Lane:
    """The records of one document in the partition."""

    __slots__ = ("acknowledged", "first", "head", "last")

    def __init__(self) -> None:
        self.first: Entry | None = None
        """The first unfinished record; None: there is none."""
        self.last: Entry | None = None
        self.head = -1
        """Offset of the document's last record that came; -1: none yet."""
        self.acknowledged = -1
        """The document's own checkpoint; -1: none yet."""

    def unfinished(self, start: int = 0) -> Iterator[Message]:
        """Return the unfinished records from offset ``start`` on, in their order."""
        entry = self.first
        while entry is not None:
            if entry.offset >= start and entry.message is not None:
                yield entry.message
            entry = entry.following


class Ledger:
    """All records of one partition, in the order of their offsets.

    Invariants:

    - Every record up to and including ``done`` is done, and ``done`` never decreases.
    - ``beyond_count`` and ``beyond_size`` are the number and the bytes of the done records after ``done``.
    - ``skipped`` counts the records up to ``done`` that no lambda finished. A skipped record after ``done`` is not
      counted yet: it comes again after a restart, and may be handled then.
    """

    __slots__ = ("_lone_message", "_root", "beyond_count", "beyond_size", "done", "head", "lone", "skipped")

    def __init__(self) -> None:
        # Makes the list a ring, so that no step asks whether there is a record before or after.
        root = self._root = Entry(-1, 0, None)
        root.before = root.after = root
        self.head = -1
        """Offset of the last record that came; -1: none yet."""
        self.done = -1
        """All records up to and including this offset are done; -1: none is."""
        self.beyond_count = 0
        self.beyond_size = 0
        self.skipped = 0
        self.lone: Lane | None = None
        """The document of the only unfinished record, while that has no entry yet."""
        self._lone_message: Message | None = None

    @property
    def pending(self) -> bool:
        """Whether there is an unfinished record."""
        return self._root.after is not self._root or self.lone is not None

    def begin(self, lane: Lane, offset: int, message: Message) -> None:
        """Add a record of a document that is handled now. ``offset`` must be above all earlier ones.

        If all earlier records are done, and its handler checkpoints it, it needs no entry: call ``keep`` afterwards.
        """
        if self._root.after is self._root and self.lone is None:
            lane.head = self.head = offset
            self.lone, self._lone_message = lane, message
        else:
            self.add(lane, offset, size_of(message), message)

    def keep(self) -> None:
        """Give the lone record an entry, if there is one."""
        lane, message = self.lone, self._lone_message
        if lane is not None and message is not None:
            self.lone = self._lone_message = None
            self.add(lane, self.head, size_of(message), message)

    def unfinished(self, lane: Lane, start: int = 0) -> Iterator[Message]:
        """Return the unfinished records of a document from offset ``start`` on, in their order."""
        self.keep()
        return lane.unfinished(start)

    def add(self, lane: Lane, offset: int, size: int, message: Message) -> None:
        """Add a record of a document. ``offset`` must be above all earlier ones; ``size`` in bytes."""
        if self.lone is not None:
            self.keep()
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
        """Add a record that no lambda gets: it is done at once. ``offset`` must be above all earlier ones."""
        self.keep()
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
        """Skip the unfinished records of a document: no lambda will finish them."""
        self.keep()
        entry = lane.first
        while entry is not None:
            # Counted in its own run: when the checkpoint includes the run, it includes the record.
            entry.run_skipped += 1
            entry = entry.following
        self.acknowledge(lane, lane.head)

    def acknowledge(self, lane: Lane, offset: int) -> bool:
        """Note that all records of the document up to and including ``offset`` are done.

        Returns whether it was the lone record: then nothing has changed but ``done``.
        """
        if self.lone is lane and offset == self.head:
            self.lone = self._lone_message = None
            lane.acknowledged = self.done = offset
            return True
        self.keep()
        lane.acknowledged = max(lane.acknowledged, offset)
        root, entry = self._root, lane.first
        while entry is not None and entry.offset <= offset:
            before, after, following = entry.before, entry.after, entry.following
            before.after, after.before = after, before
            if before is root:
                # It was the first unfinished record: the checkpoint now includes the records that it held back.
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
        return False

    def clear(self) -> None:
        """Take the list apart: entries that refer to each other would wait for the garbage collector."""
        self.lone = self._lone_message = None
        entry = self._root.after
        while entry is not self._root:
            following = entry.after
            _unlink(entry)
            entry = following
        self._root.before = self._root.after = self._root


def size_of(message: Message) -> int:
    """The bytes of key and value."""
    _, _, _, _, _, key, value, _ = message
    return (len(key) if key else 0) + (len(value) if value else 0)


def _unlink(entry: Entry) -> None:
    # It must not be found any more, and no cycle may be left for the collector, which runs rarely in a busy process.
    del entry.before, entry.after
    entry.following = entry.message = None
