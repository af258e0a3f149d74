"""Which state goes with which checkpoint, whatever becomes of the calls (rule R53)."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from sdk_python._checkpoints import LeaseProgress
from sdk_python._connection import LinkError
from sdk_python._outcomes import Outcomes
from sdk_python.protocol import lambda_pb2 as pb

from .test_checkpoints import Call, sending, turns


class NoSink:
    def changed(self, progress: LeaseProgress) -> None: ...
    def hurry(self) -> None: ...
    def forget(self, progress: LeaseProgress) -> None: ...


def lease(max_state_bytes: int = 100, delivered: int = 1000) -> LeaseProgress:
    made = LeaseProgress("lease", 100, 0, NoSink(), max_state_bytes)
    made.delivered_to(delivered)
    return made


def state_of(entry: pb.CheckpointEntry | None) -> bytes | None:
    assert entry is not None
    return entry.state if entry.HasField("state") else None


async def test_the_last_state_at_or_below_the_offset_goes_with_it_once() -> None:
    call = Call()
    async with sending(call) as begin:
        one = begin()
        one._states._max_bytes = 100
        one.checkpoint(1, b"one")
        one.checkpoint(2, b"two")
        one.checkpoint(3)
        entry = (await call.request())["lease"]
        assert (entry.offset, entry.state) == (3, b"two")
        call.accept()
        one.checkpoint(4)
        assert state_of((await call.request())["lease"]) is None, "the sidecar has it"
        call.accept()
        one.checkpoint(5, b"")
        assert state_of((await call.request())["lease"]) == b"", "none from here on"
        call.accept()


async def test_a_failed_call_is_repeated_with_its_state() -> None:
    call = Call()
    async with sending(call) as begin:
        one = begin()
        one._states._max_bytes = 100
        one.checkpoint(1, b"one")
        await call.request()
        one.checkpoint(2)
        call.answers.put_nowait(LinkError("away"))
        entry = (await call.request())["lease"]
        assert (entry.offset, entry.state) == (2, b"one")
        call.accept()


async def test_a_bounded_checkpoint_has_the_state_below_the_bound() -> None:
    one = lease(delivered=9)
    one.checkpoint(5, b"five")
    one.checkpoint(25, b"later")
    entry = one.take()
    assert entry is not None
    assert (entry.offset, entry.state) == (9, b"five")
    one.answered(entry, pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED, delivered=7))
    one.delivered_to(30)
    entry = one.take()
    assert entry is not None
    assert (entry.offset, entry.state) == (25, b"later")


async def test_a_state_of_an_ignored_checkpoint_is_ignored() -> None:
    one = lease()
    one.checkpoint(5, b"five")
    one.checkpoint(5, b"again")
    one.checkpoint(3, b"three")
    assert state_of(one.take()) == b"five"
    one.seal()
    one.checkpoint(9, b"nine")
    assert len(one._states._waiting) == 1


async def test_a_state_goes_with_a_checkpoint_that_was_held_back() -> None:
    one = lease()
    failures: list[BaseException] = []
    outcomes = one.outcomes = Outcomes(one.passed, failures.append)
    outcomes.put, outcomes.under_way = 1, 1  # a record is produced
    one.checkpoint(5, b"five")
    one.checkpoint(4, b"lower than one that is held back")
    assert one.take() is None
    outcomes.known_to(1, 1)
    entry = one.take()
    assert entry is not None
    assert (entry.offset, entry.state) == (5, b"five")


async def test_the_last_checkpoint_in_closed_has_its_state() -> None:
    one = lease()
    one.checkpoint(5, b"five")
    entry = one.take()  # under way is not accepted
    one.checkpoint(6)
    last = one.seal()
    assert last is not None
    assert (last.offset, last.state) == (6, b"five")
    assert entry is not None


@pytest.mark.parametrize(
    ("state", "limit", "error", "text"),
    [
        (b"12345", 4, ValueError, "5 bytes, and at most 4 "),
        (b"", 0, ValueError, "keeps no state"),
        ("text", 4, TypeError, "bytes or None, got str"),
        (bytearray(b"1"), 4, TypeError, "got bytearray"),
    ],
)
async def test_what_cannot_be_a_state_is_refused_and_the_checkpoint_with_it(
    state: Any, limit: int, error: type[Exception], text: str
) -> None:
    one = lease(limit)
    with pytest.raises(error, match=text):
        one.checkpoint(1, state)
    assert one.take() is None


STEPS = st.one_of(
    st.tuples(st.just("checkpoint"), st.integers(0, 30), st.one_of(st.none(), st.binary(max_size=2))),
    st.tuples(st.just("deliver"), st.integers(0, 30), st.none()),
    st.tuples(st.sampled_from(["take", "fail", "beyond", "accept", "lost answer"]), st.integers(0, 30), st.none()),
)


class Model:
    """A lease, and a sidecar that keeps the last offset and its state."""

    def __init__(self) -> None:
        self.lease = lease(delivered=-1)
        self.given: dict[int, bytes] = {}
        self.highest = self.delivered = self.offset = -1
        self.state = b""
        self.under_way: pb.CheckpointEntry | None = None

    def keep(self, entry: pb.CheckpointEntry) -> None:
        """As the sidecar does with an entry."""
        if entry.HasField("offset") and entry.offset > self.offset:
            self.offset = entry.offset
            self.state = entry.state if entry.HasField("state") else self.state
            due = [self.given[offset] for offset in sorted(self.given) if offset <= self.offset]
            assert self.state == (due[-1] if due else b"")

    def lambda_does(self, step: str, number: int, state: bytes | None) -> None:
        if step == "checkpoint":
            if number > self.highest and state is not None:
                self.given[number] = state
            self.highest = max(self.highest, number)
            self.lease.checkpoint(number, state)
        elif step == "deliver" and number > self.delivered:
            self.delivered = number
            self.lease.delivered_to(number)
        elif step == "take" and self.under_way is None:
            self.under_way = self.lease.take()

    def sidecar_does(self, step: str, number: int) -> None:
        entry = self.under_way
        if entry is None or step not in ("accept", "fail", "lost answer", "beyond"):
            return
        self.under_way = None
        if step in ("fail", "lost answer"):
            if step == "lost answer":
                self.keep(entry)
            self.lease.failed()
        elif step == "beyond" and entry.HasField("offset"):
            beyond = pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED
            delivered = min(number, entry.offset - 1)
            self.lease.answered(entry, pb.CheckpointResult(outcome=beyond, delivered=delivered))
        else:
            self.keep(entry)
            self.lease.answered(entry, pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED))

    async def play(self, steps: list[tuple[str, int, bytes | None]]) -> None:
        for step, number, state in steps:
            self.lambda_does(step, number, state)
            self.sidecar_does(step, number)
        last = self.lease.seal()
        if last is not None:
            self.keep(last)


@settings(deadline=None, max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_the_sidecar_has_the_state_that_belongs_to_its_offset(steps: list[tuple[str, int, bytes | None]]) -> None:
    async def play() -> None:
        await Model().play(steps)

    asyncio.run(play())


async def test_nothing_is_kept_of_what_the_sidecar_has() -> None:
    call = Call()
    async with sending(call) as begin:
        one = begin()
        one._states._max_bytes = 100
        for offset in range(50):
            one.checkpoint(offset, b"x")
        while one._states._waiting:
            await call.request()
            call.accept()
            await turns()
        assert one.offset == 49
