"""A document's pause is the partition's."""

import asyncio

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router import document_router
from sdk_python.testing import FakeSidecar
from tests.unit.waiting import until

from .world import Factory, Inner, World, boxcar, message, settle


class Plugin:
    """A `Factory` as a plugin."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.factory = Factory(self.out)

    async def create(self, _: object) -> Factory:
        return self.factory


async def test_no_handler_is_called_until_the_last_message_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    world, gate = World(), asyncio.Event()

    async def slow(_: Inner, __: Message) -> None:
        await gate.wait()

    world.factory.handle = slow
    for offset, document in enumerate("ABAB"):
        await world.feed(offset, document)
    world.take()
    world.context("A").pause("database away", 5.0)
    assert world.partition.pauses == [("database away", 5.0, 3)]
    gate.set()  # the handlers that run, run on
    await settle()
    world.context("B").checkpoint(1)  # and checkpoints go on
    assert world.partition.beyond[0] == 1
    world.put(3, "B")
    await settle()
    assert world.take() == ["PAUSE 3", "A.handler(2)", "B.handler(3)"]
    assert caplog.text == ""  # that it came twice is no news
    world.put(3, "B")
    await world.router.close(CloseReason.STOPPED)


async def test_with_an_offset_only_the_documents_own_messages_come_again() -> None:
    world = World()
    for offset, document in enumerate("ABAB"):
        await world.feed(offset, document)
    context = world.context("A")
    context.checkpoint(0)
    world.take()
    for wrong in (0, 3):
        with pytest.raises(ValueError, match="not between"):
            context.pause(offset=wrong)
    context.pause(offset=2)
    context.resume()
    world.put(3, "B")
    await world.feed(4, "A")
    assert world.take() == ["PAUSE 3", "RESUME", "A.handler(2)", "A.handler(4)"]
    await world.router.close(CloseReason.STOPPED)


async def test_messages_that_wait_below_the_offset_are_not_lost() -> None:
    world, gate = World(), asyncio.Event()
    world.factory.handle = lambda _, __: gate.wait()
    for offset in range(3):
        await world.feed(offset, "A")
    world.context("A").pause(offset=2)
    gate.set()
    await settle()
    await world.feed(2, "A")
    assert world.take()[-2:] == ["A.handler(1)", "A.handler(2)"]
    await world.router.close(CloseReason.STOPPED)


async def test_without_unfinished_messages_none_comes_again() -> None:
    world = World()
    await world.feed(0, "A")
    world.context("A").checkpoint(0)
    world.context("A").pause()
    assert world.partition.pauses == [("", None, None)]
    await world.feed(1, "A")
    assert world.take()[-1] == "A.handler(1)"
    await world.router.close(CloseReason.STOPPED)


async def test_a_restart_in_a_pause_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk_python.document_router._document.MIN_BACKOFF_S", 0.001)
    world = World()
    await world.feed(0, "A")
    world.take()
    world.context("A").pause()
    world.context("A").error("away", restart=True)
    await until(lambda: "create(t/A)" in world.out)
    await settle()
    assert world.take() == ["PAUSE 0", "ERR document t/A: away", "A.close(error)", "create(t/A)"]
    await world.feed(0, "A")
    assert world.take() == ["A.handler(0)"]
    await world.router.close(CloseReason.STOPPED)


async def test_a_circuit_breaker_through_the_whole_sdk() -> None:
    plugin, down = Plugin(), [True]

    def handle(inner: Inner, got: Message) -> None:
        if inner.name == "A" and down[0]:
            inner.context.pause("database away", retry_after=5, offset=got.offset)
        else:
            inner.context.checkpoint(got.offset)

    plugin.factory.handle = handle
    async with FakeSidecar(document_router(plugin)) as sidecar:
        await sidecar.feed(boxcar("B"), boxcar("A"), boxcar("B"))
        await settle()
        assert sidecar.paused == "database away"
        assert sidecar.checkpoint == 0
        handled = [line for line in plugin.out if "handler" in line]
        assert handled == ["B.handler(0)", "B.handler(2)", "A.handler(1)"]
        await sidecar.feed(boxcar("B"))
        down[0] = False
        await sidecar.resume()
        await sidecar.checkpointed(3)
        assert sidecar.completed_beyond == (0, 0)
        handled = [line for line in plugin.out if "handler" in line]
        assert handled.count("A.handler(1)") == 2
        assert [line for line in handled if line[0] == "B"] == ["B.handler(0)", "B.handler(2)", "B.handler(3)"]


async def test_a_pause_in_create_through_the_whole_sdk() -> None:
    plugin = Plugin()
    plugin.factory.creating = lambda inner: inner.context.pause("not yet")
    plugin.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    async with FakeSidecar(document_router(plugin)) as sidecar:
        await sidecar.feed(boxcar("A"))
        await settle()
        assert sidecar.paused == "not yet"
        assert plugin.out == ["create(t/A)"]
        await sidecar.resume()
        await sidecar.checkpointed(0)
        assert sidecar.errors == []


async def test_a_message_of_no_document_in_a_pause_is_done_when_it_comes() -> None:
    world = World()
    await world.feed(0, "A")
    world.context("A").pause()
    world.router.handler(message(0, boxcar("A")))
    world.router.handler(message(1, "{}"))
    assert world.partition.beyond == (1, 2)
    await world.router.close(CloseReason.STOPPED)
