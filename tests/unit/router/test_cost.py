"""What a message costs, in lines of the router that run, not in time: the same with 10 documents and with 5,000."""

import sys
from collections.abc import Callable

import pytest

from sdk_python import CloseReason, Message, document_router
from sdk_python.document_router._ledger import Lane, Ledger
from tests.unit.tracing import steps

from .world import Inner, World, message, settle


def lines(call: Callable[[], object]) -> int:
    """How many lines of the router run in ``call``."""
    return steps("line", (document_router,), call)


async def _world(documents: int, handle: Callable[[Inner, Message], None]) -> World:
    """Each document has its lambda. The first one has not finished, and holds the checkpoint back."""
    world = World(key=lambda routed: routed.key)
    for offset in range(documents):
        world.router.handler(message(offset, b"value", key=b"%d" % offset))
        if offset % 1000 == 999:
            await settle()
    await settle()
    for offset in range(1, documents):
        world.context(str(offset)).checkpoint(offset)
    world.factory.handle = handle
    assert world.partition.done == -1
    assert world.partition.beyond == (documents - 1, sum(5 + len(str(n)) for n in range(1, documents)))
    return world


def _at_once(inner: Inner, got: Message) -> None:
    inner.context.checkpoint(got.offset)


def _later(_: Inner, __: Message) -> None:
    pass


async def _costs(documents: int) -> list[int]:
    world = await _world(documents, _at_once)
    route = world.router.handler
    end = documents
    costs = [
        lines(lambda: route(message(end, b"value", key=b"5"))),  # done in the handler
        lines(lambda: route(message(end + 1, b"value", key=None))),  # of no document
    ]
    world.factory.handle = _later
    costs += [
        lines(lambda: route(message(end + 2, b"value", key=b"5"))),  # done later, out of order:
        lines(lambda: route(message(end + 3, b"value", key=b"6"))),
        lines(lambda: world.context("6").checkpoint(end + 3)),
        lines(lambda: world.context("5").checkpoint(end + 2)),
        lines(lambda: world.context("0").checkpoint(0)),  # the one that held all the others back
        lines(lambda: route(message(end + 4, b"value", key=b"0"))),
        lines(world.router.close_idle),
    ]
    assert world.partition.done == end + 3
    assert world.partition.beyond == (0, 0)
    await world.router.close(CloseReason.STOPPED)
    return costs


@pytest.mark.timeout(300)
async def test_a_message_costs_the_same_with_10_and_with_5_000_documents() -> None:
    assert await _costs(10) == await _costs(5_000)


async def test_a_document_at_rest_is_small_and_has_no_task() -> None:
    world = await _world(1000, _at_once)
    documents = world.router._documents.values()
    assert len(documents) == 1000
    for document in documents:
        assert document.worker is None
        assert document._waiting is None
        assert not hasattr(document, "__dict__")
        assert not hasattr(document.lane, "__dict__")
    assert sys.getsizeof(next(iter(documents))) < 250
    assert len(world.router._idle_at) == 1000
    await world.router.close(CloseReason.STOPPED)


def test_a_long_run_of_done_records_costs_no_memory() -> None:
    ledger = Ledger()
    held, quick = Lane(), Lane()
    ledger.add(held, 0, 1, message(0, b""))
    for offset in range(1, 10_000):
        ledger.add(quick, offset, 1, message(offset, b""))
        ledger.acknowledge(quick, offset)
    assert quick.first is None
    assert held.first is not None
    assert held.first.after is held.first.before  # nothing but the one that is not done
    assert (ledger.done, ledger.beyond_count) == (-1, 9999)
    ledger.acknowledge(held, 0)
    assert (ledger.done, ledger.beyond_count, ledger.beyond_size) == (9999, 0, 0)
