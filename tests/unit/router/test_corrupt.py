"""A record that a document's lambda cannot process: the partition fails there, or only the document is skipped."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router import CorruptDocument
from tests.unit.waiting import until

from .world import Inner, World, settle

SKIP: Any = {"corrupt_documents": "skip"}


class Stop(BaseException):
    """As libraries for time-outs have it."""


def failing(at: int, *, asynchronous: bool = False, error: BaseException | None = None) -> Any:
    """A handler that raises at one offset."""

    def sync(_: Inner, got: Message) -> None:
        if got.offset == at:
            raise error or ValueError("boom")

    async def later(inner: Inner, got: Message) -> None:
        await asyncio.sleep(0)
        sync(inner, got)

    return later if asynchronous else sync


# --- fail -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, GeneratorExit, Stop])
async def test_a_critical_failure_of_a_document_fails_the_partition_at_its_record(
    asynchronous: bool, kind: type[BaseException]
) -> None:
    world, error = World(), kind("boom")
    world.factory.handle = failing(2, asynchronous=asynchronous, error=error)
    for offset, document in enumerate("ABA"):
        await world.feed(offset, document)
    b = world.context("B")
    assert world.partition.errors == [(error, False, 2)]
    assert error.__notes__ == ["document t/A"]
    assert world.partition.reports == []
    world.take()
    await world.feed(3, "B")
    b.checkpoint(1)
    world.context("A").checkpoint(2)
    assert world.take() == [], "nothing is begun after it, and nothing done"
    await world.router.close(CloseReason.ERROR)
    assert sorted(world.take()) == ["A.close(error)", "B.close(error)"]
    assert (world.partition.done, world.partition.skips) == (-1, (0, (), 0))


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_a_generator_as_handler_makes_its_document_corrupt(kind: str) -> None:
    def generator(*_: object) -> Iterator[None]:
        yield None

    async def later(*_: object) -> AsyncIterator[None]:
        yield None

    world = World()
    world.factory.handle = generator if kind == "generator" else later
    await world.feed(0, "A")
    ((error, restart, offset),) = world.partition.errors
    assert "nothing of it has run" in str(error)
    assert (restart, offset) == (False, 0)
    await world.router.close(CloseReason.ERROR)


async def test_only_the_first_of_several_failures_is_reported() -> None:
    """The others fail again in the next lease: their records are not done."""
    world, gate = World(), asyncio.Event()

    async def handle(inner: Inner, got: Message) -> None:
        await gate.wait()
        raise ValueError(f"{inner.name} at {got.offset}")

    world.factory.handle = handle
    for offset, document in enumerate("ABC"):
        await world.feed(offset, document)
    gate.set()
    await settle()
    assert [(str(error), offset) for error, _, offset in world.partition.errors] == [("A at 0", 0)]
    await world.router.close(CloseReason.ERROR)
    assert world.partition.done == -1


async def test_after_a_critical_failure_no_other_document_begins_anything(short_backoff: None) -> None:
    world, gate = World(), asyncio.Event()

    async def handle(inner: Inner, got: Message) -> None:
        await gate.wait()
        if inner.name == "A":
            raise ValueError("boom")

    world.factory.handle = handle
    for offset, document in enumerate("ABBC"):
        await world.feed(offset, document)
    world.context("C").error("away", restart=True)
    gate.set()
    await settle()
    world.take()
    await until(lambda: not any(document.worker for document in world.router._documents.values()))
    assert world.take() == []
    assert len(world.partition.errors) == 1
    await world.router.close(CloseReason.ERROR)
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_may_name_a_record_that_was_handled_earlier() -> None:
    """The lambda had handled it, and said later that it cannot be processed."""
    world = World()
    for offset, document in enumerate("ABAA"):
        await world.feed(offset, document)
    world.context("B").checkpoint(1)
    world.context("A").checkpoint(0)
    world.context("A").error("poison", restart=False, offset=2)
    assert world.partition.errors == [("document t/A: poison", False, 2)]
    assert world.partition.done == 1
    await world.router.close(CloseReason.ERROR)


@pytest.mark.parametrize("offset", [0, 1, 4, 99], ids=["done", "another's", "not there", "not there yet"])
async def test_an_error_with_an_offset_of_another_document_names_no_record(
    offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    for number, document in enumerate("ABA"):
        await world.feed(number, document)
    world.context("A").checkpoint(0)
    world.context("A").error("poison", restart=False, offset=offset)
    assert world.partition.errors == [("document t/A: poison", False, None)]
    assert f"error(offset={offset}) names none of its unfinished messages" in caplog.text
    await world.router.close(CloseReason.ERROR)


async def test_a_critical_failure_in_a_pause_fails_the_partition() -> None:
    world, gate = World(), asyncio.Event()

    async def handle(_: Inner, __: Message) -> None:
        await gate.wait()
        raise ValueError("boom")

    world.factory.handle = handle
    await world.feed(0, "A")
    await world.feed(1, "B")
    world.context("B").pause("away", 1.0, 1)
    gate.set()
    await settle()
    assert [offset for _, _, offset in world.partition.errors] == [0]
    world.take()
    await world.feed(2, "C")  # what was on its way
    assert world.take() == []
    await world.router.close(CloseReason.ERROR)


@pytest.mark.parametrize("options", [{}, SKIP])
async def test_a_failure_while_closing_is_left_to_the_next_owner(options: dict[str, Any]) -> None:
    world, gate = World(drain_timeout=5.0, **options), asyncio.Event()

    async def handle(_: Inner, __: Message) -> None:
        await gate.wait()
        raise ValueError("boom")

    world.factory.handle = handle
    world.factory.closing = lambda inner, _: inner.context.checkpoint(0)
    await world.feed(0, "A")
    task = asyncio.create_task(world.router.close(CloseReason.REBALANCED))
    await settle()
    gate.set()
    await task
    assert (world.partition.done, world.partition.errors, world.partition.skips) == (-1, [], (0, (), 0))
    assert world.take()[-1] == "A.close(rebalanced)"


@pytest.mark.parametrize("how", ["class", "attribute"])
async def test_create_may_say_that_its_document_is_corrupt(how: str) -> None:
    world = World()
    world.factory.creating = _creating(how)
    await world.feed(0, "A")
    await world.feed(1, "A")
    assert [(str(error), offset) for error, _, offset in world.partition.errors] == [("no such state", 0)]
    await world.router.close(CloseReason.ERROR)


async def test_a_document_that_is_corrupt_in_create_with_all_done_names_no_record() -> None:
    world = World()

    def creating(inner: Inner) -> None:
        inner.context.checkpoint(0)
        raise CorruptDocument("no such state")

    world.factory.creating = creating
    await world.feed(0, "A")
    assert (world.partition.done, [offset for _, _, offset in world.partition.errors]) == (0, [None])
    await world.router.close(CloseReason.ERROR)


def _creating(how: str) -> Any:
    error: Exception = CorruptDocument("no such state") if how == "class" else OSError("no such state")
    if how == "attribute":
        error.corrupt = True  # type: ignore[attr-defined]

    def creating(_: Inner) -> None:
        raise error

    return creating


@pytest.mark.parametrize("where", ["handler", "queue", "awaited", "create", "close"])
async def test_an_exit_makes_no_document_corrupt(where: str) -> None:
    world, gate = World(), asyncio.Event()
    error = SystemExit(3) if where != "queue" else BaseExceptionGroup("several", [OSError("away"), SystemExit(3)])

    def leave(*_: object) -> None:
        raise error

    async def later(*_: object) -> None:
        await gate.wait()
        raise error

    if where == "create":
        world.factory.creating = leave
    elif where == "close":
        world.factory.closing = later
    await world.feed(0, "A")
    match where:
        case "handler":
            world.factory.handle = leave
            with pytest.raises(SystemExit):  # the dispatcher calls it, and knows what to do
                world.put(1, "A")
        case "queue" | "awaited":
            world.factory.handle = lambda inner, _: later() if inner.name == "A" or where == "awaited" else leave()
            await world.feed(1, "A" if where == "awaited" else "B")
        case "close":
            await world.tick(700)
            world.context("A").checkpoint(0)
            await world.tick(700)
    gate.set()
    await settle()
    expected = {"handler": [], "queue": [(error, True, 1)], "awaited": [(error, True, 1)]}
    assert world.partition.errors == expected.get(where, [(error, True, None)])
    assert not any(document.corrupt for document in world.router._documents.values())
    await world.router.close(CloseReason.STOPPED)
    assert len(asyncio.all_tasks()) == 1


# --- skip -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_with_skip_only_the_corrupt_document_stops(asynchronous: bool) -> None:
    world = World(**SKIP)
    world.factory.handle = failing(2, asynchronous=asynchronous)
    for offset, document in enumerate("ABAABA"):
        await world.feed(offset, document)
    old = world.context("A")
    out = world.take()
    assert "A.close(error)" in out
    assert "A.handler(3)" not in out
    assert "B.handler(4)" in out
    assert world.partition.done == 0  # B's 1 is not done
    assert world.partition.beyond[0] == 3  # A's 2, 3 and 5 are, and 0 is within the checkpoint
    assert world.partition.skips == (1, ("t/A",), 1), "those after the checkpoint come again after a restart"
    ((error, failed_at),) = world.partition.reports
    assert isinstance(error, ValueError)
    assert (str(error), failed_at) == ("boom", 2)
    assert error.__notes__ == ["document t/A"]
    old.checkpoint(5)
    old.error("late", restart=True)
    world.context("B").checkpoint(4)
    assert world.partition.done == 5
    assert world.partition.skips == (4, ("t/A",), 1)
    assert len(world.partition.reports) == 1
    await world.router.close(CloseReason.STOPPED)


async def test_finished_records_of_a_corrupt_document_do_not_count_as_skipped() -> None:
    world = World(**SKIP)
    for offset in range(4):
        await world.feed(offset, "A")
    context = world.context("A")
    context.checkpoint(1)
    world.take()
    context.error("poison", restart=False, offset=3)
    await settle()
    assert world.take() == ["ERR document t/A: poison", "CP 3", "A.close(error)"]
    assert world.partition.skips == (2, ("t/A",), 1)
    await world.feed(4, "A")
    assert world.take() == ["CP 4"]
    assert world.partition.skips == (3, ("t/A",), 1)
    await world.router.close(CloseReason.STOPPED)


@pytest.mark.parametrize("how", ["class", "attribute"])
async def test_any_other_exception_in_create_makes_no_document_corrupt(how: str) -> None:
    world = World(**SKIP)
    world.factory.creating = _creating(how)
    await world.feed(0, "A")
    await world.feed(1, "A")
    assert world.take() == ["ERR no such state", "CP 0", "CP 1"]
    assert world.partition.skips == (2, ("t/A",), 1)
    await world.router.close(CloseReason.STOPPED)


async def test_a_corrupt_document_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(**SKIP)
    world.factory.handle = lambda _, got: 1 / 0 if got.offset < 5 else None
    with caplog.at_level(logging.INFO):
        for offset, document in enumerate("AABAB"):
            await world.feed(offset, document)
    lines = [record.getMessage() for record in caplog.records if "is corrupt" in record.getMessage()]
    assert len(lines) == 2
    assert "x/0, offset 0: document 't/A' is corrupt" in lines[0]
    await world.router.close(CloseReason.STOPPED)


async def test_a_corrupt_document_is_opened_again_after_it_was_idle() -> None:
    world = World(**SKIP)
    world.factory.handle = failing(0)
    await world.feed(0, "A")
    await world.feed(1, "A")
    assert world.partition.skips == (2, ("t/A",), 1)
    await world.tick(700)
    assert [*world.partition.skips] == [2, (), 0]
    world.take()
    await world.feed(2, "A")
    assert world.take() == ["create(t/A)", "A.handler(2)"]
    await world.router.close(CloseReason.STOPPED)


async def test_the_latest_ten_corrupt_documents_are_named() -> None:
    world = World(**SKIP)
    world.factory.handle = lambda _, __: 1 / 0
    for offset in range(12):
        await world.feed(offset, f"{offset}")
    assert world.partition.skips == (12, tuple(f"t/{number}" for number in range(2, 12)), 12)
    await world.router.close(CloseReason.STOPPED)


async def test_messages_without_a_document_count_as_skipped(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.INFO):
        for offset, text in enumerate(["no JSON", "{}", "[]", ""]):
            world.put(offset, "", text)
    assert world.partition.skips == (4, (), 0)
    assert caplog.text.count("of no document, and skipped") == 1
    await world.router.close(CloseReason.STOPPED)


async def test_messages_that_a_document_lambda_skips_by_itself_are_counted() -> None:
    world = World()
    await world.feed(0, "A")
    await world.feed(1, "B")
    for name in "AB":
        world.context(name).skipped(1, ["whatever"])
        world.context(name).skipped(1)
    world.context("A").skipped(3)
    assert world.partition.skips == (4, (), 0)
    for wrong, kind in (((-1,), ValueError), ((1, "text"), TypeError), ((1.5,), TypeError), ((1, [b"x"]), TypeError)):
        with pytest.raises(kind):
            world.context("A").skipped(*wrong)
    await world.router.close(CloseReason.STOPPED)
