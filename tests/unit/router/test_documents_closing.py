"""The end of a partition for its documents: what is waited for, what is left out, what must not get lost."""

import asyncio
from typing import Any

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router import _document

from .world import Inner, World, settle

pytestmark = pytest.mark.usefixtures("short_backoff")


async def test_close_waits_for_running_handlers_and_closes_all_at_the_same_time() -> None:
    world, gate, together = World(drain_timeout=5.0), asyncio.Event(), asyncio.Barrier(10)

    async def slow(inner: Inner, got: Message) -> None:
        await gate.wait()
        inner.context.checkpoint(got.offset)

    async def closing(inner: Inner, _: CloseReason) -> None:
        await together.wait()  # none of them goes on before all are here
        all_met.append(inner.name)
        inner.context.checkpoint(inner.got[-1].offset)

    all_met: list[str] = []
    world.factory.handle, world.factory.closing = slow, closing
    for offset in range(20):
        await world.feed(offset, f"D{offset % 10}")
    world.take()
    task = asyncio.create_task(world.router.close(CloseReason.REBALANCED))
    await settle()
    assert world.take() == []  # the handlers run
    gate.set()
    await task
    assert len(all_met) == 10
    out = world.take()
    assert sum(line.endswith(".close(rebalanced)") for line in out) == 10
    assert not any(".handler(" in line for line in out)  # what waited is its next owner's
    assert world.partition.done == 9
    context = world.context("D5")
    context.checkpoint(15)
    assert world.take() == []


async def test_a_handler_that_outlives_its_time_is_cancelled_and_the_lambda_closed() -> None:
    world = World(drain_timeout=0.01)

    async def endless(_: Inner, __: Message) -> None:
        await asyncio.Event().wait()

    async def closing(_: Inner, __: CloseReason) -> None:
        task = asyncio.current_task()
        assert task is not None
        cancelling.append(task.cancelling())

    cancelling: list[int] = []
    world.factory.handle, world.factory.closing = endless, closing
    await world.feed(0, "A")
    await world.router.close(CloseReason.STOPPED)
    assert cancelling == [0]  # the cancellation was the handler's
    assert world.take() == ["create(t/A)", "A.handler(0)", "A.close(stopped)"]
    assert world.partition.reports == []  # cancelled is not corrupt
    assert world.partition.done == -1


async def test_a_lost_lease_waits_for_nobody() -> None:
    world = World(drain_timeout=600.0)

    async def endless(_: Inner, __: Message) -> None:
        await asyncio.Event().wait()

    world.factory.handle = endless
    world.factory.closing = lambda inner, _: inner.context.checkpoint(0)
    await world.feed(0, "A")
    async with asyncio.timeout(60):
        await world.router.close(CloseReason.ERROR)
    assert world.take()[-1] == "A.close(error)"
    assert world.partition.done == -1


async def test_a_document_may_close_before_its_lambda_is_made() -> None:
    world, gate = World(drain_timeout=5.0), asyncio.Event()
    world.factory.creating = lambda _: gate.wait()
    await world.feed(0, "A")
    task = asyncio.create_task(world.router.close(CloseReason.STOPPED))
    await settle()
    gate.set()
    await task
    assert world.take() == ["create(t/A)", "A.close(stopped)"]  # not left open, and no message handled


async def test_a_create_that_hangs_or_backs_off_ends_with_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_document, "MIN_BACKOFF_S", 60.0)
    world = World(drain_timeout=0.01)

    def creating(inner: Inner) -> Any:
        if inner.name == "A":
            return asyncio.Event().wait()
        raise OSError("away")

    world.factory.creating = creating
    await world.feed(0, "A")
    await world.feed(1, "B")
    async with asyncio.timeout(60):
        await world.router.close(CloseReason.STOPPED)
    assert world.take() == ["ERR away"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_failure_while_closing_skips_no_message() -> None:
    world, gate = World(drain_timeout=5.0), asyncio.Event()

    async def failing(_: Inner, __: Message) -> None:
        await gate.wait()
        raise ValueError("boom")

    world.factory.handle = failing
    await world.feed(0, "A")
    task = asyncio.create_task(world.router.close(CloseReason.REBALANCED))
    await settle()
    gate.set()
    await task
    assert world.partition.done == -1
    assert world.take()[-1] == "A.close(rebalanced)"


async def test_a_close_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()

    def sync(_: Inner, __: CloseReason) -> None:
        raise ValueError("cannot close")

    async def later(_: Inner, __: CloseReason) -> None:
        raise ValueError("cannot close later")

    world.factory.closing = sync
    await world.feed(0, "A")
    await world.router.close(CloseReason.STOPPED)
    world = World()
    world.factory.closing = later
    await world.feed(0, "A")
    await world.router.close(CloseReason.STOPPED)
    assert "cannot close" in caplog.text
    assert "cannot close later" in caplog.text


async def test_a_fault_of_the_router_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    told: list[bool] = []
    monkeypatch.setattr(world.partition, "error", lambda _, restart: told.append(restart))

    def broken(_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(world.router, "stall", broken)
    world.put(0, "A")
    world.router.held = True
    await settle()
    assert told == [True]
    await world.router.close(CloseReason.ERROR)
