"""One document at work: handling, failing, being made again."""

import asyncio
import logging
import time

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router import DocumentMessage, _router
from tests.unit.waiting import until

from .world import Inner, World, boxcar, message, settle

pytestmark = pytest.mark.usefixtures("short_backoff")


async def test_the_lambda_gets_bytes_the_boxcar_and_its_ids() -> None:
    world = World()
    await world.feed(3, "A")
    inner = world.factory.lambdas["A"]
    (got,) = inner.got
    assert isinstance(got, DocumentMessage)
    assert isinstance(got, Message)
    assert got == message(3, boxcar("A"))
    assert isinstance(got.value, bytes)
    assert got.boxcar is not None
    assert got.boxcar is got.boxcar  # parsed once
    assert got.boxcar["contents"] == []
    assert inner.config == {"color": "red", "tenantId": "t", "documentId": "A"}
    context = inner.context
    assert (context.tenant_id, context.document_id, context.topic, context.partition) == ("t", "A", "x", 0)
    assert (context.start_offset, context.attempt) == (3, 1)
    await world.router.close(CloseReason.STOPPED)


async def test_a_slow_async_handler_holds_up_its_own_document_only() -> None:
    world, gate = World(), asyncio.Event()

    async def slow(inner: Inner, got: Message) -> None:
        if inner.name == "A":
            await gate.wait()
        inner.context.checkpoint(got.offset)

    world.factory.handle = slow
    for offset, document in enumerate("AABAB"):
        await world.feed(offset, document)
    assert world.take() == ["create(t/A)", "A.handler(0)", "create(t/B)", "B.handler(2)", "B.handler(4)"]
    assert world.partition.beyond[0] == 2
    gate.set()
    await settle()
    assert world.take() == ["CP 0", "A.handler(1)", "CP 2", "A.handler(3)", "CP 4"]
    assert world.partition.beyond == (0, 0)
    await world.router.close(CloseReason.STOPPED)


async def test_messages_wait_for_a_slow_create() -> None:
    world, gate = World(), asyncio.Event()
    world.factory.creating = lambda _: gate.wait()
    for offset in range(3):
        await world.feed(offset, "A")
    assert world.take() == []
    gate.set()
    await settle()
    assert world.take() == ["create(t/A)", "A.handler(0)", "A.handler(1)", "A.handler(2)"]
    await world.router.close(CloseReason.STOPPED)


async def test_restart_makes_the_lambda_again_with_its_unfinished_messages() -> None:
    world = World()
    for offset, document in enumerate("ABAA"):
        await world.feed(offset, document)
    old = world.context("A")
    old.checkpoint(0)
    world.take()
    old.error(ConnectionError("away"), restart=True, offset=2)
    old.checkpoint(3)  # late: the next lambda has to do it
    await world.feed(4, "A")
    await until(lambda: world.context("A") is not old)
    await settle()
    assert world.take() == [
        "ERR away",
        *("A.close(error)", "create(t/A)"),
        *("A.handler(2)", "A.handler(3)", "A.handler(4)"),
    ]
    assert world.context("A").attempt == 1  # there was a checkpoint since
    assert world.context("A").start_offset == 2
    world.context("B").checkpoint(1)
    world.context("A").checkpoint(4)
    assert world.partition.done == 4
    await world.router.close(CloseReason.STOPPED)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_exception_after_an_error_makes_no_document_corrupt(asynchronous: bool) -> None:
    world, calls = World(), [0]

    def sync(inner: Inner, _: Message) -> None:
        calls[0] += 1
        if calls[0] == 1:
            inner.context.error("away", restart=True)
            raise RuntimeError("and so it cannot go on")

    async def later(inner: Inner, got: Message) -> None:
        await asyncio.sleep(0)
        sync(inner, got)

    world.factory.handle = later if asynchronous else sync
    await world.feed(0, "A")
    await until(lambda: world.out.count("A.handler(0)") == 2)
    assert [str(error) for error, _ in world.partition.reports] == ["document t/A: away"]
    assert world.partition.done == -1
    await world.router.close(CloseReason.STOPPED)


async def test_an_error_in_create_closes_what_it_makes() -> None:
    world, calls = World(), [0]

    def creating(inner: Inner) -> None:
        calls[0] += 1
        if calls[0] == 1:
            inner.context.error("away", restart=True)
        if calls[0] == 2:
            inner.context.error("away", restart=True)
            raise RuntimeError("and so it cannot go on")

    world.factory.creating = creating
    await world.feed(0, "A")
    await until(lambda: "A.handler(0)" in world.out)
    assert world.take() == ["ERR document t/A: away", "create(t/A)", "A.close(error)", "create(t/A)", "A.handler(0)"]
    await world.router.close(CloseReason.STOPPED)


