"""One document's life: handling, failing, being made again, idling, ending."""

import asyncio
import logging
import time
from typing import Any

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router import CorruptDocument, DocumentMessage, _document, _router
from sdk_python.document_router._options import Options

from .world import Inner, World, boxcar, message, settle


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_document, "FIRST_BACKOFF", 0.001)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  of many kinds
            await asyncio.sleep(0.001)


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


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_handler_that_raises_makes_its_document_corrupt(asynchronous: bool) -> None:
    world = World()

    def sync(inner: Inner, got: Message) -> None:
        if inner.name == "A" and got.offset == 2:
            raise ValueError("boom")

    async def later(inner: Inner, got: Message) -> None:
        await asyncio.sleep(0)
        sync(inner, got)

    world.factory.handle = later if asynchronous else sync
    for offset, document in enumerate("ABAABA"):
        await world.feed(offset, document)
    old = world.context("A")
    out = world.take()
    assert "A.close(error)" in out
    assert "A.handler(3)" not in out
    assert "B.handler(4)" in out
    assert world.partition.done == 0  # B's 1 is not done
    assert world.partition.beyond[0] == 3  # A's 2, 3 and 5 are, and 0 is within the checkpoint
    ((error, failed_at),) = world.partition.reports
    assert isinstance(error, ValueError)
    assert (str(error), failed_at) == ("boom", 2)
    assert error.__notes__ == ["document t/A"]
    old.checkpoint(5)
    old.error("late", restart=True)
    world.context("B").checkpoint(4)
    assert world.partition.done == 5
    assert len(world.partition.reports) == 1
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
    await _until(lambda: world.context("A") is not old)
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
async def test_what_a_lambda_raises_after_its_error_makes_nothing_corrupt(asynchronous: bool) -> None:
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
    await _until(lambda: world.out.count("A.handler(0)") == 2)
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
    await _until(lambda: "A.handler(0)" in world.out)
    assert world.take() == ["ERR document t/A: away", "create(t/A)", "A.close(error)", "create(t/A)", "A.handler(0)"]
    await world.router.close(CloseReason.STOPPED)


async def test_sync_handlers_of_what_waited_let_others_run() -> None:
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


async def test_attempts_count_and_what_many_documents_meet_is_reported_once() -> None:
    world, failing = World(), [True]

    def creating(inner: Inner) -> None:
        attempts.append(inner.context.attempt)
        if failing[0]:
            raise ConnectionError("no database")

    attempts: list[int] = []
    world.factory.creating = creating
    for offset, document in enumerate("AB"):
        await world.feed(offset, document)
    await _until(lambda: len(attempts) > 6)
    failing[0] = False
    await _until(lambda: len(world.factory.lambdas) == 2)
    await settle()
    assert sorted(attempts)[:6] == [1, 1, 2, 2, 3, 3]
    assert [str(error) for error, _ in world.partition.reports] == ["no database"]  # the clock stood still
    assert world.partition.done == -1
    assert [got.offset for inner in world.factory.lambdas.values() for got in inner.got] in ([0, 1], [1, 0])
    world.clock.now += _router.REPORT_SPACING
    world.context("A").error("later", restart=True)
    assert len(world.partition.reports) == 2
    await world.router.close(CloseReason.STOPPED)


@pytest.mark.parametrize("how", ["class", "attribute"])
async def test_only_an_exception_that_says_so_makes_a_document_corrupt_in_create(how: str) -> None:
    error: Exception = CorruptDocument("no such state") if how == "class" else OSError("no such state")
    if how == "attribute":
        error.corrupt = True  # type: ignore[attr-defined]
    world = World()

    def creating(_: Inner) -> None:
        raise error

    world.factory.creating = creating
    await world.feed(0, "A")
    await world.feed(1, "A")
    assert world.take() == ["ERR no such state", "CP 0", "CP 1"]
    await world.router.close(CloseReason.STOPPED)


async def test_error_without_restart() -> None:
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
    context.error("poison", restart=False, offset=3)
    await settle()
    assert world.take() == ["ERR document t/A: poison", "CP 3", "A.close(error)"]
    await world.feed(4, "A")
    assert world.take() == ["CP 4"]
    await world.router.close(CloseReason.STOPPED)


async def test_checkpoints_that_say_nothing_new(caplog: pytest.LogCaptureFixture) -> None:
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


async def test_what_a_lambda_knows_already_is_not_handed_to_it() -> None:
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


# --------------------------------------------------------------------------------------------------- idleness


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


async def test_what_an_idle_lambda_says_while_it_closes_is_not_about_the_next_one() -> None:
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
    await _until(lambda: world.out.count("A.handler(0)") == 2)
    await world.router.close(CloseReason.STOPPED)


async def test_the_router_looks_by_itself() -> None:
    world = World(activity_timeout=0.01)
    world.router._clock = asyncio.get_running_loop().time
    world.router._timer.cancel()
    world.router._options = Options(0.01, 0.01)
    world.router._check_again()
    world.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    await world.feed(0, "A")
    await _until(lambda: world.out[-1] == "A.close(idle)")
    await world.router.close(CloseReason.STOPPED)


# -------------------------------------------------------------------------------------------------------- end


async def test_close_waits_for_running_handlers_and_closes_all_at_the_same_time() -> None:
    world, gate = World(drain_timeout=5.0), asyncio.Event()

    async def slow(inner: Inner, got: Message) -> None:
        await gate.wait()
        inner.context.checkpoint(got.offset)

    async def closing(inner: Inner, _: CloseReason) -> None:
        await asyncio.sleep(0.05)
        inner.context.checkpoint(inner.got[-1].offset)

    world.factory.handle, world.factory.closing = slow, closing
    for offset in range(20):
        await world.feed(offset, f"D{offset % 10}")
    world.take()
    began = asyncio.get_running_loop().time()
    task = asyncio.create_task(world.router.close(CloseReason.REBALANCED))
    await settle()
    assert world.take() == []  # the handlers run
    gate.set()
    await task
    assert asyncio.get_running_loop().time() - began < 0.4
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
    world = World(drain_timeout=60.0)

    async def endless(_: Inner, __: Message) -> None:
        await asyncio.Event().wait()

    world.factory.handle = endless
    world.factory.closing = lambda inner, _: inner.context.checkpoint(0)
    await world.feed(0, "A")
    async with asyncio.timeout(2):
        await world.router.close(CloseReason.ERROR)
    assert world.take()[-1] == "A.close(error)"
    assert world.partition.done == -1


async def test_closed_before_it_was_created() -> None:
    world, gate = World(drain_timeout=5.0), asyncio.Event()
    world.factory.creating = lambda _: gate.wait()
    await world.feed(0, "A")
    task = asyncio.create_task(world.router.close(CloseReason.STOPPED))
    await settle()
    gate.set()
    await task
    assert world.take() == ["create(t/A)", "A.close(stopped)"]  # not left open, and no message handled


async def test_a_create_that_hangs_or_backs_off_ends_with_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_document, "FIRST_BACKOFF", 60.0)
    world = World(drain_timeout=0.01)

    def creating(inner: Inner) -> Any:
        if inner.name == "A":
            return asyncio.Event().wait()
        raise OSError("away")

    world.factory.creating = creating
    await world.feed(0, "A")
    await world.feed(1, "B")
    async with asyncio.timeout(2):
        await world.router.close(CloseReason.STOPPED)
    assert world.take() == ["ERR away"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_failure_while_closing_leaves_nothing_out() -> None:
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
