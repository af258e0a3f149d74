"""deli's lambda on its partition: a sidecar and a Kafka in memory, or a document's context alone."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any, Self, cast

import pytest

from examples.deli import Config, runner
from examples.deli.runner import Deli
from examples.deli.settings import Topics
from examples.deli.store import States, latest
from sdk_python import CREATE_TIME, IContext, Message
from sdk_python.document_router import DocumentRouter, IDocumentContext, _document
from sdk_python.document_router._keys import by_boxcar
from sdk_python.document_router._options import Options
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing import FakeSidecar, Sent
from tests.unit.deli.shared import NOW, Json

RAW, DELTAS, STATE, SIGNALS = "rawdeltas", "deltas", "deli-state", "signals"

WRITTEN, FAILED = pb.PRODUCE_OUTCOME_WRITTEN, pb.PRODUCE_OUTCOME_FAILED

TOO_LARGE, NOT_ALLOWED = pb.PRODUCE_OUTCOME_TOO_LARGE, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before trying again."""
    monkeypatch.setattr(_document, "MIN_BACKOFF_S", 0.001)
    monkeypatch.setattr(_document, "MAX_BACKOFF_S", 0.002)
    monkeypatch.setattr(runner, "RETRY", 0.001)


class World(FakeSidecar):
    """A partition of rawdeltas with deli on it, and what is in Kafka."""

    def __init__(self, signals: bool = False, **config: Any) -> None:
        self.seconds = 0.0
        """The router's clock."""
        router = DocumentRouter(cast("Any", self), by_boxcar, Options(corrupt_documents="skip"), lambda: self.seconds)
        super().__init__(router, topic=RAW, partition=0, drain_timeout=2.0)
        self.topics = Topics(signals=SIGNALS if signals else None)
        self.config = Config.from_settings(config)
        self.now = NOW
        self.written: list[Sent] = []
        """All topics' records, in the order in which they came to be there."""
        self.delis: list[Deli] = []
        self.of_leases: dict[str, States] = {}
        self.fate: Any = lambda _: WRITTEN
        self.gate: asyncio.Event | None = None
        """Calls wait until it is set."""
        self.faults: list[str] = []
        self.late: list[Sent] = []
        """Records of owners that are gone, still on their way."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    # -- the plugin, its factory -------------------------------------------------------------------------------

    async def create(self, _: Mapping[str, Any], context: IContext | None = None) -> Any:
        """Both: the plugin is its own factory."""
        if context is None:
            return self
        if context.lease not in self.of_leases:
            self.of_leases[context.lease] = self.stored()
        states = self.of_leases[context.lease]
        self.delis.append(Deli(cast("IDocumentContext", context), self.config, self.topics, states, lambda: self.now))
        return self.delis[-1]

    async def dispose(self) -> None:
        """Nothing."""

    # -- Kafka ---------------------------------------------------------------------------------------------------

    def stored(self) -> States:
        """What a reader finds in the topic of the states."""
        return latest((one.key or b"", one.value) for one in self.written if one.topic == STATE)

    def compact(self) -> None:
        """What Kafka does with that topic: the last record of each key stays."""
        last = {one.key: index for index, one in enumerate(self.written) if one.topic == STATE}
        kept = [
            one
            for index, one in enumerate(self.written)
            if one.topic != STATE or (last[one.key] == index and one.value is not None)
        ]
        self.written = kept

    async def _on_produce(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        before, self.sent = self.sent, []
        await super()._on_produce(request)
        sent, self.sent = self.sent, before
        lease = self._leases
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.late += sent  # the sidecar has them, and nobody will hear what became of them
                raise
        assert lease == self._leases
        response = pb.ProduceResponse()
        for one in sent:
            outcome = self.fate(one)
            response.outcomes.append(outcome)
            response.errors.append("" if outcome == WRITTEN else "no")
            response.partitions.append(0)
            response.offsets.append(0)
            if outcome == WRITTEN:
                self.write(one)
        return response

    def write(self, record: Sent) -> None:
        """It is in Kafka; what is for rawdeltas comes back."""
        if record.topic == STATE and record.value is not None:
            document = json.loads(record.key or b"")[1]
            last = json.loads(record.value).get("sequenceNumber", 0)
            if not {*range(1, last + 1)} <= {*self.numbers(document)}:
                self.faults.append(f"state of {last} before its numbers are told: {self.numbers(document)}")
        self.written.append(record)
        if record.topic == RAW:
            self.append(record.value)

    def append(self, value: bytes | None) -> None:
        """A record of rawdeltas that the lambda gets when it can."""
        self._log.append(Message(RAW, 0, self._next_offset(), NOW, CREATE_TIME, None, value, ()))
        self._deliver()

    def close_idle(self) -> None:
        """Long after the last record."""
        self.seconds += 10_000
        if self.delis:
            cast("Any", self.delis[-1]._context)._owner._router.close_idle()

    def put(self, document: str, *entries: Json) -> None:
        """A boxcar."""
        self.append(value_of(document, *entries))

    async def settled(self) -> None:
        """Until nothing moves any more, or for long where something is tried again for ever."""
        quiet = 0
        for _ in range(50):
            before = (len(self.written), self.checkpoint)
            await self.handled()
            await asyncio.sleep(0.004)
            # On a busy machine the time is over before the loop has had its turns.
            for _ in range(20):
                await asyncio.sleep(0)
            quiet = quiet + 1 if before == (len(self.written), self.checkpoint) else 0
            if quiet == 3:
                break
        await self.handled()

    # -- what came out -------------------------------------------------------------------------------------------

    def messages(self, document: str = "d1", topic: str = DELTAS) -> Iterator[Json]:
        """The messages for one document, in order."""
        for one in self.written:
            if one.topic == topic:
                boxcar = json.loads(one.value or b"")
                if boxcar["documentId"] == document:
                    yield from boxcar["contents"]

    def numbers(self, document: str = "d1") -> list[int]:
        """The sequence numbers that came out, in order."""
        return [
            one["operation"]["sequenceNumber"]
            for one in self.messages(document)
            if one["type"] == "SequencedOperation"
        ]

    def offset_of(self, document: str = "d1") -> int:
        """How far its stored state is."""
        stored = self.stored().get(("t1", document))
        return -1 if stored is None else stored.offset


def value_of(document: str, *entries: Json) -> bytes:
    """A boxcar as bytes."""
    contents = [{**entry, "documentId": document} for entry in entries]
    return json.dumps({"type": "boxcar", "contents": contents, "documentId": document, "tenantId": "t1"}).encode()


class Context:
    """A document's context whose outcomes a test gives."""

    topic, partition, lease, tenant_id, document_id = RAW, 0, "lease", "t1", "d1"

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes | None, asyncio.Future[Any]]] = []
        self.errors: list[tuple[str, bool, int | None]] = []
        self.checkpoints: list[int] = []
        self.refuse: Exception | None = None

    def message(self, offset: int, value: bytes | None) -> Any:
        """A record."""
        return Message(RAW, 0, offset, NOW, CREATE_TIME, None, value, ())

    def produce(self, topic: str, value: bytes | None, *_: Any, **__: Any) -> Any:
        """See `IContext`."""
        if self.refuse is not None:
            raise self.refuse
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.calls.append((topic, value, outcome))
        return outcome

    def confirm(self, number: int) -> None:
        """A record is written."""
        self.calls[number][2].set_result(None)

    def error(self, error: str, restart: bool, offset: int | None = None) -> None:
        """See `IContext`."""
        self.errors.append((error, restart, offset))

    def checkpoint(self, offset: int) -> None:
        """See `IContext`."""
        self.checkpoints.append(offset)
