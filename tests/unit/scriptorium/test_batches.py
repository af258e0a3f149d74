"""However records come and inserts end, the checkpoint covers stored operations only, and ends at the end."""

from __future__ import annotations

from hypothesis import given, strategies as st

from examples.scriptorium.batches import Batches, slices
from examples.scriptorium.operations import Operation


def operation(document: str, offset: int) -> Operation:
    return Operation(("tenant", document), offset, offset, b"")


RECORD = st.lists(st.sampled_from("abc"), max_size=3)
"""The documents of a record's operations."""

STEPS = st.lists(st.one_of(RECORD, st.sampled_from(["take", "stored", "fail"])), max_size=60)


class Model:
    """A partition, what a database holds of it, and a lambda that is told of both."""

    def __init__(self) -> None:
        self.log: list[list[Operation]] = []
        self.next = 0
        self.stored: set[Operation] = set()
        self.checkpoints: list[int] = []
        self.batches = Batches()
        self.under_way: list[Operation] | None = None

    def checkpoint(self, offset: int | None) -> None:
        if offset is None:
            return
        assert offset > max(self.checkpoints, default=-1), "it never moves back, and says nothing twice"
        assert offset < self.next, "what was not handled is not checkpointed"
        wanted = {operation for record in self.log[: offset + 1] for operation in record}
        assert wanted <= self.stored, "nothing that is not stored is checkpointed"
        self.checkpoints.append(offset)

    def handle(self) -> None:
        while self.next < len(self.log):
            self.next += 1
            self.checkpoint(self.batches.add(self.next - 1, self.log[self.next - 1]))

    def take(self) -> None:
        batch = self.batches.take()
        if batch is not None:
            assert self.under_way is None, "one at a time"
            self.under_way = [entry for entries in batch.documents.values() for entry in entries]

    def end(self) -> None:
        if self.under_way is not None:
            self.stored |= {*self.under_way}
            self.under_way = None
            self.checkpoint(self.batches.stored())

    def fail(self) -> None:
        """Half of it is stored, nobody knows which; all comes again from the first offset."""
        first = self.batches.first
        if first is not None:
            assert first == max(self.checkpoints, default=-1) + 1, "nothing is left out, and nothing comes in vain"
            self.stored |= {*(self.under_way or [])[::2]}
            self.under_way = None
            self.batches.clear()
            self.next = first


@given(STEPS)
def test_checkpoint_follows_what_is_stored(steps: list[list[str] | str]) -> None:
    model = Model()
    for step in steps:
        if isinstance(step, list):
            model.log.append([operation(document, len(model.log)) for document in step])
            model.handle()
        else:
            {"take": model.take, "stored": model.end, "fail": model.fail}[step]()
            model.handle()
    while model.batches.first is not None:
        model.take()
        model.end()
    if model.log:
        assert model.checkpoints[-1] == len(model.log) - 1, "no lag is left, whatever the last records were"


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 7))
def test_slices(documents: list[str], most: int) -> None:
    """Each holds operations of one document, in order, and no more than it may."""
    batches = Batches()
    batches.add(0, [operation(document, index) for index, document in enumerate(documents)])
    batch = batches.take()
    if not documents:
        assert batch is None
        return
    assert batch is not None
    parts = slices(batch.documents, most)
    assert all(len({entry.document for entry in part}) == 1 for part in parts)
    assert all(not most or len(part) <= most for part in parts)
    for document in set(documents):
        got = [entry.number for part in parts for entry in part if entry.document[1] == document]
        assert got == [index for index, name in enumerate(documents) if name == document]
    if most == 0:
        assert len(parts) == len(set(documents))
