"""The consolidation against a recount that looks at every record."""

import gc
from dataclasses import dataclass, field

from hypothesis import given, settings, strategies as st

from sdk_python.document_router._ledger import Entry, Lane, Ledger

from .world import message

NAMES = ["A", "B", "C", "D"]


@dataclass
class Model:
    """All records that ever came, and what is done of them."""

    records: list[tuple[int, int, str | None]] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)

    def checkpoint(self) -> int:
        last = -1
        for offset, _, _ in self.records:
            if offset not in self.done:
                break
            last = offset
        return last

    def beyond(self) -> tuple[int, int]:
        checkpoint = self.checkpoint()
        sizes = [size for offset, size, _ in self.records if offset > checkpoint and offset in self.done]
        return len(sizes), sum(sizes)

    def unfinished(self, name: str) -> list[int]:
        return [offset for offset, _, owner in self.records if owner == name and offset not in self.done]


records = st.tuples(
    st.sampled_from(["record", "handled"]),
    st.sampled_from([*NAMES, None]),
    st.integers(1, 4),  # the distance to the record before: offsets have gaps
    st.integers(0, 1000),
)
given_up = st.tuples(st.just("give up"), st.sampled_from(NAMES), st.just(0), st.just(0))
checkpoints = st.tuples(st.just("checkpoint"), st.sampled_from(NAMES), st.integers(-1, 60), st.just(0))
handler_ends = st.tuples(st.just("keep"), st.just(None), st.just(0), st.just(0))


@given(st.lists(st.one_of(records, checkpoints, given_up, handler_ends), max_size=120))
@settings(max_examples=200, deadline=None)
def test_the_ledger_equals_a_recount_of_its_records(steps: list[tuple[str, str | None, int, int]]) -> None:
    ledger, model = Ledger(), Model()
    lanes = {name: Lane() for name in NAMES}
    offset = -1
    for kind, name, number, size in steps:
        before = ledger.done
        if kind == "checkpoint":
            assert name is not None
            ledger.acknowledge(lanes[name], number)
            model.done.update(o for o, _, owner in model.records if owner == name and o <= number)
        elif kind == "keep":
            ledger.keep()
        elif kind == "give up":
            assert name is not None
            ledger.give_up(lanes[name])
            model.skipped.update(model.unfinished(name))
            model.done.update(model.unfinished(name))
        else:
            offset += number
            model.records.append((offset, size, name))
            if name is None:
                ledger.skip(offset, size)
                model.done.add(offset)
                model.skipped.add(offset)
            else:
                came = message(offset, b"k" * (size // 2), b"v" * (size - size // 2))
                if kind == "handled":
                    ledger.begin(lanes[name], offset, came)
                else:
                    ledger.add(lanes[name], offset, size, came)
        assert ledger.done == model.checkpoint()
        assert ledger.done >= before
        assert (ledger.beyond_count, ledger.beyond_size) == model.beyond()
        assert ledger.skipped == sum(skipped <= ledger.done for skipped in model.skipped)
        assert ledger.pending == any(o not in model.done for o, _, _ in model.records)
        if size % 2:  # to look gives the lone record an entry
            for owner, lane in lanes.items():
                assert [m.offset for m in ledger.unfinished(lane)] == model.unfinished(owner)
    for owner, lane in lanes.items():
        assert [m.offset for m in ledger.unfinished(lane)] == model.unfinished(owner)
    ledger.clear()
    assert not ledger.pending


def test_a_record_that_is_done_in_its_handler_needs_no_entry() -> None:
    ledger, lane = Ledger(), Lane()
    ledger.begin(lane, 5, message(5, b"k"))
    assert (ledger.pending, lane.first) == (True, None)
    assert ledger.acknowledge(lane, 5)
    ledger.keep()
    assert (ledger.done, ledger.pending, lane.first, lane.acknowledged) == (5, False, None, 5)
    ledger.begin(lane, 6, message(6, b"k"))
    assert not ledger.acknowledge(lane, 5)
    ledger.keep()
    assert (ledger.done, [m.offset for m in lane.unfinished()]) == (5, [6])


def test_finished_records_leave_no_reference_cycles() -> None:
    def entries() -> int:
        return sum(isinstance(thing, Entry) for thing in gc.get_objects())

    ledger, lane = Ledger(), Lane()
    gc.disable()  # reference counting alone has to free them: a busy process collects rarely
    try:
        before = entries()
        for offset in range(6):
            ledger.add(lane, offset, 1, message(offset, b""))
        assert entries() == before + 6
        ledger.acknowledge(lane, 2)
        assert entries() == before + 3
        ledger.clear()
        lane.first = lane.last = None
        assert entries() == before
    finally:
        gc.enable()
