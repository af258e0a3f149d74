"""The schedule of faults, made from a seed. Pure.

A schedule is a list of steps at planned times. The seed decides kinds, targets, pauses and durations. The machine's
own timing differs in each run, and so does the state in which a fault finds the system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

Verb = str
"""start, kill, terminate, freeze, thaw (of a process); raise, restart, seek (of a partition); grow (of the topic)."""

SIDECARS = ("a", "b", "c")
PARTITIONS = 8
"""Of the topic at the beginning."""
MAX_PARTITIONS = 14
"""The topic grows to this, one or two partitions at a time."""
MAX_PROCESSES = 3
"""Lambda processes of one sidecar."""
SESSION_S = 3.0
"""The members' session timeout."""
NOTICED_S = 15.0
"""A sidecar gives up a frozen process within this time."""

WEIGHTS: Mapping[str, float] = {
    "lambda-kill": 14,
    "lambda-terminate": 8,
    "lambda-freeze": 8,
    "lambda-freeze-long": 4,
    "lambda-join": 5,
    "lambda-leave": 5,
    "sidecar-kill": 8,
    "sidecar-terminate": 6,
    "sidecar-freeze": 6,
    "sidecar-leave": 3,
    "sidecar-join": 8,
    "broker-kill": 1.5,
    "broker-restart": 1.5,
    "broker-freeze": 2,
    "handler-raise": 8,
    "handler-restart": 8,
    "seek": 6,
    "topic-grow": 3,
}
"""The relative frequency of each kind of fault, when it is possible."""

SOAK: Mapping[str, float] = {"lambda-kill": 2, "lambda-terminate": 1, "lambda-freeze": 1, "sidecar-kill": 1}


@dataclass(frozen=True, slots=True)
class Step:
    """One action. ``fault`` is the number of the fault to which it belongs, ``kind`` its name."""

    at: float
    verb: Verb
    target: str
    """`broker`, `topic`, a sidecar (`a`), a lambda process (`a/1`), or a partition's number."""
    fault: int
    kind: str
    amount: int = 0
    """The number of a handler's failures, of records that a seek goes back, or of the topic's partitions."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The processes at the beginning, and the steps."""

    seed: int
    lambdas: tuple[str, ...]
    steps: tuple[Step, ...]
    faults: int

    @property
    def seconds(self) -> float:
        """The duration of the steps in seconds, if none is late."""
        return self.steps[-1].at if self.steps else 0.0


@dataclass
class _Plan:
    """The planned state: the running processes, and the time until which each must not be disturbed."""

    random: Random
    lambdas: set[str]
    protected: frozenset[str]
    now: float = 0.0
    away: set[str] = field(default_factory=set)
    """Sidecars that have been ended."""
    busy: dict[str, float] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    partitions: int = PARTITIONS

    def free(self, target: str) -> bool:
        return self.busy.get(target, 0.0) <= self.now

    def sidecars(self) -> list[str]:
        """The sidecars that may be disturbed: at least one running sidecar always stays undisturbed."""
        there = [one for one in SIDECARS if one not in self.away]
        free = [one for one in there if self.free(one)]
        return [one for one in free if one not in self.protected] if len(free) > 1 else []

    def processes(self) -> list[str]:
        """The lambda processes that may be disturbed."""
        return [one for one in sorted(self.lambdas) if self.free(one) and self.of(one) not in self.away]

    def of(self, process: str) -> str:
        return process.partition("/")[0]


def language(languages: Sequence[str], slot: str, start: int) -> str:
    """The language of a lambda process: slots beside each other have different ones, and each start takes the next.

    Args:
        slot: such as `a/1`.
        start: 1 for the slot's first process, then 2, 3, ...
    """
    sidecar, _, number = slot.partition("/")
    return languages[(SIDECARS.index(sidecar) + len(SIDECARS) * (int(number) - 1) + start - 1) % len(languages)]


def make(
    seed: int,
    faults: int,
    *,
    pause: float = 1.6,
    weights: Mapping[str, float] = WEIGHTS,
    without: Sequence[str] = (),
    protected: Sequence[str] = (),
    processes: int | None = None,
) -> Schedule:
    """Make a schedule of ``faults`` faults, ``pause`` seconds apart on average.

    Args:
        processes: lambda processes of each sidecar at the beginning; None: 1 or 2.
        without: kinds of faults to leave out.
        protected: sidecars that are never disturbed.
    """
    random = Random(seed)
    counts = {sidecar: random.randint(1, 2) if processes is None else processes for sidecar in SIDECARS}
    lambdas = {f"{sidecar}/{number}" for sidecar in SIDECARS for number in range(1, 1 + counts[sidecar])}
    plan = _Plan(random, {*lambdas}, frozenset(protected))
    kinds = [kind for kind in weights if kind not in without]
    for number in range(1, faults + 1):
        plan.now += random.uniform(0.4, 1.6) * pause
        while True:
            kind = random.choices(kinds, [weights[kind] for kind in kinds])[0]
            steps = [*_steps(plan, kind, number)]
            if steps:
                break
            plan.now += 0.1  # until a busy target becomes free
        plan.steps += steps
    return Schedule(seed, tuple(sorted(lambdas)), tuple(sorted(plan.steps, key=lambda step: step.at)), faults)


