"""When the states of a partition are read, and what becomes of a reading that fails."""

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from examples.deli import store as module
from examples.deli.settings import Topics
from examples.deli.store import States, StoppedError, Store
from sdk_python import IContext

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}


@dataclass
class Lease:
    """A partition's context, as far as the store looks at it."""

    lease: str
    topic: str = "rawdeltas"
    partition: int = 0
    lane: int = 0


class Readings(Store):
    """Reads nothing; a test says how each reading ends."""

    def __init__(self) -> None:
        super().__init__(Topics(), NOWHERE)
        self.count = 0
        self.failing = False
        self.gate = threading.Event()
        self.gate.set()

    async def of(self, lease: str) -> States:
        """The states for a document of this lease."""
        return await self.states(cast("IContext", Lease(lease)))

    def _read_all(self, *_: object) -> States:
        self.count += 1
        assert self.gate.wait(5.0)
        if self.failing:
            raise KafkaException("away")
        return {}


async def test_read_once_for_each_lease() -> None:
    readings = Readings()
    first = await asyncio.gather(*(readings.of("a") for _ in range(100)))
    assert readings.count == 1
    assert all(states is first[0] for states in first)
    assert await readings.of("b") is not first[0]
    assert readings.count == 2


async def test_a_late_document_of_an_old_lease_takes_nothing_from_the_new_one() -> None:
    """Two sets of states in one lease, of which only one is kept up to date, would give numbers twice."""
    readings = Readings()
    await readings.of("a")
    new = await readings.of("b")
    with pytest.raises(StoppedError):
        await readings.of("a")
    assert await readings.of("b") is new


async def test_the_lanes_of_a_partition_have_leases_of_their_own() -> None:
    readings = Readings()
    one = await readings.states(cast("IContext", Lease("l0", lane=0)))
    other = await readings.states(cast("IContext", Lease("l1", lane=1)))
    assert one is not other
    assert await readings.states(cast("IContext", Lease("l0", lane=0))) is one


async def test_a_lease_that_begins_while_another_ones_states_are_read() -> None:
    readings = Readings()
    readings.gate.clear()
    both = asyncio.gather(readings.of("a"), readings.of("b"))
    await asyncio.sleep(0.01)
    readings.gate.set()
    old, new = await both
    assert old is not new
    assert await readings.of("b") is new


async def test_a_document_that_is_closed_meanwhile_cancels_no_reading() -> None:
    readings = Readings()
    readings.gate.clear()
    one, other = (asyncio.create_task(readings.of("a")) for _ in range(2))
    await asyncio.sleep(0.01)
    one.cancel()
    await asyncio.sleep(0)
    readings.gate.set()
    assert await other == {}
    assert readings.count == 1


async def test_one_that_failed_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by each of the documents that wait for it."""
    monkeypatch.setattr(module, "_REST", 0.5)
    readings = Readings()
    readings.failing = True
    for _ in range(50):
        with pytest.raises(KafkaException):
            await readings.of("a")
    assert readings.count == 1
    readings.failing = False
    async with asyncio.timeout(60):
        while readings.count == 1:
            await asyncio.sleep(0.01)
            with suppress(KafkaException):
                await readings.of("a")
    assert await readings.of("a") == {}
    assert readings.count == 2


async def test_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    with pytest.raises(KafkaException):
        await Store(Topics(), NOWHERE).states(cast("IContext", Lease("a")))


async def test_the_end_of_the_process_does_not_wait_for_a_broker_that_is_away() -> None:
    store = Store(Topics(), NOWHERE)
    reading = asyncio.create_task(store.states(cast("IContext", Lease("a"))))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    store.stop()
    with pytest.raises(StoppedError):
        await reading
    assert time.monotonic() - began < module._TIMEOUT / 2


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])
def test_a_partition_that_was_just_made_is_asked_again(code: int) -> None:
    refusals = [KafkaException(KafkaError(code))]

    def ask(_: float) -> int:
        if refusals:
            raise refusals.pop()
        return 7

    assert Store(Topics(), NOWHERE)._patiently(ask) == 7
