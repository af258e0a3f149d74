"""Lambdas that take their messages as lists or as columns."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

import sdk_python
from sdk_python import (
    CREATE_TIME,
    CloseReason,
    FailedAt,
    IContext,
    Message,
    MessageColumns,
    PluginError,
    _dispatch,
    partition_lambda,
)
from sdk_python._fitting import checked_lambda
from sdk_python._handling import Kind, columns_of, handling_of, one_at_a_time
from sdk_python._message import Columns, batch_of
from sdk_python.document_router import document_router
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing import FakeSidecar
from tests.unit.waiting import until

Taken = Sequence[Message] | MessageColumns
KINDS = [Kind.BATCH, Kind.COLUMNS]


def offsets(taken: Taken) -> list[int]:
    return [*taken.offsets] if isinstance(taken, MessageColumns) else [message.offset for message in taken]


def values(taken: Taken) -> list[bytes | None]:
    return [*taken.values] if isinstance(taken, MessageColumns) else [message.value for message in taken]


def plugin(kind: Kind, take: Callable[[Any, IContext], Any]) -> Any:
    return partition_lambda(batch=kind is Kind.BATCH, columns=kind is Kind.COLUMNS)(take)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("awaited", [False, True])
async def test_each_message_comes_once_and_in_order(kind: Kind, awaited: bool) -> None:
    got: list[list[int]] = []
    kinds: set[type] = set()

    async def later() -> None:
        await asyncio.sleep(0)

    def take(taken: Taken, context: IContext) -> Awaitable[None] | None:
        got.append(offsets(taken))
        kinds.add(type(taken))
        context.checkpoint(got[-1][-1])
        return later() if awaited else None

    async with FakeSidecar(plugin(kind, take)) as sidecar:
        await sidecar.feed(*[b"%d" % number for number in range(3000)])
        await sidecar.checkpointed(2999)
        assert not sidecar.errors
    assert [offset for batch in got for offset in batch] == [*range(3000)]
    assert kinds == {list if kind is Kind.BATCH else MessageColumns}
    assert max(map(len, got)) > 100
    assert max(map(len, got)) <= 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("names", [False, True])
async def test_a_failure_has_the_offset_that_it_names(kind: Kind, awaited: bool, names: bool) -> None:
    def take(taken: Taken, context: IContext) -> Awaitable[None] | None:
        async def later() -> None:
            work()

        def work() -> None:
            for offset, value in zip(offsets(taken), values(taken), strict=True):
                if value == b"bad" and names:
                    raise FailedAt(offset) from ValueError("no amount")
                if value == b"bad":
                    raise ValueError("no amount")
                context.checkpoint(offset)

        if awaited:
            return later()
        work()
        return None

    async with FakeSidecar(plugin(kind, take)) as sidecar:
        await sidecar.feed(*[b"good"] * 40, b"bad", b"good", b"good")
        await sidecar.ended()
        (error,) = sidecar.errors
        assert (error.action, error.message, error.type) == ("critical", "no amount", "ValueError")
        assert error.offset == (40 if names else None)
        assert sidecar.checkpoints[-1] == 39


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_of_one_needs_no_name_and_a_wrong_name_is_none(kind: Kind) -> None:
    def take(taken: Taken, _: IContext) -> None:
        raise FailedAt(99) if len(taken) > 1 else ValueError("alone")

    async with FakeSidecar(plugin(kind, take)) as sidecar:
        await sidecar.feed(b"x")
        await sidecar.ended()
        (error,) = sidecar.errors
        assert (error.offset, error.message) == (0, "alone")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pause_ends_after_the_batch_and_its_messages_can_come_again(kind: Kind) -> None:
    got: list[list[int]] = []

    def take(taken: Taken, context: IContext) -> None:
        got.append(offsets(taken))
        if len(got) == 1:
            context.pause("away", offset=0)
        else:
            context.checkpoint(got[-1][-1])

    async with FakeSidecar(plugin(kind, take)) as sidecar:
        await sidecar.feed(b"a", b"b", b"c")
        assert sidecar.paused
        await sidecar.resume()
        await sidecar.checkpointed(2)
    assert got[0] == [0]
    assert [offset for batch in got[1:] for offset in batch] == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_drain_waits_for_the_batch(kind: Kind) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()
    closed: list[CloseReason] = []

    class Lambda:
        def __init__(self, context: IContext) -> None:
            self.context = context
            setattr(self, kind.value, self.take)

        async def take(self, taken: Taken) -> None:
            entered.set()
            await gate.wait()
            self.context.checkpoint(offsets(taken)[-1])

        def close(self, reason: CloseReason) -> None:
            closed.append(reason)

    class Plugin:
        async def create(self, *args: Any) -> Any:
            return self if len(args) == 1 else Lambda(args[1])

        async def dispose(self) -> None: ...

    async with FakeSidecar(Plugin()) as sidecar:
        feeding = asyncio.create_task(sidecar.feed(b"a"))
        await entered.wait()
        revoking = asyncio.create_task(sidecar.revoke())
        await asyncio.sleep(0)
        assert closed == []
        gate.set()
        await asyncio.gather(feeding, revoking)
        assert sidecar.checkpoints == [0]
    assert closed == [CloseReason.REBALANCED]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_sync_batch_gets_smaller_ones(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(_dispatch, "monotonic", lambda: now[0])
    sizes: list[int] = []

    def take(taken: Taken, context: IContext) -> None:
        sizes.append(len(taken))
        now[0] += len(taken) * 0.0001 if len(sizes) < 12 else len(taken) * 0.01
        context.checkpoint(offsets(taken)[-1])

    async with FakeSidecar(plugin(kind, take)) as sidecar:
        await sidecar.feed(*[b"x"] * 400)
        await sidecar.checkpointed(399)
    assert max(sizes) >= 8  # less than a millisecond: the next one is twice as large
    assert sizes[-1] == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_the_document_router_hands_over_one_message_at_a_time(kind: Kind) -> None:
    got: list[list[int]] = []

    def take(taken: Taken, context: IContext) -> None:
        got.append(offsets(taken))
        context.checkpoint(got[-1][-1])

    async with FakeSidecar(document_router(plugin(kind, take), key="record")) as sidecar:
        for number in range(6):
            await sidecar.feed(b"x", key=b"a" if number % 2 else b"b")
        await sidecar.checkpointed(5)
    assert sorted(got) == [[number] for number in range(6)]


async def test_a_document_that_fails_names_the_error_and_not_who_passed_it_on() -> None:
    def take(messages: Sequence[Message], _: IContext) -> None:
        raise FailedAt(messages[0].offset) from ValueError("no amount")

    async with FakeSidecar(document_router(partition_lambda(batch=True)(take), key="record")) as sidecar:
        await sidecar.feed(b"x", key=b"a")
        await until(lambda: sidecar.errors)
        (error,) = sidecar.errors
        assert (error.action, error.offset, error.type) == ("critical", 0, "ValueError")


def test_columns_are_what_the_messages_are() -> None:
    messages = [
        Message("t", 3, 7, 100, CREATE_TIME, b"k", b"v", (("h", b"1"),)),
        Message("t", 3, 9, None, CREATE_TIME, None, None, ()),
        Message("t", 3, 10, 102, CREATE_TIME, b"", b"", (("i", None), ("h", b""))),
    ]
    columns = Columns(pb.Batch.FromString(batch_of(messages).SerializeToString()), "t", 3).columns(0, 9)
    assert (columns.topic, columns.partition, columns.timestamp_type) == ("t", 3, CREATE_TIME)
    assert (len(columns), columns.last_offset) == (3, 10)
    for name in ("offset", "timestamp", "key", "value"):
        assert [*getattr(columns, f"{name}s")] == [getattr(message, name) for message in messages]
    assert columns.headers is not None
    assert [*columns.headers] == [message.headers for message in messages]
    for message in messages:
        alone = columns_of(message)
        assert (alone.offsets, alone.keys, alone.values) == ([message.offset], [message.key], [message.value])
    plain = Columns(batch_of([messages[1]._replace(timestamp=5)]), "t", 3).columns(0, 1)
    assert (plain.keys, plain.headers) == (None, None)


async def test_columns_can_be_produced_as_they_are() -> None:
    def take(columns: MessageColumns, context: IContext) -> None:
        context.produce_many("copy", sdk_python.Columns(columns.values, columns.keys))
        context.checkpoint(columns.last_offset)

    async with FakeSidecar(partition_lambda(columns=True)(take)) as sidecar:
        await sidecar.feed(b"a", b"b", b"c", key=b"k")
        await sidecar.checkpointed(2)
        sent = [(one.topic, one.value, one.key) for one in sidecar.sent]
    assert sent == [("copy", value, b"k") for value in (b"a", b"b", b"c")]


# --- what fits ----------------------------------------------------------------------------------------------------


def test_a_lambda_has_one_of_the_methods() -> None:
    class Both:
        def handler(self, message: Message) -> None: ...

        def handle_batch(self, messages: Sequence[Message]) -> None: ...

    class Wrong:
        def handle_columns(self) -> None: ...

    class Batch:
        def handle_batch(self, messages: Sequence[Message]) -> None: ...

    with pytest.raises(PluginError, match="has handler and handle_batch: keep the one that is to be called"):
        checked_lambda(Both())
    with pytest.raises(PluginError, match=r"handle_columns takes .*write `def handle_columns\(self, columns\)`"):
        checked_lambda(Wrong())
    with pytest.raises(PluginError, match="has no handler"):
        checked_lambda(object())
    assert handling_of(checked_lambda(Batch())).kind is Kind.BATCH


def test_the_decorator_takes_one_kind() -> None:
    with pytest.raises(TypeError, match="one of them"):
        partition_lambda(batch=True, columns=True)
    with pytest.raises(TypeError, match=r"must take \(messages, context\), or \(messages\) alone"):
        partition_lambda(batch=True)(lambda: None)
    calls: list[Any] = []
    decorated = partition_lambda(batch=True)(calls.append)
    decorated([1])
    assert calls == [[1]]


def test_one_at_a_time_calls_any_kind() -> None:
    got: list[Any] = []
    message = Message("t", 0, 5, None, 0, None, b"v", ())
    for name in ("handler", "handle_batch", "handle_columns"):
        lambda_ = type("Lambda", (), {name: lambda _, taken: got.append(taken)})()
        one_at_a_time(lambda_)(message)
    assert got[:2] == [message, [message]]
    assert got[2].values == [b"v"]


async def test_a_batch_that_hangs_can_be_told_by_its_first_message() -> None:
    entered = asyncio.Event()

    async def take(_: Sequence[Message]) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with FakeSidecar(partition_lambda(batch=True)(take), drain_timeout=0.2) as sidecar:
        feeding = asyncio.create_task(sidecar.feed(b"a"))
        await entered.wait()
        life = sidecar._life
        assert life is not None
        await until(lambda: life.dispatcher.working_on == 0)
        feeding.cancel()
