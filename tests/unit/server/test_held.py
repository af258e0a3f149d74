"""What a lease holds: which records go with which checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.mail.outgoing import Outgoing
from sidecar.server.held import Held, Lent

MOST, MOST_BYTES = 12, 1_000


def records(*names: str) -> list[Outgoing]:
    return [Outgoing("t", None, name.encode(), -1, ()) for name in names]


def names(lent: Lent) -> list[str]:
    return [(record.value or b"").decode() for record in lent.records]


def test_without_sources_all_goes_with_the_next_checkpoint() -> None:
    held = Held(10, 100)
    held.add(records("a"), [], 1, None)
    call = held.add(records("b", "c"), [], 1, 5)
    assert call is not None
    lent = held.take(5)
    assert names(lent) == ["a", "b", "c"]
    assert lent.of_call(call) == {0: 1, 1: 2}
    assert not held


def test_a_record_with_a_source_waits_for_it() -> None:
    held = Held(10, 100)
    call = held.add(records("a", "b", "c"), [7, -1, 5], 9, 5)
    assert call is not None
    lent = held.take(5)
    assert names(lent) == ["b", "c"]
    assert lent.of_call(call) == {1: 0, 2: 1}
    assert (held.count, held.lent_count, held.size + held.lent_size) == (1, 2, 9)
    assert names(held.take(7)) == ["a"]


def test_a_checkpoint_that_is_told_again_takes_nothing() -> None:
    held = Held(10, 100)
    held.take(5)
    held.add(records("of 6"), [], 1, None)
    assert held.take_if_new(5) is None
    assert held.take_if_new(None) is None
    lent = held.take_if_new(6)
    assert lent is not None
    assert names(lent) == ["of 6"]
    held.give_back(lent)  # the offset was not delivered yet: it is told again later, and is new then
    assert held.take_if_new(6) is not None


def test_too_much_is_not_held_and_what_goes_at_once_does_not_count() -> None:
    held = Held(2, 100)
    assert held.add(records("a", "b"), [], 1, None)
    assert held.add(records("c"), [], 1, None) is None
    assert held.count == 2
    assert held.add(records("c"), [], 1, 5)
    assert names(held.take(5)) == ["a", "b", "c"]
    assert held.is_busy
    assert held.add(records("d"), [9], 101, 5) is None


@dataclass
class Known:
    name: str
    source: int
    lent: int | None = field(default=None)
    """The number of the take that has it."""


class HeldModel(RuleBasedStateMachine):
    """The same by a list of records."""

    def __init__(self) -> None:
        super().__init__()
        self.held = Held(MOST, MOST_BYTES)
        self.known: list[Known] = []
        self.lents: dict[int, tuple[Lent, list[str]]] = {}
        self.number = 0

    @rule(
        sources=st.lists(st.integers(-1, 8), max_size=5),
        named=st.booleans(),
        size=st.integers(0, 300),
        offset=st.none() | st.integers(0, 8),
    )
    def add(self, sources: list[int], named: bool, size: int, offset: int | None) -> None:
        made = [Known(f"{self.number}.{index}", source if named else -1) for index, source in enumerate(sources)]
        self.number += 1
        waiting = [one for one in self.known if one.lent is None]
        stays = [one for one in made if offset is None or one.source > offset]
        call = self.held.add(
            records(*(one.name for one in made)), [one.source for one in made] if named else [], size, offset
        )
        if stays and len(waiting) + len(stays) > MOST:
            assert call is None
        if call is not None:
            self.known += made
        elif stays:
            assert len(waiting) + len(stays) > MOST or self.held.size + size > MOST_BYTES

    @rule(offset=st.integers(0, 8))
    def take(self, offset: int) -> None:
        self.number += 1
        lent = self.held.take(offset)
        goes = [one for one in self.known if one.lent is None and one.source <= offset]
        for one in goes:
            one.lent = self.number
        assert names(lent) == [one.name for one in goes]
        self.lents[self.number] = lent, names(lent)

    @precondition(lambda self: self.lents)
    @rule(data=st.data(), written=st.booleans())
    def answer(self, data: st.DataObject, written: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.lents)))
        lent, _ = self.lents.pop(number)
        if written:
            self.held.settle(lent)
            self.known = [one for one in self.known if one.lent != number]
        else:
            self.held.give_back(lent)
            for one in self.known:
                one.lent = None if one.lent == number else one.lent

    @rule()
    def end(self) -> None:
        self.held.clear()
        self.known = [one for one in self.known if one.lent is not None]

    @invariant()
    def counts(self) -> None:
        waiting = [one for one in self.known if one.lent is None]
        assert self.held.count == len(waiting)
        assert self.held.lent_count == len(self.known) - len(waiting)
        assert bool(self.held) == bool(waiting)
        assert self.held.size >= 0
        assert self.held.lent_size >= 0
        if not self.known:
            assert (self.held.size, self.held.lent_size) == (0, 0) or self.lents


TestHeldModel = HeldModel.TestCase
TestHeldModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
