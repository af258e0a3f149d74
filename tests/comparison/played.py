"""Plays a session on our deli; the answers have the format of `original/deli.js`."""

import json
from collections.abc import Iterator
from typing import Any

from examples.deli import (
    Checkpoint,
    Config,
    Deltas,
    Document,
    Event,
    Malformed,
    Output,
    RawDeltas,
    Record,
    Saves,
    SaveState,
    Sequencer,
    Signal,
    State,
    Tick,
    parse_boxcar,
)
from examples.deli.javascript import encode

Json = dict[str, Any]
Step = list[Any]
Answer = list[Json]

TENANT, DOCUMENT = "t1", "d1"

_OP_EVENTS = ("idle", "maxOps", "maxTime", "updatedDurableSequenceNumber")

EXACT = 2**53
"""JavaScript has no exact integers beyond it."""


def comparable(value: Any) -> Any:
    """A value as it comes through JSON, with JavaScript's numbers."""
    return json.loads(encode(value), parse_int=_number)


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if -EXACT <= number <= EXACT else float(digits)


class Player:
    """One document: its records, the messages that it sends to itself, its stored state, and the time."""

    def __init__(self, config: Json, signals: bool, state: Json, now: int) -> None:
        self.config = Config.from_settings({**config, "signals": signals})
        self.now = now
        self.loop: list[Json] = []
        self.stored = state
        self.malformed: Malformed | None = None
        """The error that ended the session, if any."""
        self._log: list[tuple[int, bytes]] = []
        self._offset = -1
        self._committed = -1
        self._hangs = False
        self._hanging = False
        self.opening = self._open()
        """The answer to the start."""

    @property
    def state(self) -> State:
        """The current state."""
        return self.sequencer.session.state

    def play(self, step: Step) -> Answer:
        """Play a step and return its answer. If the step fails, `malformed` has the error."""
        try:
            return self._played(*step)
        except Malformed as error:
            self.malformed = error
            return [{"kind": "thrown", "error": str(error)}]

    def _played(self, what: str, argument: Any = None, gap: int = 0) -> Answer:
        answer: Answer = []
        match what:
            case "put":
                answer = self._put(argument, gap)
            case "loop" if self.loop:
                answer = self._put([self.loop.pop(0)])
            case "again" if argument < len(self._log):
                answer = self._handle(*self._log[-1 - argument])
            case "advance":
                answer = self._advance(self.now + argument)
            case "hang":
                self._hangs = True
            case "saved" | "unsaved":
                self._hangs = argument
                answer = self._written(what == "saved") if self._hanging else []
            case "restart":
                answer = self._restart()
        return answer

    def _open(self) -> Answer:
        state = State.from_json(self.stored)
        self.saves = Saves(safe=state.log_offset)
        self.sequencer = Sequencer(Document(TENANT, DOCUMENT), state, self.config, self.now)
        # The published deli has no listeners yet while it is created.
        return [one for one in self._show(self.sequencer.outputs) if not one["kind"].startswith("event:")]

    def _put(self, contents: list[Any], gap: int = 0) -> Answer:
        self._offset += 1 + gap
        boxcar = {"contents": contents, "documentId": DOCUMENT, "tenantId": TENANT, "type": "boxcar"}
        self._log.append((self._offset, json.dumps(boxcar).encode()))
        return self._handle(*self._log[-1])

    def _handle(self, offset: int, value: bytes) -> Answer:
        return self._show(self.sequencer.feed(Record(offset, parse_boxcar(value)), self.now))

    def _advance(self, end: int) -> Answer:
        answer: Answer = []
        while (deadline := self.sequencer.next_deadline) is not None and deadline <= end:
            self.now = max(deadline, self.now)
            answer += self._show(self.sequencer.feed(Tick(), self.now))
        self.now = end
        return answer

    def _restart(self) -> Answer:
        self._hangs = self._hanging = False
        answer = self._open()
        for offset, value in self._log:
            if offset > self._committed:
                answer += self._handle(offset, value)
        return answer

    # -- what comes out --------------------------------------------------------------------------------------------

    def _show(self, outputs: list[Output]) -> Answer:
        return [shown for output in outputs for shown in self._show_one(output)]

    def _show_one(self, output: Output) -> Iterator[Json]:
        match output:
            case Deltas(messages):
                yield {"kind": "deltas", "msgs": comparable(messages)}
            case RawDeltas(message):
                self.loop.append(comparable(message))
                yield {"kind": "rawdeltas", "msgs": [self.loop[-1]]}
            case Signal(message):
                yield {"kind": "signals", "msgs": [comparable(message)]}
            case Event(name, detail):
                yield _event(name, detail)
            case Checkpoint(offset):
                self.saves, told = self.saves.told(offset)
                yield from self._told(told)
            case SaveState():
                begins = self.saves.write is None
                self.saves = self.saves.ask(output)
                if begins:
                    yield from self._write()
            case _:
                raise AssertionError(output)

    def _write(self) -> Iterator[Json]:
        save = self.saves.write
        assert save is not None
        state = comparable(save.state.to_json(save.time))
        yield {"kind": "stateCheckpoint", "reason": int(save.reason), "state": state}
        self._hanging = self._hangs
        if not self._hanging:
            yield from self._written(well=True)

    def _written(self, well: bool) -> Answer:
        self._hanging = False
        save = self.saves.write
        assert save is not None
        told = None
        if well:
            self.stored = comparable(save.state.to_json(save.time))
            self.saves, told = self.saves.saved()
        else:
            self.saves = self.saves.failed()
        return [*self._told(told), *(self._write() if self.saves.write is not None else ())]

    def _told(self, checkpoint: Checkpoint | None) -> Answer:
        if checkpoint is None:
            return []
        self._committed = max(self._committed, checkpoint.offset)
        return [{"kind": "kafkaCheckpoint", "offset": checkpoint.offset, "stored": self.stored["logOffset"]}]


def _event(name: str, detail: Any) -> Json:
    match name:
        case "dsn":
            return {"kind": "event:updatedDurableSequenceNumber", "detail": detail}
        case "opEvent":
            kind, number, count = detail
            return {"kind": "event:opEvent", "detail": [_OP_EVENTS.index(kind), number, count]}
        case "updatedNackMessages":
            return {"kind": f"event:{name}", "detail": [detail[0], detail[1] is not None]}
        case "extendClients":
            return {"kind": f"event:{name}", "detail": [*detail]}
    return {"kind": f"event:{name}"}
