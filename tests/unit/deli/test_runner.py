"""deli's lambda: what it does with the outcomes of what it produced, and a model of it under random failures."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Self, cast

import pytest
from hypothesis import given, settings, strategies as st

from examples.deli import Config, Deltas, Document, Record, Sequencer, State, parse_boxcar, runner
from examples.deli.runner import Deli
from examples.deli.settings import Topics
from examples.deli.store import States, latest
from sdk_python import CREATE_TIME, CloseReason, IContext, Message, ProduceError
from sdk_python.document_router import CorruptDocument, DocumentRouter, IDocumentContext, _document
from sdk_python.document_router._keys import by_boxcar
from sdk_python.document_router._options import Options
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing import FakeSidecar, Sent
from tests.unit.deli.shared import NOW, Json, join, leave, op

RAW, DELTAS, STATE, SIGNALS = "rawdeltas", "deltas", "deli-state", "signals"
WRITTEN, FAILED = pb.PRODUCE_OUTCOME_WRITTEN, pb.PRODUCE_OUTCOME_FAILED
TOO_LARGE, NOT_ALLOWED = pb.PRODUCE_OUTCOME_TOO_LARGE, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before trying again."""
    monkeypatch.setattr(_document, "FIRST_BACKOFF", 0.001)
    monkeypatch.setattr(_document, "MOST_BACKOFF", 0.002)
    monkeypatch.setattr(runner, "RETRY", 0.001)


class World(FakeSidecar):
    """A partition of rawdeltas with deli on it, and what is in Kafka."""

    def __init__(self, signals: bool = False, **config: Any) -> None:
        self.seconds = 0.0
        """The router's clock."""
        router = DocumentRouter(cast("Any", self), by_boxcar, Options(), lambda: self.seconds)
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
        """Until nothing moves any more."""
        for _ in range(3):
            await self.handled()
            await asyncio.sleep(0.004)
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


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world
        assert world.faults == []


# -- outcomes and saves ------------------------------------------------------------------------------------------


async def test_a_state_is_stored_when_its_numbers_are(world: World) -> None:
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    await asyncio.sleep(0.01)
    assert world.written == []
    world.gate.set()
    await world.settled()
    assert world.numbers() == [1, 2]
    assert world.offset_of() == 1
    assert world.checkpoint == 0  # a document with clients keeps one back


async def test_a_save_that_waited_for_another_waits_for_its_own_numbers() -> None:
    """One at a time: while a state is on its way, numbers are given that it has not, and the next one has."""
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    context.confirm(0)
    await asyncio.sleep(0)
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    assert [topic for topic, _, _ in context.calls] == [DELTAS, STATE, DELTAS]
    context.confirm(1)
    await asyncio.sleep(0)
    assert len(context.calls) == 3
    context.confirm(2)
    await asyncio.sleep(0)
    assert [topic for topic, _, _ in context.calls] == [DELTAS, STATE, DELTAS, STATE]
    context.confirm(3)
    await asyncio.sleep(0)
    assert context.checkpoints == [0]


async def test_a_failed_record_in_the_middle(world: World) -> None:
    """Later ones are written; the state is not stored, and all comes again with the same numbers."""
    failing = ["2"]

    def fate(sent: Sent) -> int:
        if sent.topic == DELTAS and b'"sequenceNumber":2,' in (sent.value or b"") and failing:
            failing.clear()
            return FAILED
        if sent.topic == STATE and json.loads(sent.value or b"")["sequenceNumber"] > 1:
            assert 2 in world.numbers(), "a state with a number that nobody was told"
        return WRITTEN

    world.fate = fate
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3]
    assert world.offset_of() == 2
    assert [error.action for error in world.errors] == ["report"]


async def test_a_topic_that_is_not_allowed_fails_behind_later_records_of_another() -> None:
    """The SDK sends each topic's records by themselves then: the newest outcome says nothing of the earlier ones."""
    async with World(signals=True, enableWriteClientSignals=True) as world:

        def fate(sent: Sent) -> int:
            return NOT_ALLOWED if sent.topic == DELTAS else WRITTEN

        world.fate = fate
        world.put("d1", join("A"))
        world.put("d1", join("B"))
        await world.settled()
        assert [one for one in world.written if one.topic == STATE] == []
        assert world.checkpoint is None


