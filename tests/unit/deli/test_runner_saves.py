"""deli's lambda: what it does with the outcomes of what it produced, and when it saves its state."""

import asyncio
import gc
import json
from typing import Any, cast

import pytest

from examples.deli import Config
from examples.deli.runner import Deli
from examples.deli.settings import Topics
from sdk_python import CloseReason, ProduceError
from sdk_python.document_router import DocumentMessage, IDocumentContext
from sdk_python.testing import Sent
from tests.unit.deli.shared import NOW, join, leave, op
from tests.unit.deli.world import (
    DELTAS,
    FAILED,
    NOT_ALLOWED,
    STATE,
    WRITTEN,
    Context,
    World,
    value_of,
)
from tests.unit.waiting import until

pytestmark = pytest.mark.usefixtures("hurried")


async def test_a_state_is_stored_when_its_numbers_are(world: World) -> None:
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    await world.settled()
    assert world.written == []
    world.gate.set()
    await world.settled()
    assert world.numbers() == [1, 2]
    assert world.offset_of() == 1
    assert world.checkpoint == 0  # a document with clients keeps one back


async def test_a_save_that_waited_for_another_waits_for_its_own_numbers() -> None:
    """One at a time: while a state is on its way, numbers are given that it has not, and the next one has."""
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    context.confirm(0)
    await asyncio.sleep(0)
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    assert [topic for topic, _, _ in context.calls] == [DELTAS, STATE, DELTAS]
    context.confirm(1)
    await asyncio.sleep(0)
    assert len(context.calls) == 3
    context.confirm(2)
    await asyncio.sleep(0)
    assert [topic for topic, _, _ in context.calls] == [DELTAS, STATE, DELTAS, STATE]
    context.confirm(3)
    await asyncio.sleep(0)
    assert context.checkpoints == [0]


async def test_a_failed_record_in_the_middle(world: World) -> None:
    """Later ones are written; the state is not stored, and all comes again with the same numbers."""
    failing = ["2"]

    def fate(sent: Sent) -> int:
        if sent.topic == DELTAS and b'"sequenceNumber":2,' in (sent.value or b"") and failing:
            failing.clear()
            return FAILED
        if sent.topic == STATE and json.loads(sent.value or b"")["sequenceNumber"] > 1:
            assert 2 in world.numbers(), "a state with a number that nobody was told"
        return WRITTEN

    world.fate = fate
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3]
    assert world.offset_of() == 2
    assert [error.action for error in world.errors] == ["report"]


async def test_a_topic_that_is_not_allowed_fails_behind_later_records_of_another() -> None:
    """The SDK sends each topic's records by themselves then: the newest outcome says nothing of the earlier ones."""
    async with World(signals=True, enableWriteClientSignals=True) as world:

        def fate(sent: Sent) -> int:
            return NOT_ALLOWED if sent.topic == DELTAS else WRITTEN

        world.fate = fate
        world.put("d1", join("A"))
        world.put("d1", join("B"))
        await world.settled()
        assert [one for one in world.written if one.topic == STATE] == []
        assert world.checkpoint is None


async def test_outcomes_that_come_late_and_out_of_order() -> None:
    """A save waits for every record before it, and not for the last one only."""
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    assert [topic for topic, _, _ in context.calls] == [DELTAS, DELTAS]
    context.confirm(1)
    await asyncio.sleep(0)
    assert len(context.calls) == 2
    context.calls[0][2].set_exception(ProduceError("no", DELTAS, "failed"))
    await asyncio.sleep(0)
    assert len(context.calls) == 2
    assert context.errors == [("not written to deltas (failed): no", True, None)]


async def test_a_failure_is_told_once_what_came_before_it_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """Only the first under way has a callback. The others' outcomes are heard of too, also those behind a failure."""
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    for number in range(1, 4):
        deli.handler(context.message(number, value_of("d1", op("A", number, 1))))
    for number in (1, 3):
        context.calls[number][2].set_exception(ProduceError("no", DELTAS, "failed"))
    await asyncio.sleep(0)
    assert context.errors == []
    context.confirm(0)
    await asyncio.sleep(0)
    assert len(context.calls) == 4, "no state"
    assert context.errors == [("not written to deltas (failed): no", True, None)]
    context.calls[2][2].set_exception(ProduceError("no", DELTAS, "failed"))
    await asyncio.sleep(0)
    assert len(context.errors) == 1
    context.calls.clear()
    gc.collect()
    assert caplog.messages == []  # of an outcome that nobody asked for, asyncio would say so


