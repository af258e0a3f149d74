"""Whatever is wrong with a message: the logic raises nothing but `Malformed`, and for a client's not even that.

And on its partition: no number is given to two messages, whatever record comes before a rebalance.
"""

import asyncio
import copy
import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from examples.deli import Malformed, Record, State, parse_boxcar
from examples.deli.javascript import encode
from tests.comparison import mutations
from tests.comparison.sessions import NOW
from tests.recorded import sessions
from tests.unit.deli.shared import Json, join, op, sequencer
from tests.unit.deli.test_runner_model import timeless
from tests.unit.deli.world import World, hurry

DEEP = ("[" * 600 + "]" * 600, '{"a":' * 5_000 + "1" + "}" * 5_000)
ODD = ("9" * 5_000, "1e999", '"\\udfff"', "[[[[[[1]]]]]]", '{"__proto__":{"toString":1}}', "1" + "0" * 320)
"""JSON that is not as easily made of a Python value."""

MARK = "HERE"


def mutate(rng: random.Random, entry: Json) -> bytes:
    """The entry as JSON, with something odd in one field, and now and then in two."""
    for _ in range(rng.choice((1, 1, 2))):
        entry = mutations.mutated(rng, entry)
    text = None
    if rng.random() < 0.3:
        entry["operation"][rng.choice([*entry["operation"], "another"])] = MARK
        text = rng.choice((*DEEP, *ODD))
    elif entry["clientId"] and rng.random() < 0.1:
        entry["operation"] = rng.choice((None, 5, "x", [], {}, [1]))
    value = encode(entry)
    return value.replace(f'"{MARK}"'.encode(), text.encode()) if text is not None else value


def record(offset: int, *entries: bytes) -> Record:
    """A record with these entries."""
    return Record(offset, parse_boxcar(boxcar(*entries)))


def boxcar(*entries: bytes) -> bytes:
    """A record's value with these entries."""
    return b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":[%s]}' % b",".join(entries)


WELL = [one for one in sessions("deli") if one["kind"] == "well-formed"]


def puts(rng: random.Random, most: int) -> tuple[Json, list[list[Json]]]:
    """The config of a recorded session and its records, or so many of them."""
    made = rng.choice(WELL)
    return made["config"], [step[1] for step in made["steps"] if step[0] == "put"][:most]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_what_a_client_writes_ends_no_document(seed: int) -> None:
    """Its own fields are mutated, each of them, all the time; all else is well."""
    rng = random.Random(seed)
    config, records = puts(rng, 40)
    sequencer_ = sequencer(**config)
    numbers: list[int] = []
    for offset, entries in enumerate(records):
        mutated = [mutate(rng, one) if one["clientId"] and rng.random() < 0.5 else encode(one) for one in entries]
        outputs = sequencer_.feed(record(offset, *mutated), NOW + offset)
        for output in outputs:
            for message in getattr(output, "messages", ()):
                encode(message)
                if message["type"] == "SequencedOperation":
                    numbers.append(message["operation"]["sequenceNumber"])
        state = sequencer_.session.state
        assert state.log_offset == offset
        stored = encode(state.to_json(0))  # 1e999 is null in it
        assert encode(State.from_json(json.loads(stored)).to_json(0)) == stored
    assert numbers == [*range(1, len(numbers) + 1)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_nothing_but_malformed_leaves_the_logic(seed: int) -> None:
    """And then nothing of the record is done."""
    rng = random.Random(seed)
    config, records = puts(rng, 40)
    sequencer_ = sequencer(**config)
    for offset, entries in enumerate(records):
        mutated = [mutate(rng, one) if rng.random() < 0.4 else encode(one) for one in entries]
        before = sequencer_.session
        copied = copy.copy(before)
        try:
            outputs = sequencer_.feed(record(offset, *mutated), NOW + offset)
        except Malformed:
            assert sequencer_.session is before
            assert before == copied
        else:
            for output in outputs:
                encode(getattr(output, "messages", getattr(output, "message", None)))
        state = sequencer_.session.state
        stored = encode(state.to_json(0))  # 1e999 is null in it
        assert encode(State.from_json(json.loads(stored)).to_json(0)) == stored


BAD = (
    b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}',
    boxcar(b'"{"'),
    boxcar(b"NaN"),
    boxcar(DEEP[0].encode()),
    boxcar(DEEP[1].encode()),
    boxcar(ODD[0].encode()),
    b'{"type":"RawOperation","tenantId":"t1","documentId":"d1"}',
    b"{",
    b"",
)


async def _play(seed: int, heuristics: bool, fails: bool) -> None:
    rng = random.Random(seed)
    _, records = puts(rng, 15)
    config: Json = {"checkpointHeuristics": {"enable": True, "maxMessages": 5}} if heuristics else {}
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with World(**config) as world:
        original = world.create
        faulty = {offset: rng.choice(FAULTS) for offset in range(100) if fails and rng.random() < 0.2}

        async def create(settings: Any, context: Any = None) -> Any:
            made = await original(settings, context)
            if context is not None:
                _break(made, faulty)
            return made

        world.create = create  # type: ignore[method-assign, assignment]
        for entries in records:
            if rng.random() < 0.3:
                world.append(rng.choice(BAD))
            elif rng.random() < 0.3:
                world.append(boxcar(*(mutate(rng, one) for one in entries)))
            else:
                world.put("d1", *entries)
            if rng.random() < 0.2:
                await world.settled()
                await world.rebalance()
        await world.settled()
        await world.rebalance()
        world.put("d1", join("last"), op("last", 1, -1))
        await world.settled()
        assert world.faults == []
        by_number: dict[int, Json] = {}
        for message in world.messages("d1"):
            if message["type"] == "SequencedOperation":
                operation = timeless(message["operation"])
                known = by_number.setdefault(operation["sequenceNumber"], operation)
                assert known == operation, "a number with two contents"
    assert not faults


FAULTS = (TypeError("a fault"), RecursionError(), KeyError("x"), OverflowError())


def _break(made: Any, faulty: Mapping[int, Exception]) -> None:
    """At these offsets the logic raises what it never should; at the next attempt it does again."""
    feed = made._sequencer.feed

    def failing(event: Any, now: int) -> Any:
        done = made._sequencer.session.state.log_offset
        if isinstance(event, Record) and event.offset > done and event.offset in faulty:
            raise faulty[event.offset]
        return feed(event, now)

    made._sequencer.feed = failing


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_no_number_for_two_messages_after_a_bad_record_and_a_rebalance(
    seed: int, heuristics: bool, fails: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        asyncio.run(_play(seed, heuristics, fails))