async def test_outcomes_that_come_late_and_out_of_order() -> None:
    """A save waits for every record before it, and not for the last one only."""
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    assert [topic for topic, _, _ in context.calls] == [DELTAS, DELTAS]
    context.confirm(1)
    await asyncio.sleep(0)
    assert len(context.calls) == 2
    context.calls[0][2].set_exception(ProduceError("no", DELTAS, "failed"))
    await asyncio.sleep(0)
    assert len(context.calls) == 2
    assert context.errors == [("not written to deltas (failed): no", True, None)]


async def test_an_earlier_failure_that_is_known_in_the_same_moment() -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    context.confirm(1)
    context.calls[0][2].set_exception(ProduceError("no", DELTAS, "failed"))
    await asyncio.sleep(0)
    assert len(context.calls) == 2, "no state"


async def test_a_save_that_failed_is_tried_again(world: World) -> None:
    """Else the checkpoint would stand still until the document's next record."""
    failing = [1, 2]

    def fate(sent: Sent) -> int:
        if sent.topic == STATE and failing:
            failing.pop()
            return FAILED
        return WRITTEN

    world.fate = fate
    world.put("d1", join("A"), leave("A"))
    await world.settled()
    assert not failing
    assert world.checkpoint == 1
    assert world.offset_of() == 1  # the noClient that it sent itself
    assert world.numbers() == [1, 2, 3]


async def test_close_waits_for_the_save_and_nothing_comes_after_it(world: World) -> None:
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    await asyncio.sleep(0.01)
    stopping = asyncio.create_task(world.revoke(2.0))
    await asyncio.sleep(0.01)
    world.gate.set()
    await stopping
    assert world.offset_of() == 1
    assert world.delis[0]._timer is None
    before = len(world.written)
    world.now += 10**9
    world.delis[0]._tick()
    await asyncio.sleep(0.01)
    assert len(world.written) == before
    assert world.checkpoint == 0


async def test_close_does_not_wait_for_a_save_that_will_not_be(world: World) -> None:
    world.gate = asyncio.Event()
    world.fate = lambda sent: FAILED if sent.topic == DELTAS else WRITTEN
    world.put("d1", join("A"))
    await asyncio.sleep(0.01)
    closing = world.delis[0].close(CloseReason.IDLE)
    assert closing is not None
    world.gate.set()
    await asyncio.wait_for(closing, 1.0)
    assert world.offset_of() == -1


async def test_closing_a_document_at_rest_needs_no_task(world: World) -> None:
    world.put("d1", join("A"))
    await world.settled()
    assert world.delis[0].close(CloseReason.IDLE) is None


async def test_a_lambda_that_is_made_again_while_the_old_one_saves(world: World) -> None:
    """The old one's state comes to be stored behind its back; what comes again has the same numbers."""
    world.put("d1", join("A"))
    await world.settled()
    world.gate = asyncio.Event()
    world.put("d1", op("A", 1, 1))
    await asyncio.sleep(0.005)
    world.delis[0]._context.error("a test", restart=True)
    await asyncio.sleep(0.02)
    world.put("d1", op("A", 2, 1))
    await asyncio.sleep(0.02)
    assert len(world.delis) == 2
    world.gate.set()
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3]
    assert world.offset_of() == 2
    assert world.checkpoint == 1


async def test_a_document_that_was_closed_at_rest(world: World) -> None:
    """In the same lease: its state is the one that was stored last, and not the one that was read."""
    for client in "AB":
        world.put("d1", join(client), op(client, 1, -1), leave(client))
        await world.settled()
        world.close_idle()
        await world.settled()
    assert len(world.delis) == 2
    assert world.numbers() == [*range(1, 9)]


async def test_a_stale_lease_is_no_error_and_ends_the_sequencer() -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    context.calls[0][2].set_exception(ProduceError("gone", DELTAS, "stale_lease"))
    await asyncio.sleep(0)
    deli.handler(context.message(1, value_of("d1", op("A", 1, 1))))
    assert len(context.calls) == 1
    assert context.errors == []
    assert deli._timer is None


async def test_an_old_state_that_comes_late(world: World) -> None:
    """Of a sidecar that was cut off: compaction must not keep it in the place of a newer one."""
    world.put("d1", join("A"))
    await world.settled()
    old = next(one for one in world.written if one.topic == STATE)
    await world.rebalance()
    world.put("d1", op("A", 1, 1))
    await world.settled()
    world.written.append(old)
    world.compact()
    assert world.offset_of() == 1
    await world.rebalance()
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert sorted(set(world.numbers())) == [1, 2, 3]
    world.compact()
    states = [one for one in world.written if one.topic == STATE]
    assert len(states) == 1, "the others are removed"