async def test_a_record_is_not_kept_parsed(world: World) -> None:
    """Ten thousand of a partition may wait for their states."""
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    await until(lambda: bool(world.delis))
    await world.handled()
    (document,) = cast("Any", world.delis[-1]._context)._owner._router._documents.values()
    (kept,) = document.lane.unfinished()
    assert isinstance(kept, DocumentMessage)
    assert "boxcar" not in kept.__dict__
    world.gate.set()
    await world.settled()
    assert world.numbers() == [1]


async def test_an_earlier_failure_that_is_known_in_the_same_moment() -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    context.confirm(1)
    context.calls[0][2].set_exception(ProduceError("no", DELTAS, "failed"))
    await asyncio.sleep(0)
    assert len(context.calls) == 2, "no state"


async def test_a_save_that_failed_is_tried_again(world: World) -> None:
    """Else the checkpoint would stand still until the document's next record."""
    failing = [1, 2]

    def fate(sent: Sent) -> int:
        if sent.topic == STATE and failing:
            failing.pop()
            return FAILED
        return WRITTEN

    world.fate = fate
    world.put("d1", join("A"), leave("A"))
    await world.settled()
    assert not failing
    assert world.checkpoint == 1
    assert world.offset_of() == 1  # the noClient that it sent itself
    assert world.numbers() == [1, 2, 3]


async def test_close_waits_for_the_save_and_nothing_comes_after_it(world: World) -> None:
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    await world.settled()
    stopping = asyncio.create_task(world.revoke(2.0))
    await asyncio.sleep(0.01)
    world.gate.set()
    await stopping
    assert world.offset_of() == 1
    assert world.delis[0]._timer is None
    before = len(world.written)
    world.now += 10**9
    world.delis[0]._tick()
    await asyncio.sleep(0.01)
    assert len(world.written) == before
    assert world.checkpoint == 0


async def test_close_does_not_wait_for_a_save_that_will_not_be(world: World) -> None:
    world.gate = asyncio.Event()
    world.fate = lambda sent: FAILED if sent.topic == DELTAS else WRITTEN
    world.put("d1", join("A"))
    await world.settled()
    closing = world.delis[0].close(CloseReason.IDLE)
    assert closing is not None
    world.gate.set()
    await asyncio.wait_for(closing, 60)
    assert world.offset_of() == -1


async def test_closing_a_document_at_rest_needs_no_task(world: World) -> None:
    world.put("d1", join("A"))
    await world.settled()
    assert world.delis[0].close(CloseReason.IDLE) is None


async def test_a_lambda_that_is_made_again_while_the_old_one_saves(world: World) -> None:
    """The old one's state comes to be stored behind its back; what comes again has the same numbers."""
    world.put("d1", join("A"))
    await world.settled()
    world.gate = asyncio.Event()
    world.put("d1", op("A", 1, 1))
    await world.settled()
    world.delis[0]._context.error("a test", restart=True)
    await until(lambda: len(world.delis) == 2)
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert len(world.delis) == 2
    world.gate.set()
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3]
    assert world.offset_of() == 2
    assert world.checkpoint == 1


async def test_a_document_that_was_closed_at_rest(world: World) -> None:
    """In the same lease: its state is the one that was stored last, and not the one that was read."""
    for client in "AB":
        world.put("d1", join(client), op(client, 1, -1), leave(client))
        await world.settled()
        world.close_idle()
        await world.settled()
    assert len(world.delis) == 2
    assert world.numbers() == [*range(1, 9)]


async def test_a_stale_lease_is_no_error_and_ends_the_sequencer() -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    context.calls[0][2].set_exception(ProduceError("gone", DELTAS, "stale_lease"))
    await asyncio.sleep(0)
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    assert len(context.calls) == 1
    assert context.errors == []
    assert deli._timer is None


async def test_an_old_state_that_comes_late(world: World) -> None:
    """Of a sidecar that was cut off: compaction must not keep it in the place of a newer one."""
    world.put("d1", join("A"))
    await world.settled()
    old = next(one for one in world.written if one.topic == STATE)
    await world.rebalance()
    world.put("d1", op("A", 1, 1))
    await world.settled()
    world.written.append(old)
    world.compact()
    assert world.offset_of() == 1
    await world.rebalance()
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3]
    world.compact()
    states = [one for one in world.written if one.topic == STATE]
    assert len(states) == 1, "the others are removed"
