"""A random life of a lambda that produces, and what is seen of it: to compare the extension with the same in Python.

python -m tests.unit.sdk.produced_life LIVES
"""

import asyncio
import contextvars
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._native import producing
from sdk_python._outcome import Outcome
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python.protocol import lambda_pb2 as pb

STEPS = 60
ODD: list[Any] = [5, bytearray(b"x"), "\ud800", [], object]
NAME = contextvars.ContextVar("NAME", default=0)


class Text(str):
    __slots__ = ()


class Life:
    """What one lambda does, one step after another, and the sidecar's answers. ``seen`` has all that can be seen."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seen: list[object] = []
        self.outcomes = Outcomes(self._note("passed"), self._note("failure"))
        self.documents = [Outcomes(self._note(f"passed {name}"), self._note(f"failure {name}")) for name in "ab"]
        limits = Limits(produce_records=self.random.choice([3, 8, 1000]), produce_topics=2)
        self.producing = Producing(
            "L",
            self._call,
            self._note("full"),
            self.outcomes,
            limits,
            Counters(),
            lambda: self.seen.append("first"),
            keeps_sources=self.random.random() < 0.5,
        )
        self.kept: dict[int, Outcome[Any]] = {}
        self.tasks: list[asyncio.Task[object]] = []
        self.answers = asyncio.Semaphore(0)
        self.put = 0

    def _note(self, what: str) -> Callable[[object], None]:
        return lambda one: self.seen.append((what, str(one)))

    async def _call(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        self.seen.append(str(request))
        await self.answers.acquire()
        response = pb.ProduceResponse()
        for _ in request.values:
            failed = self.random.random() < 0.1
            response.outcomes.append(pb.PRODUCE_OUTCOME_FAILED if failed else pb.PRODUCE_OUTCOME_WRITTEN)
            response.partitions.append(1)
            response.offsets.append(self.random.randrange(100))
            response.errors.append("away" if failed else "")
        return response

    async def run(self) -> list[object]:
        steps = [self._produce] * 8 + [self._call_back, self._take_back, self._await, self._cancel, self._ask]
        steps += [self._drop, self._checkpoint, self.answers.release]
        for _ in range(STEPS):
            try:
                self.random.choice(steps)()
            except (Exception, asyncio.CancelledError) as error:  # of the outcome: nobody cancels this task
                self.seen.append(f"{type(error).__name__} {error}")
            self.seen.append([(one.put, one.under_way) for one in (self.outcomes, *self.documents)])
            if self.random.random() < 0.2:
                await asyncio.sleep(0)
        while self.producing._sender is not None:
            self.answers.release()
            await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        self.seen.append([repr(await task) for task in self.tasks])
        self.seen.append({number: self._state(outcome) for number, outcome in self.kept.items()})
        return self.seen

    def _produce(self) -> None:
        pick = self.random.choice
        value: Any = pick([b"", b"v" * self.random.randrange(200), "text", None, pick(ODD)])
        record: dict[str, Any] = {"topic": pick(["t", "t", "t", "u", "w", Text("t"), "", pick(ODD)]), "value": value}
        for name, some in {
            "key": [b"k", "ü", None, pick(ODD)],
            "headers": [(), (), [], [("h", b"1")], pick(ODD)],
            "partition": [None, None, 3, -1, True],
            "source": [None, 7, 2**70, -1, True, "x"],
        }.items():
            if self.random.random() < 0.3:
                record[name] = pick(some)
        if self.random.random() < 0.03:
            record["unknown"] = 1
        positional = list(record.values())[: 2 if self.random.random() < 0.5 else 0]
        named = dict([*record.items()][len(positional) :])
        before, self.producing.counting = self.producing.counting, pick([self.outcomes] * 3 + self.documents)
        try:
            self.kept[self.put] = self.producing.put(*positional, **named)
            self.put += 1
        finally:
            self.producing.counting = before

    def _one(self) -> tuple[int, Outcome[Any]]:
        if not self.kept:
            raise ValueError("no outcome is kept")
        number = self.random.choice([*self.kept])
        return number, self.kept[number]

    def _called(self, number: int, outcome: Outcome[Any]) -> None:
        self.seen.append(("called", number, NAME.get(), self._state(outcome)))
        if self.random.random() < 0.1:
            raise ValueError("of a callback")

    def _call_back(self) -> None:
        number, outcome = self._one()
        NAME.set(number)
        call = self.called = partial(self._called, number)
        if self.random.random() < 0.2:
            outcome.add_done_callback(call, context=contextvars.Context())
        else:
            outcome.add_done_callback(call)

    def _take_back(self) -> None:
        number, outcome = self._one()
        self.seen.append(("taken back", number, outcome.remove_done_callback(getattr(self, "called", print))))

    def _await(self) -> None:
        _, outcome = self._one()
        self.tasks.append(asyncio.ensure_future(self._result(outcome)))

    async def _result(self, outcome: Outcome[Any]) -> object:
        try:
            return await outcome
        except asyncio.CancelledError:
            return "cancelled"
        except Exception as error:
            return error

    def _cancel(self) -> None:
        number, outcome = self._one()
        self.seen.append(("cancel", number, outcome.cancel()))

    def _ask(self) -> None:
        number, outcome = self._one()
        self.seen.append((number, self._state(outcome), str(outcome.result())))

    def _drop(self) -> None:
        self.kept.pop(self._one()[0])

    def _checkpoint(self) -> None:
        self.seen.append(("admitted", self.put, self.outcomes.admits(self.put)))

    @staticmethod
    def _state(outcome: Outcome[Any]) -> object:
        if not outcome.done() or outcome.cancelled():
            return outcome.done(), outcome.cancelled()
        return True, str(outcome.exception()), outcome.get_loop() is asyncio.get_running_loop()


async def main(lives: int) -> None:
    """Lead the lives, and print what is seen of each in a line."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, about: print("told", about["message"][:22], about["exception"]))
    for seed in range(lives):
        print(seed, await Life(seed).run())


if __name__ == "__main__":
    print(producing.__name__)
    asyncio.run(main(int(sys.argv[1])))