# -- what cannot be done ------------------------------------------------------------------------------------------


async def test_a_malformed_record_waits_for_the_state_before_it(world: World) -> None:
    """The router counts all records of a corrupt document as done: its state has to be as far."""
    world.gate = asyncio.Event()
    world.put("d1", join("A"))
    world.put("d1", op("A", 1, 1))
    world.append(b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}')
    world.put("d1", op("A", 2, 1))
    await asyncio.sleep(0.01)
    assert world.checkpoint is None
    world.gate.set()
    await world.settled()
    assert world.offset_of() == 1
    assert world.checkpoint == 3
    assert [error.offset for error in world.errors] == [2]
    await world.rebalance()
    world.put("d1", op("A", 2, 1))
    await world.settled()
    assert world.numbers() == [1, 2, 3]


async def test_a_malformed_record_with_the_state_not_saved_for_long() -> None:
    async with World(checkpointHeuristics={"enable": True}) as world:
        world.put("d1", join("A"))
        world.put("d1", op("A", 1, 1))
        await world.settled()
        assert world.offset_of() == -1
        world.append(b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}')
        await world.settled()
        assert world.offset_of() == 1
        assert world.checkpoint == 2


async def test_a_malformed_record_whose_state_before_cannot_be_saved(world: World) -> None:
    """It is met again when the state can be."""
    world.fate = lambda sent: FAILED if sent.topic == STATE else WRITTEN
    world.put("d1", join("A"))
    world.append(b'{"type":"boxcar","tenantId":"t1","documentId":"d1","contents":7}')
    await world.settled()
    assert world.checkpoint is None
    world.fate = lambda _: WRITTEN
    await world.settled()
    assert world.checkpoint == 1
    assert world.offset_of() == 0
    assert "contents" in world.errors[-1].message


async def test_a_batch_that_is_too_large_ends_its_document_for_good() -> None:
    """Numbers of later records may be out by then, so nobody may give them again."""
    async with World(maintainBatches=True) as world:
        world.fate = lambda sent: TOO_LARGE if len(sent.value or b"") > 2000 else WRITTEN
        world.put("d1", join("A"))
        await world.settled()
        world.put("d1", op("A", 1, 1, contents="x" * 3000))
        world.put("d1", op("A", 2, 1))
        await world.settled()
        assert world.checkpoint == 2
        assert world.errors[-1].offset == 1
        await world.rebalance()
        world.put("d1", op("A", 3, 1))
        await world.settled()
        assert world.numbers() == [1, 3], "3 was on its way already"
        assert world.checkpoint == 3
        assert "given up for good at offset 1" in world.errors[-1].message


async def test_a_batch_that_is_too_large_and_cannot_be_given_up() -> None:
    async with World(maintainBatches=True) as world:
        world.fate = lambda sent: (
            FAILED if b"corrupt" in (sent.value or b"") else TOO_LARGE if sent.topic == DELTAS else WRITTEN
        )
        world.put("d1", join("A"))
        await world.settled()
        assert world.checkpoint is None
        assert not [error for error in world.errors if error.offset is not None]


@pytest.mark.parametrize("text", ['{"sequenceNumber":', "{}", '{"logOffset":1,"sequenceNumber":"x"}'])
async def test_a_stored_state_that_is_none(text: str) -> None:
    context = Context()
    states = latest([(json.dumps(["t1", "d1", "old"]).encode(), text.encode())])
    with pytest.raises(CorruptDocument, match="its stored state cannot be read"):
        Deli(cast("IDocumentContext", context), Config(), Topics(), states, lambda: NOW)


async def test_an_unreadable_state_does_not_make_an_older_one_count() -> None:
    key, other = (json.dumps(["t1", "d1", lease]).encode() for lease in "ab")
    assert latest([(key, b'{"logOffset":7}'), (other, b"?")])["t1", "d1"].text == "?"
    assert latest([(key, b'{"logOffset":7}'), (other, b"?"), (other, None)])["t1", "d1"].offset == 7
    assert latest([(key, b'{"logOffset":7}'), (key, None)]) == {}
    assert latest([(b"?", b"1"), (b"7", b"1"), (b"[1,2,3]", b"1")]) == {}