def _steps(plan: _Plan, kind: str, number: int) -> Iterator[Step]:
    """The steps of one fault; none if it is not possible now."""
    family, _, what = kind.partition("-")
    if family == "lambda":
        yield from _lambda(plan, kind, what, number)
    elif family == "sidecar":
        yield from _sidecar(plan, kind, what, number)
    elif family == "broker":
        yield from _broker(plan, kind, what, number)
    elif family == "topic":
        if plan.free("broker") and plan.partitions < MAX_PARTITIONS:
            plan.partitions = min(MAX_PARTITIONS, plan.partitions + plan.random.randint(1, 2))
            yield Step(plan.now, what, "topic", number, kind, plan.partitions)
    elif family == "handler":
        target, times = str(plan.random.randrange(plan.partitions)), plan.random.randint(1, 3)
        yield Step(plan.now, what, target, number, kind, 1 if what == "raise" else times)
    elif plan.free("broker"):
        yield Step(
            plan.now, "seek", str(plan.random.randrange(plan.partitions)), number, kind, plan.random.randint(1, 200)
        )


def _for(plan: _Plan, target: str, first: str, then: str, seconds: float, number: int, kind: str) -> Iterator[Step]:
    """Do something to a target and undo it after some seconds. The target stays undisturbed until a little later."""
    plan.busy[target] = plan.now + seconds + 1.0
    yield Step(plan.now, first, target, number, kind)
    yield Step(plan.now + seconds, then, target, number, kind)


def _lambda(plan: _Plan, kind: str, what: str, number: int) -> Iterator[Step]:
    random = plan.random
    if what == "join":
        room = [f"{s}/{n}" for s in SIDECARS if s not in plan.away for n in range(1, MAX_PROCESSES + 1)]
        room = [one for one in room if one not in plan.lambdas and plan.free(one)]
        if room:
            target = random.choice(room)
            plan.lambdas.add(target)
            plan.busy[target] = plan.now + 2.0
            yield Step(plan.now, "start", target, number, kind)
        return
    candidates = plan.processes()
    if what == "freeze-long":
        # One at a time: until the sidecar notices, the process's partitions make no progress for other faults to hit.
        candidates = candidates if plan.free(what) else []
    elif what == "leave":
        # A sidecar keeps one at least.
        candidates = [c for c in candidates if sum(plan.of(one) == plan.of(c) for one in plan.lambdas) > 1]
    if not candidates:
        return
    target = random.choice(candidates)
    if what == "leave":
        plan.lambdas.discard(target)
        plan.busy[target] = plan.now + 5.0
        yield Step(plan.now, "terminate", target, number, kind)
    elif what.startswith("freeze"):
        seconds = random.uniform(0.3, 5.0)
        if what == "freeze-long":
            seconds += NOTICED_S + 2.0
            plan.busy[what] = plan.now + seconds + 5.0
        yield from _for(plan, target, "freeze", "thaw", seconds, number, kind)
    else:
        yield from _for(plan, target, what, "start", random.uniform(0.0, 3.0), number, kind)


def _sidecar(plan: _Plan, kind: str, what: str, number: int) -> Iterator[Step]:
    random = plan.random
    if what == "join":
        candidates = [one for one in sorted(plan.away) if plan.free(one)]
        if candidates:
            target = random.choice(candidates)
            plan.away.discard(target)
            plan.busy[target] = plan.now + 4.0
            yield Step(plan.now, "start", target, number, kind)
        return
    candidates = plan.sidecars()
    if not candidates or (what == "leave" and plan.away):
        return
    target = random.choice(candidates)
    if what == "leave":
        plan.away.add(target)
        plan.busy[target] = plan.now + 8.0
        yield Step(plan.now, "terminate", target, number, kind)
    elif what == "freeze":
        # In half of the cases the session expires.
        seconds = random.uniform(0.3, SESSION_S - 1) if random.random() < 0.5 else random.uniform(SESSION_S + 1, 9.0)
        yield from _for(plan, target, "freeze", "thaw", seconds, number, kind)
    else:
        yield from _for(plan, target, what, "start", random.uniform(0.0, 6.0), number, kind)


def _broker(plan: _Plan, kind: str, what: str, number: int) -> Iterator[Step]:
    if not plan.free("broker"):
        return
    if what == "freeze":
        steps = _for(plan, "broker", "freeze", "thaw", plan.random.uniform(0.5, 5.0), number, kind)
    else:
        verb = "kill" if what == "kill" else "terminate"
        steps = _for(plan, "broker", verb, "start", plan.random.uniform(0.0, 2.0), number, kind)
    yield from steps
    plan.busy["broker"] += 15.0  # the group must rebalance before the next fault
