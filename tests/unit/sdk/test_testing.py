"""The module for users' own unit tests, on the examples."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples import async_function, four_interfaces, one_function
from sdk_python import CloseReason, IContext, Message
from sdk_python.testing import FakeSidecar


async def test_one_function() -> None:
    one_function.words.clear()
    async with FakeSidecar(one_function.handle) as sidecar:
        await sidecar.feed(b"a b a", b"b", None)
        assert sidecar.checkpoints == [0, 1, 2]
    assert one_function.words == {b"a": 2, b"b": 2}


async def test_async_saves_checkpoint_when_contiguous() -> None:
    async with FakeSidecar(async_function.handle) as sidecar:
        await sidecar.feed(*[b"x"] * 5)
        await sidecar.checkpointed(4)
        assert sidecar.checkpoints == [0, 1, 2, 3, 4]


async def test_four_interfaces_and_the_checkpoint_in_close(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path), "batch": 2}
    async with FakeSidecar(four_interfaces.plugin, settings=settings) as sidecar:
        await sidecar.feed("a", "b", "c")
        assert sidecar.checkpoints == [1]
        await sidecar.rebalance()
        assert sidecar.checkpoints == [1, 2]
    assert (tmp_path / "test-0").read_bytes() == b"a\nb\nc\n"


class Plugin:
    """Fails at a value of "bad", asks for a restart at "away"."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    async def create(self, config: Mapping[str, Any], context: IContext | None = None) -> Any:
        if context is None:
            assert config == {"a": (1,)}
            return self
        self.log.append(("create", context.start_offset, context.attempt))
        return _Lambda(self.log, context)

    async def dispose(self) -> None:
        self.log.append("dispose")


class _Lambda:
    def __init__(self, log: list[Any], context: IContext) -> None:
        self.log = log
        self.context = context

    def handler(self, message: Message) -> None:
        self.log.append(message.value)
        if message.value == b"bad":
            raise ValueError("bad message")
        if message.value == b"away":
            self.context.error("database away", restart=True)
        if message.value == b"save":
            self.context.checkpoint(message.offset)

    def close(self, reason: CloseReason) -> None:
        self.log.append(reason)


async def test_restart_begins_behind_the_checkpoint() -> None:
    plugin = Plugin()
    async with FakeSidecar(plugin, settings={"a": [1]}, start_offset=10) as sidecar:
        await sidecar.feed(b"save", b"x", b"away", b"y")
        assert not sidecar.running
        assert [(error.action, error.offset) for error in sidecar.errors] == [("restart", None)]
        plugin.log.clear()
        await sidecar.restart()
        assert plugin.log == [("create", 11, 1), b"x", b"away", CloseReason.ERROR]
        plugin.log.clear()
        await sidecar.restart()
        assert plugin.log[0] == ("create", 11, 2)
    assert plugin.log[-1] == "dispose"


async def test_an_exception_is_critical_with_its_offset() -> None:
    async with FakeSidecar(Plugin(), settings={"a": [1]}) as sidecar:
        await sidecar.feed(b"save", b"bad", b"save")
        (error,) = sidecar.errors
        assert (error.action, error.offset, error.type) == ("critical", 1, "ValueError")
        assert sidecar.checkpoints == [0]


async def test_rebalance_and_stop_close_with_their_reasons() -> None:
    plugin = Plugin()
    async with FakeSidecar(plugin, settings={"a": [1]}) as sidecar:
        await sidecar.rebalance()
        await sidecar.restart()
    assert [entry for entry in plugin.log if isinstance(entry, CloseReason)] == [
        CloseReason.REBALANCED,
        CloseReason.ERROR,
        CloseReason.STOPPED,
    ]


async def test_completed_beyond() -> None:
    def handle(message: Message, context: IContext) -> None:
        context.completed_beyond(message.offset + 1, len(message.value or b""))

    async with FakeSidecar(handle) as sidecar:
        await sidecar.feed(b"abc", b"de")
        assert sidecar.completed_beyond == (2, 2)
        assert sidecar.checkpoints == []


async def test_misuse_says_how() -> None:
    sidecar = FakeSidecar(one_function.handle)
    with pytest.raises(RuntimeError, match="async with"):
        await sidecar.assign()
    async with sidecar:
        with pytest.raises(RuntimeError, match="restart"):
            await sidecar.assign()


async def test_an_error_from_a_task_of_the_lambda() -> None:
    fail = asyncio.Event()
    tasks = []

    def handle(message: Message, context: IContext) -> None:
        async def later() -> None:
            await fail.wait()
            context.error(TimeoutError("slow"), restart=True, offset=message.offset)

        tasks.append(asyncio.create_task(later()))

    async with FakeSidecar(handle) as sidecar:
        await sidecar.feed(b"x")
        fail.set()
        await sidecar.ended()
        assert sidecar.errors[0].offset == 0


@pytest.mark.parametrize(
    "arguments", [(5, True), (ValueError(), {"restart": True}), (ValueError(), True, "7"), (ValueError(), True, -1)]
)
async def test_arguments_of_error_are_checked(arguments: tuple[Any, ...]) -> None:
    def handle(message: Message, context: IContext) -> None:
        context.error(*arguments)

    async with FakeSidecar(handle) as sidecar:
        await sidecar.feed(b"x")
        assert sidecar.errors[0].type in ("TypeError", "ValueError")
        assert sidecar.errors[0].action == "critical"
