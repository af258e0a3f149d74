"""A document at rest: when it is idle, how it is closed for that, and made again."""

import asyncio

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router._options import Options
from tests.unit.waiting import until

from .world import Inner, World, settle

pytestmark = pytest.mark.usefixtures("short_backoff")


async def test_idle_documents_are_closed_and_opened_again() -> None:
    world = World()
    await world.feed(0, "A")
    await world.feed(1, "B")
    world.context("A").checkpoint(0)
    world.take()
    await world.tick(600)
    assert world.take() == []  # not yet: strictly after its deadline
    await world.tick(60)
    assert world.take() == ["A.close(idle)"]  # B has work
    world.context("A").checkpoint(0)
    await world.feed(2, "A")
    assert world.take() == ["create(t/A)", "A.handler(2)"]
    world.context("B").checkpoint(1)
    await world.tick(60)
    assert world.take() == ["CP 1", "B.close(idle)"]
    assert len(world.router._documents) == 1
    await world.router.close(CloseReason.STOPPED)


async def test_a_message_and_the_lambda_itself_move_the_deadline() -> None:
    world = World()
    world.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    for offset, document in enumerate("ABC"):
        await world.feed(offset, document)
    world.context("B").update_activity_time(120)
    world.context("C").update_activity_time(1200)
    with pytest.raises(ValueError, match="positive"):
        world.context("C").update_activity_time(-1)
    world.take()
    await world.tick(180)
    assert world.take() == ["B.close(idle)"]
    await world.tick(360)
    await world.feed(3, "A")
    world.take()
    await world.tick(600)
    assert world.take() == []
    world.context("A").update_activity_time()
    await world.tick(60)
    assert world.take() == []
    await world.tick(60)
    assert world.take() == ["C.close(idle)"]
    await world.tick(600)
    assert world.take() == ["A.close(idle)"]
    assert world.router._idle_at == []
    await world.router.close(CloseReason.STOPPED)


async def test_the_next_lambda_waits_for_an_idle_one_to_close() -> None:
    world, gate = World(), asyncio.Event()
    world.factory.closing = lambda _, __: gate.wait()
    world.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    await world.feed(0, "A")
    await world.tick(660)
    await world.feed(1, "A")
    assert world.take() == ["create(t/A)", "A.handler(0)", "CP 0", "A.close(idle)"]
    gate.set()
    await settle()
    assert world.take() == ["create(t/A)", "A.handler(1)", "CP 1"]
    assert world.router._closing == {}
    await world.router.close(CloseReason.STOPPED)


async def test_an_idle_lambda_that_closes_does_not_affect_the_next_one() -> None:
    world = World()
    world.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)

    def closing(inner: Inner, _: CloseReason) -> None:
        inner.context.update_activity_time(1)
        inner.context.error("in close", restart=True)

    world.factory.closing = closing
    await world.feed(0, "A")
    await world.tick(660)
    await world.feed(1, "A")
    world.take()
    await world.tick(120)
    await world.feed(2, "A")
    assert world.take() == ["A.handler(2)", "CP 2"]
    await world.router.close(CloseReason.STOPPED)


async def test_a_document_whose_handler_runs_is_not_idle() -> None:
    world, gate = World(), asyncio.Event()

    async def handle(inner: Inner, got: Message) -> None:
        inner.context.checkpoint(got.offset)
        await gate.wait()

    world.factory.handle = handle
    await world.feed(0, "A")
    world.take()
    await world.tick(1200)
    assert world.take() == []
    gate.set()
    await settle()
    assert world.take() == []
    await world.tick(60)
    assert world.take() == ["A.close(idle)"]
    await world.router.close(CloseReason.STOPPED)


async def test_a_close_that_was_cancelled_inside_does_not_stop_the_restart() -> None:
    world = World()

    async def closing(_: Inner, __: CloseReason) -> None:
        raise asyncio.CancelledError

    world.factory.closing = closing
    await world.feed(0, "A")
    world.context("A").error("away", restart=True)
    await until(lambda: world.out.count("A.handler(0)") == 2)
    await world.router.close(CloseReason.STOPPED)


async def test_a_timer_closes_idle_documents() -> None:
    world = World(activity_timeout=0.01)
    world.router._clock = asyncio.get_running_loop().time
    world.router._timer.cancel()
    world.router._options = Options(0.01, 0.01)
    world.router._check_again()
    world.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    await world.feed(0, "A")
    await until(lambda: world.out[-1] == "A.close(idle)")
    await world.router.close(CloseReason.STOPPED)