async def test_sync_handlers_of_waiting_messages_let_others_run() -> None:
    world, gate = World(), asyncio.Event()
    world.factory.creating = lambda _: gate.wait()
    world.factory.handle = lambda _, __: time.sleep(0.002)
    for offset in range(30):
        world.put(offset, "A")
    await settle()
    gate.set()
    turns = 0
    while "A.handler(29)" not in world.out:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5
    await world.router.close(CloseReason.STOPPED)


async def test_busy_documents_share_a_turn_of_the_event_loop() -> None:
    """Else what all of them produce would wait for the turns of all of them."""
    world, gate = World(), asyncio.Event()
    documents = [f"d{number}" for number in range(20)]

    def handle(_: Inner, got: Message) -> object:
        if got.offset < len(documents):
            return gate.wait()
        time.sleep(0.001)
        return None

    world.factory.handle = handle
    for offset, document in enumerate(documents * 11):
        world.put(offset, document)
    await until(lambda: len(world.factory.lambdas) == len(documents))
    gate.set()
    most = 0
    while world.partition.done < 0 and sum(len(one.got) for one in world.factory.lambdas.values()) < 220:
        before = sum(len(one.got) for one in world.factory.lambdas.values())
        await asyncio.sleep(0)
        most = max(most, sum(len(one.got) for one in world.factory.lambdas.values()) - before)
    assert 0 < most <= 2 * len(documents)  # each would handle five for itself
    assert world.router.working <= len(documents)
    await settle()
    assert world.router.working == 0
    await world.router.close(CloseReason.STOPPED)


async def test_the_end_of_the_event_loop_ends_the_workers() -> None:
    world = World()
    world.factory.handle = lambda _, __: asyncio.Event().wait()
    await world.feed(0, "A")
    await world.feed(1, "A")
    (document,) = world.router._documents.values()
    worker = document.worker
    assert worker is not None
    worker.cancel()
    await settle()
    assert worker.cancelled()
    assert world.take() == ["create(t/A)", "A.handler(0)"]
    await world.router.close(CloseReason.STOPPED)


async def test_attempts_are_counted_and_an_error_of_many_documents_is_reported_once() -> None:
    world, failing = World(), [True]

    def creating(inner: Inner) -> None:
        attempts.append(inner.context.attempt)
        if failing[0]:
            raise ConnectionError("no database")

    attempts: list[int] = []
    world.factory.creating = creating
    for offset, document in enumerate("AB"):
        await world.feed(offset, document)
    await until(lambda: len(attempts) > 6)
    failing[0] = False
    await until(lambda: len(world.factory.lambdas) == 2)
    await settle()
    assert sorted(attempts)[:6] == [1, 1, 2, 2, 3, 3]
    assert [str(error) for error, _ in world.partition.reports] == ["no database"]  # the clock stood still
    assert world.partition.done == -1
    assert [got.offset for inner in world.factory.lambdas.values() for got in inner.got] in ([0, 1], [1, 0])
    world.clock.now += _router.REPORT_SPACING_S
    world.context("A").error("later", restart=True)
    assert len(world.partition.reports) == 2
    await world.router.close(CloseReason.STOPPED)


async def test_a_critical_error_without_an_offset_is_only_reported() -> None:
    world = World()
    for offset in range(3):
        await world.feed(offset, "A")
    world.take()
    context = world.context("A")
    context.report("odd", 1)
    context.error("oops", restart=False)
    assert world.take() == ["ERR document t/A: odd", "ERR document t/A: oops"]
    await world.feed(3, "A")
    assert world.take() == ["A.handler(3)"]
    await world.router.close(CloseReason.STOPPED)


async def test_a_checkpoint_that_is_lower_or_above_the_last_message_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    await world.feed(0, "A")
    await world.feed(1, "A")
    context = world.context("A")
    with caplog.at_level(logging.WARNING):
        context.checkpoint(2)
        assert "above its last message, 1: ignored" in caplog.text
    for offset in (0, 0, 1, 0, 1):
        context.checkpoint(offset)
    assert world.take()[-2:] == ["CP 0", "CP 1"]
    for wrong, kind in ((-1, ValueError), (True, TypeError), (1.0, TypeError)):
        with pytest.raises(kind):
            context.checkpoint(wrong)  # type: ignore[arg-type]
    await world.router.close(CloseReason.STOPPED)


async def test_messages_up_to_the_checkpoint_are_not_handled() -> None:
    world, gate = World(), asyncio.Event()
    world.factory.handle = lambda _, __: gate.wait()
    for offset in range(4):
        await world.feed(offset, "A")
    world.context("A").checkpoint(2)  # it has a store of its own
    gate.set()
    await settle()
    assert world.take() == ["create(t/A)", "A.handler(0)", "CP 2", "A.handler(3)"]
    await world.router.close(CloseReason.STOPPED)


async def test_an_offset_that_comes_twice_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.feed(5, "A")
    await world.feed(5, "A")
    await world.feed(4, "B")
    assert world.take() == ["create(t/A)", "A.handler(5)"]
    assert caplog.text.count("dropped") == 2
    await world.router.close(CloseReason.STOPPED)
