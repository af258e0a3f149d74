"""A partition without a sidecar: what the router says to it is written down, call by call."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from sdk_python import CREATE_TIME, CloseReason, IContext, Message, Produced
from sdk_python.document_router import IDocumentContext
from sdk_python.document_router._keys import KeyFunction, by_boxcar
from sdk_python.document_router._options import Options
from sdk_python.document_router._router import Router

Handler = Callable[["Inner", Message], Any]


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """An `IContext` that writes down what it is told."""

    topic = "x"
    partition = 0
    lease = "lease"
    start_offset: int | None = 0
    attempt = 1
    lane = 0
    lanes = 1
    state = b""
    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"

    def __init__(self, out: list[str]) -> None:
        self.out = out
        self.done = -1
        self.beyond = (0, 0)
        self.skips: tuple[int, tuple[str, ...], int | None] = (0, (), 0)
        self.errors: list[tuple[BaseException | str, bool, int | None]] = []
        self.reports: list[tuple[BaseException | str, int | None]] = []
        self.pauses: list[tuple[str, float | None, int | None]] = []

    def checkpoint(self, offset: int, state: bytes | None = None) -> None:
        assert state is None
        if self.errors:
            return  # as in a partition: what comes after its error does not count
        assert offset > self.done
        self.done = offset
        self.out.append(f"CP {offset}")

    def completed_beyond(self, count: int, size: int) -> None:
        self.beyond = (count, size)

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        assert not self.errors, "it has said that it cannot go on"
        self.errors.append((error, restart, offset))
        self.out.append(f"FAIL {offset}: {error}")

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        self.skips = (count, tuple(skipping), skipping_count)

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        self.reports.append((error, offset))
        self.out.append(f"ERR {error}")

    def produce(self, topic: str, *record: Any) -> Any:
        self.out.append(f"PRODUCE {topic} {record}")
        done: asyncio.Future[Produced] = asyncio.get_running_loop().create_future()
        done.set_result(Produced(topic, 0, 0))
        return done

    async def committed(self, offset: int) -> None:
        raise AssertionError(f"a document's context refuses this itself: {offset}")

    def progress(self, text: str = "") -> None:
        self.out.append(f"PROGRESS {text}")

    def produce_many(self, topic: str, records: Any, source: int | None = None) -> Any:
        del source
        raise AssertionError(f"a document's context does this itself: {topic}, {records}")

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        self.pauses.append((reason, retry_after, offset))
        self.out.append(f"PAUSE {offset}")

    def resume(self) -> None:
        self.out.append("RESUME")


class Inner:
    """The lambda of one document."""

    def __init__(self, factory: "Factory", context: IDocumentContext, config: Mapping[str, Any]) -> None:
        self.factory = factory
        self.context = context
        self.config = config
        self.name = context.document_id
        self.got: list[Message] = []

    def handler(self, message: Message) -> Any:
        self.factory.out.append(f"{self.name}.handler({message.offset})")
        self.got.append(message)
        return self.factory.handle(self, message)

    def close(self, reason: CloseReason) -> Any:
        self.factory.out.append(f"{self.name}.close({reason})")
        return self.factory.closing(self, reason)


class Factory:
    """Makes `Inner` lambdas; the latest of each document is kept."""

    def __init__(self, out: list[str]) -> None:
        self.out = out
        self.lambdas: dict[str, Inner] = {}
        self.handle: Handler = lambda _, __: None
        self.closing: Callable[[Inner, CloseReason], Any] = lambda _, __: None
        self.creating: Callable[[Inner], Any] = lambda _: None

    async def create(self, config: Mapping[str, Any], context: IContext) -> Inner:
        inner = Inner(self, cast("IDocumentContext", context), config)
        waiting = self.creating(inner)
        if waiting is not None:
            await waiting
        self.out.append(f"create({config['tenantId']}/{config['documentId']})")
        self.lambdas[inner.name] = inner
        return inner

    async def dispose(self) -> None:
        self.out.append("dispose")


class World:
    """A router between a `Recorder` and a `Factory`; all three write to ``out``."""

    def __init__(self, key: KeyFunction = by_boxcar, **options: Any) -> None:
        self.out: list[str] = []
        self.partition = Recorder(self.out)
        self.factory = Factory(self.out)
        self.clock = Clock()
        # The real timer stays out of the way: `tick` looks for idle documents when the clock says so.
        self.interval = options.pop("activity_check_interval", 60.0)
        self.options = Options(**{"activity_check_interval": 1e6, **options})
        self.key = key
        self.router = self._router()

    def _router(self) -> Router:
        return Router(self.partition, self.factory, {"color": "red"}, self.key, self.options, self.clock)

    def begin_again(self) -> None:
        """Begin the next lease of the partition, after the checkpoint."""
        done, self.partition = self.partition.done, Recorder(self.out)
        self.partition.done = done
        self.router = self._router()

    def put(self, offset: int, document: str, text: str | None = None) -> None:
        """Route one boxcar, or ``text``."""
        self.router.handler(message(offset, boxcar(document) if text is None else text))

    async def feed(self, offset: int, document: str) -> None:
        """Route one boxcar and let everything happen that does."""
        self.put(offset, document)
        await settle()

    def context(self, document: str) -> IDocumentContext:
        """Of the document's latest lambda."""
        return self.factory.lambdas[document].context

    async def tick(self, seconds: float) -> None:
        """Move the clock, and look for idle documents at each interval."""
        end = self.clock.now + seconds
        while self.clock.now + self.interval <= end:
            self.clock.now += self.interval
            self.router.close_idle()
            await settle()
        self.clock.now = end

    def take(self) -> list[str]:
        """What was written down since the last time."""
        out = list(self.out)
        self.out.clear()
        return out


async def settle() -> None:
    """Let all tasks run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def boxcar(document: str, tenant: str = "t") -> str:
    """A boxcar as text."""
    return json.dumps({"type": "boxcar", "tenantId": tenant, "documentId": document, "contents": []})


def message(offset: int, value: str | bytes | None, key: bytes | None = None) -> Message:
    """A message of the test's partition."""
    data = value.encode() if isinstance(value, str) else value
    return Message("x", 0, offset, 0, CREATE_TIME, key, data, ())
