"""`FakeSidecar` with state, commits, progress, lanes and exactly-once."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from sdk_python import CloseReason, IContext, Message, PluginError, ProduceError, partition_lambda
from sdk_python.document_router import document_router
from sdk_python.testing import FakeSidecar


class Counter:
    """A plugin that counts its messages, in the state that goes with each checkpoint."""

    def __init__(self) -> None:
        self.closed: list[CloseReason] = []

    async def create(self, _: Mapping[str, Any], context: IContext | None = None) -> Any:
        return self if context is None else _Counting(context, self.closed)

    async def dispose(self) -> None: ...


class _Counting:
    def __init__(self, context: IContext, closed: list[CloseReason]) -> None:
        self._context = context
        self._count = int(context.state or b"0")
        self._closed = closed

    def handler(self, message: Message) -> None:
        self._count += 1
        self._context.produce("counts", str(self._count), message.key)
        if message.value != b"wait":
            self._context.checkpoint(message.offset, str(self._count).encode())

    def close(self, reason: CloseReason) -> None:
        self._closed.append(reason)


def values(sidecar: FakeSidecar) -> list[bytes | None]:
    return [one.value for one in sidecar.sent]


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
async def test_the_next_lambda_starts_from_the_state_of_the_checkpoint(guarantee: Any) -> None:
    async with FakeSidecar(Counter(), state=b"10", guarantee=guarantee) as sidecar:
        await sidecar.feed(b"a", b"b")
        assert (sidecar.state, sidecar.checkpoint) == (b"12", 1)
        await sidecar.rebalance()
        await sidecar.feed(b"c")
        assert (sidecar.state, values(sidecar)) == (b"13", [b"11", b"12", b"13"])


async def test_what_is_held_is_written_with_the_checkpoint_or_never() -> None:
    plugin = Counter()
    async with FakeSidecar(plugin, guarantee="exactly-once") as sidecar:
        await sidecar.feed(b"a", b"wait", b"wait")
        assert values(sidecar) == [b"1"]
        assert [one.value for one in sidecar.held] == [b"2", b"3"]
        await sidecar.restart()  # a crash: the messages come again
        assert [one.value for one in sidecar.held] == [b"2", b"3"]
        await sidecar.feed(b"b")
        assert (values(sidecar), sidecar.held) == ([b"1", b"2", b"3", b"4"], [])


async def test_at_least_once_writes_again_what_was_not_checkpointed() -> None:
    async with FakeSidecar(Counter()) as sidecar:
        await sidecar.feed(b"a", b"wait")
        await sidecar.restart()
        assert values(sidecar) == [b"1", b"2", b"2"]
        with pytest.raises(RuntimeError, match="exactly-once"):
            await sidecar.abort()


async def test_an_aborted_transaction_closes_with_an_error_and_begins_again() -> None:
    plugin = Counter()
    async with FakeSidecar(plugin, guarantee="exactly-once") as sidecar:
        await sidecar.feed(b"a", b"wait")
        await sidecar.abort()
        assert plugin.closed == [CloseReason.ERROR]
        assert (values(sidecar), [one.value for one in sidecar.held]) == ([b"1"], [b"2"])
        sidecar.produce_error = "the broker is away"
        await sidecar.feed(b"b")
        assert (values(sidecar), sidecar.held, sidecar.running) == ([b"1"], [], False)
        sidecar.produce_error = None
        await sidecar.assign()
        assert values(sidecar) == [b"1", b"2", b"3"]


async def test_a_record_waits_for_a_checkpoint_at_its_source() -> None:
    def handle(message: Message, context: IContext) -> None:
        context.produce("out", message.value, source=message.offset)
        if message.offset:
            context.checkpoint(message.offset - 1)

    async with FakeSidecar(handle, guarantee="exactly-once") as sidecar:
        await sidecar.feed(b"a", b"b", b"c")
        assert (values(sidecar), [one.value for one in sidecar.held]) == ([b"a", b"b"], [b"c"])


async def test_an_awaited_record_is_held() -> None:
    found: list[Any] = []

    async def handle(message: Message, context: IContext) -> None:
        try:
            found.append((await context.produce("out", message.value)).offset)
        except ProduceError as error:
            found.append(error.kind)
        context.checkpoint(message.offset)

    async with FakeSidecar(handle, guarantee="exactly-once") as sidecar:
        await sidecar.feed(b"a")
        sidecar.produce_error = "no such topic"
        await sidecar.feed(b"b")
        assert (found, values(sidecar), sidecar.checkpoint) == ([-1, "failed"], [b"a"], 0)


async def test_committed_progress_and_lanes() -> None:
    seen: list[Any] = []

    async def handle(message: Message, context: IContext) -> None:
        context.progress("begun")
        context.checkpoint(message.offset)
        await context.committed(message.offset)
        seen.append((message.offset, context.lane, context.lanes))

    async with FakeSidecar(handle, lane=2, lanes=4) as sidecar:
        await sidecar.feed(b"a")
        assert (seen, sidecar.progress) == ([(0, 2, 4)], ["begun"])
    with pytest.raises(ValueError, match="numbered from 0"):
        FakeSidecar(handle, lane=1)


async def test_a_state_has_its_share_of_two_kibibytes() -> None:
    def handle(message: Message, context: IContext) -> None:
        context.checkpoint(message.offset, message.value)

    async with FakeSidecar(handle, lane=0, lanes=2) as sidecar:
        await sidecar.feed(bytes(1024))
        await sidecar.feed(bytes(1025))
        assert (sidecar.checkpoint, sidecar.state) == (0, bytes(1024))
        assert "1025 bytes, and at most 1024" in sidecar.errors[0].message


def _in_document(call: Any) -> Any:
    @partition_lambda
    async def handle(message: Message, context: IContext) -> None:
        try:
            result = call(context, message.offset)
            await asyncio.ensure_future(result) if asyncio.iscoroutine(result) else None
        except RuntimeError as error:
            context.report(error)
        context.checkpoint(message.offset)

    return document_router(handle, key="record")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda context, _: context.state, "no state of its own"),
        (lambda context, offset: context.checkpoint(offset, b"x"), "no state of its own"),
        (lambda context, offset: context.committed(offset), "not for documents"),
    ],
)
async def test_a_document_has_neither_state_nor_commits(call: Any, text: str) -> None:
    async with FakeSidecar(_in_document(call)) as sidecar:
        await sidecar.feed(b"x", key=b"d")
        await sidecar.checkpointed(0)
        assert [text in error.message for error in sidecar.errors] == [True]


async def test_a_document_tells_of_progress_lanes_and_guarantee() -> None:
    seen: list[Any] = []

    def call(context: IContext, _: int) -> None:
        context.progress("43 %")
        seen.append((context.lane, context.lanes, context.guarantee))

    async with FakeSidecar(_in_document(call), lane=1, lanes=2) as sidecar:
        await sidecar.feed(b"x", key=b"d")
        await sidecar.checkpointed(0)
        assert (sidecar.progress, seen) == (["43 %"], [(1, 2, "at-least-once")])


async def test_the_document_router_refuses_exactly_once_at_start() -> None:
    with pytest.raises(PluginError, match="exactly-once: the document router cannot: its documents are at different"):
        await FakeSidecar(_in_document(lambda *_: None), guarantee="exactly-once").__aenter__()
