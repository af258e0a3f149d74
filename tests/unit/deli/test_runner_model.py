"""deli's lambda: a model of it under random failures."""

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from examples.deli import Config, Deltas, Document, Record, Sequencer, State, parse_boxcar
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing import Sent
from tests.unit import played_time
from tests.unit.deli.shared import NOW, Json, join, leave, op
from tests.unit.deli.world import (
    FAILED,
    WRITTEN,
    World,
    hurry,
)

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


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 2**32), st.booleans(), st.booleans())
def test_the_same_numbers_after_whatever_happens(
    steps: list[str], seed: int, heuristics: bool, batches: bool
) -> None:
    config: dict[str, Any] = {"maintainBatches": batches}
    if heuristics:
        config["checkpointHeuristics"] = {"enable": True, "maxMessages": 4}
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        played_time.run(_play(steps, seed, config))
