"""A whole run: start everything, carry out the schedule, heal, drain, store Kafka's data, check."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException

from tests.chaos import checker, folder as folders
from tests.chaos.facts import Breach
from tests.chaos.journal import Journal
from tests.chaos.operating import Operator
from tests.chaos.schedule import PARTITIONS, Schedule, Step
from tests.chaos.traffic import Traffic
from tests.chaos.world import GROUP, TOPIC, Options, World, group_state
from tests.integration.checks import caught_up
from tests.servers import topics

Say = Callable[[str], None]
Tick = Callable[[World], None]
DRAIN_TIMEOUT_S = 120.0
"""Seconds after the last fault within which everything must be handled and committed; back-offs take up to 30 s."""
PROGRESS_INTERVAL_S = 5.0
KEYS = 100
"""Of the records, where partitions have lanes."""
_TICK_S = 0.1


@dataclass
class Outcome:
    """The outcome of a run."""

    breaches: list[Breach]
    numbers: dict[str, int | float] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)


class Handled:
    """Counts the different records that the lambdas have handled so far. Reads only new lines of the histories."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "history"
        self._read: dict[Path, int] = {}
        self._records: set[tuple[int, int]] = set()

    def count(self) -> int:
        """Read the new lines and return the count."""
        for path in self._folder.glob("lambda-*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                event = json.loads(line)
                if event["kind"] == "handled":
                    self._records.add((event["partition"], event["offset"]))
        return len(self._records)


class Run:
    """One run in its folder, which must be empty. `go` does everything; `close` ends all processes in any case."""

    def __init__(self, folder: Path, schedule: Schedule, options: Options, rate: float, say: Say) -> None:
        self.schedule = schedule
        self.options = options
        self.folder = folder
        self._say = say
        (folder / "history").mkdir(parents=True)
        described = {"seed": schedule.seed, "options": asdict(options), "rate": rate}
        described |= {"lambdas": schedule.lambdas, "steps": [asdict(step) for step in schedule.steps]}
        (folder / "run.json").write_text(json.dumps(described, indent=1))
        self.journal = Journal(folder / "history" / "runner.jsonl")
        self.world = World(folder, options, self.journal)
        self.operator = Operator(self.world, self.journal, schedule.seed)
        self.traffic: Traffic | None = None
        self._rate = rate
        self._handled = Handled(folder)
        self._done: Counter[str] = Counter()
        self._said = 0.0
        self._began = time.monotonic()

    # --- the whole --------------------------------------------------------------------------------------------

    def go(self, every_tick: Tick = lambda _: None, until: float = 0.0) -> Outcome:
        """Do the run and check it.

        Args:
            every_tick: called ten times a second while faults are made.
            until: seconds that the faults last at least.
        """
        self._build()
        self._carry_out(every_tick, until)
        drained = self._settle()
        self._write_down(drained)
        self.world.kafka.stop()
        self._say("checking ...")
        facts = folders.load(self.folder)
        breaches = checker.check(facts)
        numbers = {
            "seconds": round(time.monotonic() - self._began, 1),
            "records": sum(map(len, facts.records.values())),
            "handled": len(facts.handled),
            "leases": len(facts.leases),
            "with a state": sum(bool(lease.state) for lease in facts.leases),
            "commits": len(facts.commits),
            "generations": len(facts.generations),
            "resumes": self.operator.resumes,
            "seeks": sum(seek.done for seek in facts.seeks),
            "dead letters": len(facts.dead_letters),
        }
        return Outcome(breaches, numbers, self._done)

    def close(self) -> None:
        """End every process and thread."""
        self.operator.stop()
        if self.traffic is not None:
            with suppress(Exception):
                self.traffic.stop(0.0)
        self.world.close()

    def _build(self) -> None:
        self._say("starting Kafka ...")
        self.world.start_broker()
        for sidecar in sorted({slot.partition("/")[0] for slot in self.schedule.lambdas}):
            self.world.do("start", sidecar)
        for slot in self.schedule.lambdas:
            self.world.do("start", slot)
        keys = KEYS if self.options.lanes > 1 else 0
        self.traffic = Traffic(self.world.kafka.address, self.folder, PARTITIONS, self._rate, keys)
        self.traffic.start()
        self.operator.start()
        self._wait(lambda: self._handled.count() > 0, 60.0, "the first record to be handled")

    # --- the faults -------------------------------------------------------------------------------------------

    def _carry_out(self, every_tick: Tick, until: float) -> None:
        """Carry out all steps in order. A late step delays those after it, so that the pauses stay the same."""

        def wait(due: float) -> None:
            while time.monotonic() < due:
                time.sleep(min(_TICK_S, max(0.0, due - time.monotonic())))
                every_tick(self.world)
                self._look()

        zero = began = time.monotonic()
        for step in self.schedule.steps:
            wait(zero + step.at)
            zero = max(zero, time.monotonic() - step.at)
            self._do(step)
        wait(began + until)

    def _do(self, step: Step) -> None:
        assert self.traffic is not None
        self.journal.write("step", verb=step.verb, target=step.target, fault=step.fault, what=step.kind)
        if step.verb in ("raise", "restart"):
            attempts = step.amount
            poison = step.verb == "raise" and self.options.on_critical == "dead-letter"
            wish = {"fail": step.verb} if poison else {"fail": step.verb, "attempts": attempts}
            self.traffic.ask(int(step.target), **wish)
        elif step.verb == "seek":
            self.operator.seek(int(step.target), step.amount)
        elif step.verb == "grow":
            if self.world.grow(step.amount):
                self.traffic.grow(step.amount)
        else:
            self.world.do(step.verb, step.target)
        if sum(self._done.values()) < step.fault:
            self._done[step.kind] += 1

    def _look(self) -> None:
        """Restart crashed processes and report progress."""
        for slot in self.world.look():
            self._say(f"ended by itself: {slot}")
            self.world.do("start", slot)
        now = time.monotonic()
        if now - self._said >= PROGRESS_INTERVAL_S:
            self._said = now
            self.journal.write("clock")
            assert self.traffic is not None
            produced, handled = self.traffic.acknowledged, self._handled.count()
            self._say(
                f"{now - self._began:5.0f} s  faults {sum(self._done.values())}/{self.schedule.faults}  "
                f"produced {produced}  handled {handled}  lag {produced - handled}"
            )

    # --- peace ------------------------------------------------------------------------------------------------

    def _settle(self) -> bool:
        """Thaw everything, stop the traffic, and wait until all is committed. Returns whether that was reached."""
        self._say("all faults are over: waiting until everything is handled and committed ...")
        assert self.traffic is not None
        self.world.heal()
        for sidecar in sorted({slot.partition("/")[0] for slot in self.schedule.lambdas}):
            self.world.do("start", sidecar)
            if not any(slot.startswith(f"{sidecar}/") for slot in self.world.running):
                self.world.do("start", f"{sidecar}/1")
        left = self.traffic.stop()
        if left:
            raise RuntimeError(f"{left} records got no answer from the broker")
        address = self.world.kafka.address

        def drained() -> bool:
            try:
                return caught_up(topics.committed(address, GROUP, TOPIC), topics.end_offsets(address, TOPIC))
            except (KafkaException, TimeoutError):
                return False

        try:
            self._wait(drained, DRAIN_TIMEOUT_S, "everything to be committed", every=0.5)
        except TimeoutError as error:
            self._say(f"{error}; partitions: {self.operator.states}")
            self.journal.write("stuck", states=self.operator.states)
            return False
        return True

    def _write_down(self, drained: bool) -> None:
        self.operator.stop()
        address = self.world.kafka.address
        self._wait(self.world.all_up, 60.0, "all processes to be up")
        self.world.end_all()
        crashes = {f"{label} (by itself)": code or 1 for label, code in self.world.crashes.items()}
        folders.keep_offsets(self.folder, address, GROUP, TOPIC)
        letters = self.options.dead_letter_topic if self.options.on_critical == "dead-letter" else None
        folders.keep_end(
            self.folder,
            address,
            TOPIC,
            letters,
            lanes=self.options.lanes,
            committed=topics.committed(address, GROUP, TOPIC),
            ends=topics.end_offsets(address, TOPIC),
            group=group_state(address),
            left=self.world.left(),
            exits={**self.world.exits, **crashes},
            drained=drained,
        )

    def _wait(self, done: Callable[[], bool], patience: float, what: str, every: float = _TICK_S) -> None:
        deadline = time.monotonic() + patience
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {patience:g} s: {what}")
            time.sleep(every)
            self._look()
