"""A record that is not written, and whose outcome nobody awaits, is passed by no checkpoint."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdk_python import IContext, Message, Produced, ProduceError, Record, _outcomes
from sdk_python._limits import Limits
from sdk_python.document_router import document_router
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing import FakeSidecar
from tests.unit.waiting import until

Act = Callable[[Message, IContext], Any]


class Held(FakeSidecar):
    """Answers each Produce when the test says so; a value that begins with ``bad`` is not written."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def __aenter__(self) -> "Held":
        await super().__aenter__()
        return self

    async def _on_produce(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        self.asked.set()
        await self.gate.wait()
        response = await super()._on_produce(request)
        for index, value in enumerate(request.values):
            if value.startswith(b"bad"):
                response.outcomes[index] = pb.PRODUCE_OUTCOME_FAILED
        response.errors.extend(["Kafka is away"] * len(request.values))
        return response


def plain(_: Message, context: IContext) -> None:
    context.produce("out", b"bad")


def kept(message: Message, context: IContext) -> None:
    KEPT.append(context.produce("out", b"bad"))


def many(_: Message, context: IContext) -> None:
    context.produce_many("out", [Record(b"good"), Record(b"bad"), Record(b"good")])


def kept_many(_: Message, context: IContext) -> None:
    KEPT.append(context.produce_many("out", [Record(b"bad"), Record(b"good")]))


def with_a_callback_that_does_not_ask(_: Message, context: IContext) -> None:
    outcome: Any = context.produce("out", b"bad")
    KEPT.append(outcome)
    outcome.add_done_callback(KEPT.remove)


def too_large(_: Message, context: IContext) -> None:
    context.produce("out", bytes(Limits().record_bytes))


def kept_too_large(_: Message, context: IContext) -> None:
    KEPT.append(context.produce("out", bytes(Limits().record_bytes)))


async def given_up(_: Message, context: IContext) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await context.produce("out", b"bad")


async def waited_for_and_not_looked_at(_: Message, context: IContext) -> None:
    outcome = asyncio.ensure_future(context.produce("out", b"bad"))
    await asyncio.wait([outcome])


KEPT: list[Any] = []
WAYS: list[Act] = [
    plain,
    kept,
    many,
    kept_many,
    with_a_callback_that_does_not_ask,
    too_large,
    kept_too_large,
    given_up,
    waited_for_and_not_looked_at,
]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept and not awaited need not be waited for that long here."""
    monkeypatch.setattr(_outcomes, "PATIENCE_S", 0.05)
    KEPT.clear()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("routed", [False, True])
async def test_a_failure_that_nobody_receives_fails_the_lambda(way: Act, routed: bool) -> None:
    def act(message: Message, context: IContext) -> Awaitable[None] | None:
        if message.value == b"fine":
            context.checkpoint(message.offset)
            return None
        pending = way(message, context)
        if pending is None:
            context.checkpoint(message.offset)
            return None

        async def rest() -> None:
            await pending
            context.checkpoint(message.offset)

        return rest()

    made: Any = document_router(act, key="record") if routed else act
    async with Held(made) as sidecar:
        await sidecar.feed(b"fine", key=b"a")
        await sidecar.feed(b"x", key=b"a")
        await until(lambda: sidecar.errors)
        (error,) = sidecar.errors
        assert error.action == ("report" if routed else "restart")
        assert "not written to out" in error.message
        assert "nobody awaited" in error.message or routed
        assert "Kafka is away" in error.message or "bytes" in error.message
        assert error.type == "sdk_python._errors.ProduceError"
        assert sidecar.checkpoints == [0]


async def test_a_failure_that_nobody_receives_fails_a_lambda_that_never_checkpoints() -> None:
    async with Held(plain) as sidecar:
        await sidecar.feed(b"x")
        await sidecar.ended()
        assert [error.code for error in sidecar.errors] == ["produce_failed"]


async def test_a_checkpoint_waits_for_what_was_produced_before_it_and_for_nothing_else() -> None:
    def act(message: Message, context: IContext) -> None:
        if message.value:
            context.produce("out", message.value)
        context.checkpoint(message.offset)

    async with Held(act) as sidecar:
        await sidecar.feed(b"")
        assert sidecar.checkpoints == [0]
        sidecar.gate.clear()
        feeding = asyncio.create_task(sidecar.feed(b"good", b"", b"bad", b"good"))
        await sidecar.asked.wait()
        assert sidecar.checkpoints == [0]
        sidecar.gate.set()
        await feeding
        await sidecar.ended()
        assert sidecar.checkpoints == [0, 2]  # those called before the record that failed, and none after it
        assert [error.action for error in sidecar.errors] == ["restart"]


@pytest.mark.parametrize("routed", [False, True])
async def test_an_outcome_that_is_awaited_later_fails_nothing(routed: bool) -> None:
    outcomes: list[Awaitable[Produced]] = []
    seen: list[str] = []

    async def act(message: Message, context: IContext) -> None:
        outcomes.append(context.produce("out", message.value))
        if len(outcomes) == 3:
            found = await asyncio.gather(*outcomes, return_exceptions=True)
            seen.extend(type(one).__name__ for one in found)
            context.checkpoint(message.offset)

    made: Any = document_router(act, key="record") if routed else act
    async with Held(made) as sidecar:
        for value in (b"bad", b"good", b"bad"):
            await sidecar.feed(value, key=b"a")
        await sidecar.checkpointed(2)
        assert seen == ["ProduceError", "Produced", "ProduceError"]
        assert not sidecar.errors


async def test_a_checkpoint_that_waits_for_a_failure_is_told_when_it_is_received() -> None:
    contexts: list[IContext] = []

    def act(message: Message, context: IContext) -> None:
        contexts.append(context)
        KEPT.append(context.produce("out", b"bad"))

    async with Held(act) as sidecar:
        await sidecar.feed(b"x", b"y")
        contexts[0].checkpoint(0)
        contexts[0].checkpoint(1)
        assert sidecar.checkpoints == []
        for outcome in KEPT:
            with pytest.raises(ProduceError, match="Kafka is away"):
                await outcome
        await sidecar.checkpointed(1)
        assert not sidecar.errors


async def test_a_checkpoint_in_close_does_not_pass_a_failure_either() -> None:
    class Lambda:
        def __init__(self, context: IContext) -> None:
            self.context = context

        def handler(self, message: Message) -> None:
            self.context.produce("out", message.value)
            if message.value == b"good":
                self.context.checkpoint(message.offset)

        def close(self, _: object) -> None:
            self.context.checkpoint(1)

    class Plugin:
        async def create(self, *args: Any) -> Any:
            return self if len(args) == 1 else Lambda(args[1])

        async def dispose(self) -> None: ...

    async with Held(Plugin()) as sidecar:
        sidecar.gate.clear()
        feeding = asyncio.create_task(sidecar.feed(b"good", b"bad"))
        await sidecar.asked.wait()
        revoking = asyncio.create_task(sidecar.revoke())
        await asyncio.sleep(0)
        sidecar.gate.set()
        await asyncio.gather(feeding, revoking)
        assert sidecar.checkpoints == [0]


async def test_a_failed_outcome_that_is_dropped_in_another_thread_fails_the_lambda() -> None:
    async def act(message: Message, context: IContext) -> None:
        held = [context.produce("out", b"bad")]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(held.clear)

    async with Held(act) as sidecar:
        await sidecar.feed(b"x")
        await sidecar.ended()
        assert [error.action for error in sidecar.errors] == ["restart"]


async def test_a_failed_record_fails_and_holds_back_only_its_own_document() -> None:
    def act(message: Message, context: IContext) -> None:
        context.produce("out", message.value)
        context.checkpoint(message.offset)

    async with Held(document_router(act, key="record")) as sidecar:
        await sidecar.feed(b"good", key=b"a")
        await sidecar.feed(b"bad", key=b"b")
        await sidecar.feed(b"good", key=b"a")
        await until(lambda: sidecar.errors)
        assert [error.action for error in sidecar.errors] == ["report"]
        assert sidecar.checkpoints == [0]
        assert sidecar.running
        await until(lambda: sidecar.completed_beyond[0] == 1)  # record 2, of the other document
