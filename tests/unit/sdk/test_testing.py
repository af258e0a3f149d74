"""The module for users' own unit tests, on the examples."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples import async_function, four_interfaces, one_function
from sdk_python import CloseReason, IContext, Message, partition_lambda
from sdk_python.testing import FakeSidecar


async def test_the_example_one_function() -> None:
    one_function.words.clear()
    async with FakeSidecar(one_function.handle) as sidecar:
        await sidecar.feed(b"a b a", b"b", None)
        assert sidecar.checkpoints == [0, 1, 2]
    assert one_function.words == {b"a": 2, b"b": 2}


async def test_the_example_async_function_checkpoints_in_order() -> None:
    async with FakeSidecar(async_function.handle) as sidecar:
        await sidecar.feed(*[b"x"] * 5)
        await sidecar.checkpointed(4)
        assert sidecar.checkpoints == [0, 1, 2, 3, 4]


async def test_the_example_four_interfaces_checkpoints_in_close(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path), "batch": 2}
    async with FakeSidecar(four_interfaces.plugin, settings=settings) as sidecar:
        await sidecar.feed("a", "b", "c")
        assert sidecar.checkpoints == [1]
        await sidecar.rebalance()
        assert sidecar.checkpoints == [1, 2]
    assert (tmp_path / "test-0").read_bytes() == b"a\nb\nc\n"


async def test_the_example_four_interfaces_pauses_when_the_disk_is_away(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path / "disk"), "batch": 2}
    async with FakeSidecar(four_interfaces.plugin, settings=settings) as sidecar:
        (tmp_path / "disk").rename(tmp_path / "away")
        await sidecar.feed("a", "b", "c", "d")
        assert sidecar.paused is not None
        assert "No such file" in sidecar.paused
        (tmp_path / "away").rename(tmp_path / "disk")
        await sidecar.resume()
        assert sidecar.checkpoints == [1, 3]
    assert (tmp_path / "disk" / "test-0").read_bytes() == b"a\nb\nc\nd\n"


async def test_the_circuit_breaker_of_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "lambdas.md").read_text(encoding="utf-8")
    _, after = text.split("## When a dependency is down")
    code = after.split("```python\n")[1].split("```")[0]
    saved: list[bytes | None] = []
    failures = 2

    async def save(value: bytes | None) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError("refused")
        saved.append(value)

    names: dict[str, Any] = {"save": save}
    exec(code, names)
    async with FakeSidecar(names["handle"]) as sidecar:
        await sidecar.feed(b"a", b"b")
        for _ in range(2):
            assert sidecar.paused == "database: refused"
            await sidecar.resume()
        assert (saved, sidecar.checkpoints) == ([b"a", b"b"], [0, 1])
    assert sidecar.errors == []


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


async def test_restart_begins_after_the_checkpoint() -> None:
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


async def test_the_latest_numbers_of_completed_beyond_are_kept() -> None:
    def handle(message: Message, context: IContext) -> None:
        context.completed_beyond(message.offset + 1, len(message.value or b""))

    async with FakeSidecar(handle) as sidecar:
        await sidecar.feed(b"abc", b"de")
        assert sidecar.completed_beyond == (2, 2)
        assert sidecar.checkpoints == []


async def test_misuse_is_refused_with_a_hint() -> None:
    sidecar = FakeSidecar(one_function.handle)
    with pytest.raises(RuntimeError, match="async with"):
        await sidecar.assign()
    async with sidecar:
        with pytest.raises(RuntimeError, match="restart"):
            await sidecar.assign()


async def test_an_error_from_a_task_of_the_lambda_ends_it() -> None:
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


class Store:
    """A database that can be away, and a lambda that pauses meanwhile."""

    def __init__(self) -> None:
        self.away = False
        self.rows: list[bytes | None] = []

    def handle(self, message: Message, context: IContext) -> None:
        if self.away:
            context.pause("database away", retry_after=5, offset=message.offset)
            return
        self.rows.append(message.value)
        context.checkpoint(message.offset)


async def test_a_pause_and_its_end_with_redelivery() -> None:
    store = Store()
    async with FakeSidecar(partition_lambda(store.handle)) as sidecar:
        await sidecar.feed(b"a")
        assert sidecar.paused is None
        store.away = True
        await sidecar.feed(b"b", b"c")
        assert sidecar.paused == "database away"
        await sidecar.feed(b"d")
        await sidecar.resume()
        assert sidecar.paused == "database away"  # it still is
        store.away = False
        assert (store.rows, sidecar.checkpoints) == ([b"a"], [0])
        await sidecar.resume()
        assert sidecar.paused is None
        assert sidecar.running
        assert (store.rows, sidecar.checkpoints) == ([b"a", b"b", b"c", b"d"], [0, 1, 2, 3])
        with pytest.raises(RuntimeError, match="not paused"):
            await sidecar.resume()
    assert sidecar.errors == []


async def test_a_pause_that_a_task_of_the_lambda_begins_and_ends() -> None:
    contexts: list[IContext] = []
    seen: list[bytes | None] = []

    class Factory:
        async def create(self, _: Mapping[str, Any], context: IContext | None = None) -> Any:
            if context is None:
                return self
            contexts.append(context)
            context.pause()  # and not before its cache is warm
            return self

        async def dispose(self) -> None: ...

        def handler(self, message: Message) -> None:
            seen.append(message.value)

    async with FakeSidecar(Factory()) as sidecar:
        await sidecar.feed(b"a", b"b")
        assert (sidecar.paused, seen) == ("", [])
        contexts[0].resume()
        await sidecar.handled()
        assert (sidecar.paused, seen) == (None, [b"a", b"b"])
        contexts[0].pause("again")
        await sidecar.handled()
        assert sidecar.paused == "again"
        await sidecar.rebalance()
        assert sidecar.paused == ""  # a new lambda, which is paused by `create`
        await sidecar.resume()
        assert seen == [b"a", b"b"] * 2


async def test_a_pause_inside_an_async_handler_is_over_when_feed_returns() -> None:
    log: list[str] = []

    async def handle(message: Message, context: IContext) -> None:
        context.pause("away")
        await asyncio.sleep(0.01)
        log.append(f"ran on at {message.offset}")

    async with FakeSidecar(handle) as sidecar:
        await sidecar.feed(b"a", b"b")
        assert (sidecar.paused, log) == ("away", ["ran on at 0"])
        await sidecar.stop()
        assert sidecar.paused is None
    assert log == ["ran on at 0"]
