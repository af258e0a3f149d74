"""The lambda, with a store that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from examples.scriptorium import scriptorium
from examples.scriptorium.operations import Operation, operations_of
from examples.scriptorium.scriptorium import ScriptoriumLambda
from examples.scriptorium.settings import Settings
from examples.scriptorium.store import Away, Different, Refused
from sdk_python import IContext
from sdk_python.testing import FakeSidecar
from tests.unit.scriptorium.shared import boxcar, boxcars, nack, sequenced
from tests.unit.waiting import until

BAD = b"no JSON"


class Double:
    """A store that is plugin and factory too, so that a `FakeSidecar` takes it. Inserts wait while it is ``slow``."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings.of({"retry_waits": (0.0,), "health_interval": 0.01, **settings})
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        self.up = True
        self.inserts: list[list[int]] = []
        """The numbers of each insert that succeeded."""
        self.tried = 0
        self.made = 0

    async def create(self, _config: Mapping[str, Any], context: IContext | None = None) -> Any:
        if context is None:
            return self
        self.made += 1
        self.latest = ScriptoriumLambda(self, self.settings, context)
        return self.latest

    async def dispose(self) -> None: ...

    async def insert(self, operations: Sequence[Operation], _different: Different) -> None:
        self.tried += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        self.inserts.append([operation.number for operation in operations])

    async def ping(self) -> None:
        if not self.up:
            raise Away("no ping")

    @property
    def numbers(self) -> list[int]:
        return [number for insert in self.inserts for number in insert]


async def test_what_comes_during_an_insert_is_the_next_batch() -> None:
    store = Double()
    async with FakeSidecar(store) as sidecar:
        store.open.clear()
        await sidecar.feed(*boxcars(range(10)))
        assert sidecar.checkpoint is None
        store.open.set()
        await sidecar.checkpointed(9)
        assert len(sidecar.checkpoints) == len(store.inserts) <= 2, "one checkpoint for each batch"
    assert store.numbers == [*range(10)]


async def test_one_checkpoint_when_all_inserts_of_a_batch_are_done() -> None:
    store = Double()
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(boxcar(*(sequenced(number, f"doc-{number}") for number in range(5))))
        await sidecar.checkpointed(0)
    assert sorted(store.inserts) == [[0], [1], [2], [3], [4]]
    assert sidecar.checkpoints == [0]


async def test_records_without_operations_leave_no_lag() -> None:
    """SC-11: alone, behind operations that are under way, and behind those that wait."""
    store = Double()
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(boxcar(nack()))
        assert sidecar.checkpoint == 0
        store.open.clear()
        await sidecar.feed(*boxcars([1]), boxcar(nack()), *boxcars([2]), boxcar(nack()))
        assert sidecar.checkpoint == 0, "not before what comes before them"
        store.open.set()
        await sidecar.checkpointed(4)
    assert store.numbers == [1, 2]


async def test_no_message_is_handled_while_too_many_wait() -> None:
    store = Double(max_pending=3)
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars([0]))
        await sidecar.checkpointed(0)
        store.open.clear()
        fed = asyncio.create_task(sidecar.feed(*boxcars(range(1, 101))))
        await until(lambda: store.tried == 2, "the second insert")
        done, _ = await asyncio.wait({fed}, timeout=0.05)
        assert not done, "its handler awaits room"
        store.open.set()
        await fed
        await sidecar.checkpointed(100)
    assert store.numbers == [*range(101)]
    assert max(map(len, store.inserts[1:])) <= 4, "what waited, and the message whose handler is awaited"


async def test_outage_is_a_pause_and_nothing_is_lost() -> None:
    """SC-9 and SC-13: no restart, no stuck lambda; the pause ends when the database answers."""
    store = Double()
    store.failure, store.up = Away("down"), False
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars(range(5)))
        await until(lambda: sidecar.paused, "a pause")
        assert sidecar.paused == "operations cannot be stored: down"
        assert store.tried >= 2, "it was tried again before"
        store.failure, store.up = None, True
        await sidecar.checkpointed(4)
        assert sidecar.errors == []
    assert store.numbers == [*range(5)]
    assert store.made == 1