@pytest.mark.parametrize("name", ["\ud800", "\udfff!", 'a"b', "\0", "ü"])
async def test_odd_document_ids(world: World, name: str) -> None:
    world.put(name, join("A"))
    world.put(name, op("A", 1, 1))
    await world.settled()
    assert world.errors == []
    assert world.numbers(name) == [1, 2]
    await world.rebalance()
    world.put(name, op("A", 2, 1))
    await world.settled()
    assert sorted(set(world.numbers(name))) == [1, 2, 3]


async def test_numbers_beyond_all_doubles(world: World) -> None:
    """JavaScript reads 1e999 as Infinity and writes null; one client's message must not end the document."""
    world.put("d1", join("A"))
    world.append(value_of("d1", op("A", 1, 1, contents="X")).replace(b'"X"', b"[1e999, -1e999]"))
    await world.settled()
    assert world.errors == []
    assert [one["operation"]["contents"] for one in world.messages()][1] == [None, None]


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
async def test_what_is_no_json_though_python_takes_it(world: World, constant: bytes) -> None:
    world.put("d1", join("A"))
    world.append(value_of("d1", op("A", 1, 1, contents="X")).replace(b'"X"', constant))
    await world.settled()
    assert [error.offset for error in world.errors] == [1]


async def test_a_text_that_only_looks_so(world: World) -> None:
    world.put("d1", join("NaN"))
    world.put("d1", op("NaN", 1, 1, contents="Infinity"))
    await world.settled()
    assert world.numbers() == [1, 2]


@pytest.mark.parametrize("value", [None, b"", b"?", b"[]", b"1"])
async def test_values_that_are_no_boxcar(value: bytes | None) -> None:
    context = Context()
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    with pytest.raises(Exception, match=r"no JSON|no object"):
        deli.handler(context.message(0, value))
    assert context.calls == []


async def test_a_topic_with_a_name_that_none_has() -> None:
    """The SDK raises at once; that is a failed produce like any other, and no corrupt document."""
    context = Context()
    context.refuse = ValueError("a name has 1 to 249 characters")
    deli = Deli(cast("IDocumentContext", context), Config(), Topics(), {}, lambda: NOW)
    deli.handler(context.message(0, value_of("d1", join("A"))))
    await asyncio.sleep(0)
    assert context.errors == [("a name has 1 to 249 characters", True, None)]


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


# -- the model -----------------------------------------------------------------------------------------------------

NAMES = ("d1", "d2")
TRAFFIC = ["put", "put", "put", "boxcar", "tick", "late tick"]
KAFKA = ["hold", "let go", "settle", "breathe", "fail", "well", "zombie", "compact"]
OWNERS = ["crash", "rebalance", "stop and start", "restart document", "idle"]
STEPS = st.lists(st.sampled_from([*TRAFFIC, *KAFKA, *OWNERS]), max_size=45)


