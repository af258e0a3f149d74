"""deli's lambda: records, batches and stored states that it can do nothing with, or that only look so."""

import asyncio
import json
from typing import Any, cast

import pytest

from examples.deli import Config, Record, Tick
from examples.deli.runner import Deli
from examples.deli.settings import Topics
from examples.deli.store import latest
from sdk_python.document_router import CorruptDocument, IDocumentContext
from tests.unit.deli.shared import NOW, join, op
from tests.unit.deli.world import (
    DELTAS,
    FAILED,
    STATE,
    TOO_LARGE,
    WRITTEN,
    Context,
    World,
    value_of,
)

pytestmark = pytest.mark.usefixtures("hurried")


async def test_a_malformed_record_waits_for_the_state_before_it(world: World) -> None:
    """The router counts all records of a corrupt document as done: its state has to be as far."""
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    world.append(b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}')
    world.put("d1", op("A", 2, 1))
    await asyncio.sleep(0.01)
    assert world.checkpoint is None
    world.gate.set()
    await world.settled()
    assert world.offset_of() == 1
    assert world.checkpoint == 3
    assert [error.offset for error in world.errors] == [2]
    await world.rebalance()
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert world.numbers() == [1, 2, 3]


@pytest.mark.parametrize(
    ("contents", "is_deep"),
    [
        ('{"k":' * 450 + '[1e999,"\\ud800"]' + "}" * 450, False),
        ("[" * 970 + "]" * 970, True),
        ("[" * 978 + "]" * 978, True),
        ('{"k":' * 100_000 + "1" + "}" * 100_000, True),
        ("9" * 5_000, False),
    ],
    ids=["odd", "970", "978", "100000", "digits"],
)
async def test_what_is_hard_to_read_or_to_write_is_told_to_its_client(
    world: World, contents: str, is_deep: bool
) -> None:
    """The router finds the document, and the client hears of it: a number, or a nack."""
    world.put("d1", join("A"))
    world.append(value_of("d1", op("A", 1, 1, contents="X")).replace(b'"X"', contents.encode()))
    world.put("d1", op("A", 1, 1), op("A", 2, 1))
    await world.settled()
    assert world.errors == []
    nacks = [one["operation"]["content"]["message"] for one in world.messages() if one["type"] == "Nack"]
    assert nacks == (["Op is nested too deeply"] if is_deep else [])
    [second] = [one["operation"] for one in world.messages() if one["operation"]["sequenceNumber"] == 2]
    assert (second["contents"] == {"k": "v"}) is is_deep, "the one after it"
    assert world.numbers() == [1, 2, 3]
    assert world.offset_of() == 2
    await world.rebalance()
    world.put("d1", op("A", 3, 1))
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3, 4]


@pytest.mark.parametrize("fault", [TypeError("a fault"), RecursionError(), OverflowError(), KeyError("x")])
async def test_a_fault_of_the_logic_waits_for_the_state_before_it(fault: Exception) -> None:
    """Numbers that were given and not saved would be given again after a rebalance."""
    async with World(checkpointHeuristics={"enable": True}) as world:
        world.put("d1", join("A"))
        world.put("d1", op("A", 1, 1))
        await world.settled()
        assert world.offset_of() == -1
        sequencer = world.delis[-1]._sequencer
        feed = sequencer.feed

        def failing(event: Any, now: int) -> Any:
            if isinstance(event, Record):
                raise fault
            return feed(event, now)

        sequencer.feed = failing  # type: ignore[method-assign]
        world.put("d1", op("A", 2, 1))
        await world.settled()
        assert world.offset_of() == 1
        assert type(fault).__name__ in world.errors[-1].message
        await world.rebalance()
        world.put("d1", op("A", 3, 1, contents="another"))
        await world.settled()
        by_number = {one["operation"]["sequenceNumber"]: one for one in world.messages() if one["type"] != "Nack"}
        assert len(by_number) == len(set(world.numbers()))
        assert world.numbers()[:2] == [1, 2]
        assert world.numbers().count(1) == world.numbers().count(2) == 1


async def test_a_fault_when_time_goes_on_begins_at_what_is_saved() -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)

    feed = deli._sequencer.feed

    def failing(event: Any, now: int) -> Any:
        if isinstance(event, Tick):
            raise TypeError("a fault")
        return feed(event, now)

    deli._sequencer.feed = failing  # type: ignore[method-assign]
    deli._tick()
    assert [(str(error), restart) for error, restart, _ in context.errors] == [("a fault", True)]


async def test_a_fault_half_way_saves_nothing() -> None:
    """Some of a record's numbers are out: whoever is next gives them again, with the same contents."""
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    context.refuse = RuntimeError("a fault")
    deli.handler(context.message(0, value_of("d1", join("A"))))
    assert [(str(error), restart) for error, restart, _ in context.errors] == [("a fault", True)]
    context.refuse = None
    deli.handler(context.message(1, value_of("d1", op("A", 1, 0))))
    assert context.calls == []


async def test_a_malformed_record_with_the_state_not_saved_for_long() -> None:
    async with World(checkpointHeuristics={"enable": True}) as world:
        world.put("d1", join("A"))
        world.put("d1", op("A", 1, 1))
        await world.settled()
        assert world.offset_of() == -1
        world.append(b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}')
        await world.settled()
        assert world.offset_of() == 1
        assert world.checkpoint == 2