async def test_server_that_answers_pings_and_stores_nothing() -> None:
    """It is tried again and again, with a pause in between, and nothing else happens."""
    store = Double()
    store.failure = Away("disk full")
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars(range(3)))
        await until(lambda: store.tried >= 8, "several trials")
        assert sidecar.checkpoint is None
        store.failure = None
        await sidecar.checkpointed(2)
        assert sidecar.errors == []
    assert store.numbers == [*range(3)]


async def test_operator_ends_the_pause_before_the_database_answers() -> None:
    store = Double(health_interval=3600)
    store.failure = Away("down")
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars([0]))
        await until(lambda: sidecar.paused, "a pause")
        store.failure = None
        await sidecar.resume()
        await sidecar.checkpointed(0)


async def test_malformed_record_fails_when_all_before_it_is_stored() -> None:
    store = Double()
    async with FakeSidecar(store) as sidecar:
        store.open.clear()
        fed = asyncio.create_task(sidecar.feed(*boxcars([0, 1]), BAD, *boxcars([3])))
        await until(lambda: store.tried, "an insert")
        assert sidecar.errors == []
        store.open.set()
        await fed
        await sidecar.ended()
        (error,) = sidecar.errors
    assert (error.action, error.offset) == ("critical", 2)
    assert sidecar.checkpoint == 1
    assert store.numbers == [0, 1]


async def test_malformed_record_in_an_outage_comes_again() -> None:
    """What is before it is not stored: the pause comes first."""
    store = Double()
    store.failure, store.up = Away("down"), False
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars([0]), BAD)
        await until(lambda: sidecar.paused, "a pause")
        assert sidecar.errors == []
        store.failure, store.up = None, True
        await sidecar.ended()
        (error,) = sidecar.errors
    assert (error.action, error.offset) == ("critical", 1)
    assert store.numbers == [0]


async def test_refused_operation_is_critical() -> None:
    store = Double()
    store.failure = Refused(Operation(("tenant", "doc"), 5, 0, b""), "a bad key")
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars([5]))
        await sidecar.ended()
        (error,) = sidecar.errors
    assert (error.action, error.offset) == ("critical", 0)
    assert store.tried == 1, "it is not tried again"


async def test_unforeseen_error_restarts() -> None:
    store = Double()
    store.failure = RuntimeError("a fault")
    async with FakeSidecar(store) as sidecar:
        await sidecar.feed(*boxcars([0]))
        await sidecar.ended()
        (error,) = sidecar.errors
        assert (error.action, error.type) == ("restart", "RuntimeError")
        store.failure = None
        await sidecar.restart()
        await sidecar.checkpointed(0)


@pytest.mark.parametrize("down", [False, True])
async def test_close(down: bool) -> None:
    """The insert under way may end, and its checkpoint counts; one that only waits for a retry is given up."""
    store = Double(retry_waits=(3600,))
    async with FakeSidecar(store) as sidecar:
        store.open.clear()
        await sidecar.feed(*boxcars([0]))
        await until(lambda: store.tried, "an insert")
        await sidecar.feed(*boxcars([1]))
        if down:
            store.failure = Away("down")
            store.open.set()
            await until(lambda: store.latest._failing, "it to wait for a retry")
        revoked = asyncio.create_task(sidecar.revoke())
        if not down:
            await until(lambda: store.latest._over, "close to be called")
            store.open.set()
        await revoked
        assert sidecar.checkpoint == (None if down else 0)
        assert store.numbers == ([] if down else [0])


async def test_a_fault_of_ours_is_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before it is stored first, as with any record that cannot be."""

    def reading(value: bytes | None, offset: int) -> list[Operation]:
        if value == BAD:
            raise OverflowError("a fault")
        return operations_of(value, offset)

    monkeypatch.setattr(scriptorium, "operations_of", reading)
    store = Double()
    async with FakeSidecar(store) as sidecar:
        store.open.clear()
        fed = asyncio.create_task(sidecar.feed(boxcar(sequenced(1)), BAD))
        await until(lambda: store.tried, "an insert")
        assert sidecar.errors == []
        store.open.set()
        await fed
        await sidecar.ended()
        (error,) = sidecar.errors
    assert (error.action, error.offset, sidecar.checkpoint) == ("critical", 1, 0)
    assert "OverflowError: a fault" in error.message