class Model(World):
    """Deli under random failures. Kafka's truth is the log and `written`."""

    def __init__(self, rng: random.Random, **config: Any) -> None:
        super().__init__(signals=True, enableWriteClientSignals=True, clientTimeout=40_000, **config)
        self.rng = rng
        self.failing = 0.0
        self.fate = self._fate
        self.clients: dict[str, dict[str, int]] = {name: {} for name in NAMES}
        self.joined = 0

    def _fate(self, _: Sent) -> int:
        return FAILED if self.rng.random() < self.failing else WRITTEN

    def _accept(self, entry: pb.CheckpointEntry) -> None:
        """No checkpoint beyond a state that is stored."""
        before = self.checkpoint
        super()._accept(entry)
        if self.checkpoint == before or self.checkpoint is None:
            return
        last = dict.fromkeys(NAMES, -1)
        for message in self._log[: self.checkpoint + 1]:
            last[json.loads(message.value or b"")["documentId"]] = message.offset
        for name in NAMES:
            if self.offset_of(name) < last[name]:
                self.faults.append(f"checkpoint {self.checkpoint} of {name} is beyond {self.offset_of(name)}")

    def _entry(self, name: str) -> Json:
        clients = self.clients[name]
        choice = self.rng.random()
        if not clients or choice < 0.15:
            self.joined += 1
            client = f"c{self.joined}"
            clients[client] = 0
            return join(client, timestamp=self.now)
        client = self.rng.choice([*clients])
        if choice < 0.3:
            del clients[client]
            return leave(client, timestamp=self.now)
        clients[client] += 1
        type_ = "noop" if choice < 0.45 else "op"
        return op(client, clients[client], self.rng.choice([-1, 1, 5, 10]), self.now, type=type_)

    async def play(self, step: str) -> None:
        """One step."""
        name = self.rng.choice(NAMES)
        match step:
            case "put" | "boxcar":
                self.put(name, *(self._entry(name) for _ in range(1 if step == "put" else 3)))
            case "tick" | "late tick":
                self.now += 300 if step == "tick" else 35_000
                for deli in self.delis:
                    deli._tick()
            case "hold":
                self.gate = asyncio.Event()
            case "let go":
                self._let_go()
            case "settle":
                self._let_go()
                await self.settled()
            case "breathe":
                await asyncio.sleep(0.001)
            case "fail" | "well":
                self.failing = 0.3 if step == "fail" else 0.0
            case _ if step in OWNERS:
                await self._change_owner(step)
            case "zombie" if self.late:
                self.write(self.late.pop(0))
            case "compact":
                self.compact()

    def _let_go(self) -> None:
        if self.gate is not None:
            self.gate.set()
        self.gate = None

    async def _change_owner(self, how: str) -> None:
        if how == "restart document":
            for deli in self.delis[-2:]:
                deli._context.error("a test", restart=True)
            return
        if how == "idle":
            self.close_idle()
            return
        if how == "crash":
            await self.restart()
            return
        # Who leaves in order may have to wait for Kafka, in vain perhaps.
        ending = asyncio.create_task(self.revoke(0.02) if how == "rebalance" else self.stop())
        await asyncio.sleep(0.002)
        if self.rng.random() < 0.7:
            self._let_go()
        await asyncio.sleep(0.03)
        self._let_go()
        await ending
        await self.assign()

    def check(self) -> None:
        """All that came out is what one process that never failed makes of the log."""
        assert self.faults == []
        assert self.checkpoints == sorted(self.checkpoints)
        for name in NAMES:
            sequencer = Sequencer(Document("t1", name), State(), self.sequencer_config(), NOW)
            wanted: list[Json] = []
            for message in self._log:
                boxcar = parse_boxcar(message.value or b"")
                if boxcar.document_id == name:
                    outputs = sequencer.feed(Record(message.offset, boxcar), NOW)
                    wanted += [one for output in outputs if isinstance(output, Deltas) for one in output.messages]
            operations = [timeless(one["operation"]) for one in wanted if one["type"] == "SequencedOperation"]
            by_number: dict[int, Json] = {}
            for one in self.messages(name):
                if one["type"] == "SequencedOperation":
                    operation = timeless(one["operation"])
                    known = by_number.setdefault(operation["sequenceNumber"], operation)
                    assert known == operation, "a number with two contents"
            assert [by_number.get(number) for number in range(1, len(operations) + 1)] == operations
            assert len(by_number) == len(operations)

    def sequencer_config(self) -> Config:
        """The same as deli's."""
        return Config.from_settings({"enableWriteClientSignals": True, "clientTimeout": 40_000})


def timeless(operation: Json) -> Json:
    """The operation as JSON, without the times that a replay changes (DL-59)."""
    operation = {**json.loads(json.dumps(operation)), "traces": None}
    if "additionalContent" in operation:
        content = json.loads(operation["additionalContent"])
        operation["additionalContent"] = {**content, "checkpointTimestamp": 0}
    return operation


async def _play(steps: list[str], seed: int, config: Mapping[str, Any]) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with Model(random.Random(seed), **config) as model:
        for step in steps:
            await model.play(step)
        model.failing = 0.0
        model._let_go()
        await model.settled()
        await model.rebalance()
        await model.settled()
        model.check()
        assert not [error for error in model.errors if error.action != "report"]
    assert not faults


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(0, 2**32), st.booleans(), st.booleans())
def test_the_same_numbers_after_whatever_happens(
    steps: list[str], seed: int, heuristics: bool, batches: bool
) -> None:
    config: dict[str, Any] = {"maintainBatches": batches}
    if heuristics:
        config["checkpointHeuristics"] = {"enable": True, "maxMessages": 4}
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        asyncio.run(_play(steps, seed, config))