async def test_a_malformed_record_whose_state_before_cannot_be_saved(world: World) -> None:
    """It is met again when the state can be."""
    world.fate = lambda sent: FAILED if sent.topic == STATE else WRITTEN
    world.put("d1", join("A"))
    world.append(b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}')
    await world.settled()
    assert world.checkpoint is None
    world.fate = lambda _: WRITTEN
    await world.settled()
    assert world.checkpoint == 1
    assert world.offset_of() == 0
    assert "contents" in world.errors[-1].message


async def test_a_batch_that_is_too_large_ends_its_document_for_good() -> None:
    """Numbers of later records may be out by then, so nobody may give them again."""
    async with World(maintainBatches=True) as world:
        world.fate = lambda sent: TOO_LARGE if len(sent.value or b"") > 2000 else WRITTEN
        world.put("d1", join("A"))
        await world.settled()
        world.put("d1", op("A", 1, 1, contents="x" * 3000))
        world.put("d1", op("A", 2, 1))
        await world.settled()
        assert world.checkpoint == 2
        assert world.errors[-1].offset == 1
        await world.rebalance()
        world.put("d1", op("A", 3, 1))
        await world.settled()
        assert world.numbers() == [1, 3], "3 was on its way already"
        assert world.checkpoint == 3
        assert "given up for good at offset 1" in world.errors[-1].message


async def test_a_batch_that_is_too_large_and_cannot_be_given_up() -> None:
    async with World(maintainBatches=True) as world:
        world.fate = lambda sent: (
            FAILED if b"corrupt" in (sent.value or b"") else TOO_LARGE if sent.topic == DELTAS else WRITTEN
        )
        world.put("d1", join("A"))
        await world.settled()
        assert world.checkpoint is None
        assert not [error for error in world.errors if error.offset is not None]


@pytest.mark.parametrize("text", ['{"sequenceNumber":', "{}", '{"logOffset":1,"sequenceNumber":"x"}'])
async def test_a_stored_state_that_is_none(text: str) -> None:
    context = Context()
    states = latest([(json.dumps(["t1", "d1", "old"]).encode(), text.encode())])
    with pytest.raises(CorruptDocument, match="its stored state cannot be read"):
        Deli(cast("IDocumentContext", context), Config(), Topics(), states, lambda: NOW)


async def test_an_unreadable_state_does_not_make_an_older_one_count() -> None:
    key, other = (json.dumps(["t1", "d1", lease]).encode() for lease in "ab")
    assert latest([(key, b'{"logOffset":7}'), (other, b"?")])["t1", "d1"].text == "?"
    assert latest([(key, b'{"logOffset":7}'), (other, b"?"), (other, None)])["t1", "d1"].offset == 7
    assert latest([(key, b'{"logOffset":7}'), (key, None)]) == {}
    assert latest([(b"?", b"1"), (b"7", b"1"), (b"[1,2,3]", b"1")]) == {}


@pytest.mark.parametrize("name", ["\ud800", "\udfff!", 'a"b', "\0", "ü"])
async def test_odd_document_ids(world: World, name: str) -> None:
    world.put(name, join("A"))
    world.put(name, op("A", 1, 1))
    await world.settled()
    assert world.errors == []
    assert world.numbers(name) == [1, 2]
    await world.rebalance()
    world.put(name, op("A", 2, 1))
    await world.settled()
    assert sorted(set(world.numbers(name))) == [1, 2, 3]


async def test_numbers_beyond_all_doubles(world: World) -> None:
    """JavaScript reads 1e999 as Infinity and writes null; one client's message must not end the document."""
    world.put("d1", join("A"))
    world.append(value_of("d1", op("A", 1, 1, contents="X")).replace(b'"X"', b"[1e999, -1e999]"))
    await world.settled()
    assert world.errors == []
    assert [one["operation"]["contents"] for one in world.messages()][1] == [None, None]


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
async def test_what_is_no_json_though_python_takes_it(world: World, constant: bytes) -> None:
    world.put("d1", join("A"))
    world.append(value_of("d1", op("A", 1, 1, contents="X")).replace(b'"X"', constant))
    await world.settled()
    assert [error.offset for error in world.errors] == [1]


async def test_a_text_that_only_looks_so(world: World) -> None:
    world.put("d1", join("NaN"))
    world.put("d1", op("NaN", 1, 1, contents="Infinity"))
    await world.settled()
    assert world.numbers() == [1, 2]


@pytest.mark.parametrize("value", [None, b"", b"?", b"[]", b"1"])
async def test_values_that_are_no_boxcar(value: bytes | None) -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    with pytest.raises(Exception, match=r"no JSON|no object"):
        deli.handler(context.message(0, value))
    assert context.calls == []


async def test_a_topic_with_a_name_that_none_has() -> None:
    """The SDK raises at once; that is a failed produce like any other, and no corrupt document."""
    context = Context()
    context.refuse = ValueError("a name has 1 to 249 characters")
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    await asyncio.sleep(0)
    assert context.errors == [("a name has 1 to 249 characters", True, None)]
