"""A fleet in small: what sidecars and lambda processes use, and how far behind each partition is. Pure, seeded.

Time goes in steps of a second. In each step every partition gets its records, and every process works one second:
partitions share it equally, as handlers of one event loop do, and one that needs less leaves the rest to the others.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, sqrt

from benchmarks.scaling.costs import Costs

SETTLED_S = 10
_NONE = 1e-6
"""Less than this of a record is rounding."""

Place = tuple[int, int]
"""A lambda process: the number of its sidecar, and its own number there."""


@dataclass(frozen=True)
class Fleet:
    """What runs, and what it has to do.

    Attributes:
        partitions: of the topic.
        rate: records a second, all partitions together.
        skew: the exponent of Zipf's law for the rates of partitions; 0: all are equal.
        size: bytes of a record's value.
        handler_us: CPU time of the handler for a record, in microseconds.
        save_ms: from the handler to the record's checkpoint, as a database takes; in milliseconds.
        window: records of a partition that may be outstanding.
        sidecars: how many.
        processes: lambda processes of each.
        documents: open documents, all together; 0: no document router.
        producers: how many write, each to all partitions.
    """

    partitions: int
    rate: float
    skew: float = 0.0
    size: int = 100
    handler_us: float = 20.0
    save_ms: float = 0.0
    window: int = 10_000
    sidecars: int = 1
    processes: int = 1
    documents: int = 0
    producers: int = 1

    def rates(self, seed: int = 1) -> list[float]:
        """Records a second of each partition: Zipf's law, in random order, as hashed keys make it."""
        weights = [1 / rank**self.skew for rank in range(1, self.partitions + 1)]
        random.Random(seed).shuffle(weights)
        return [self.rate * weight / sum(weights) for weight in weights]

    def places(self) -> list[Place]:
        """Which process has each partition. Kafka and the sidecar even out their number, not their load."""
        return spread(range(self.partitions), range(self.sidecars), self.processes)

    def process_rate(self, costs: Costs) -> float:
        """Records a second that one lambda process can handle: it has one event loop, so one core."""
        router_us = costs.document_us if self.documents else 0.0
        return 1e6 / (self.handler_us + router_us + costs.lambda_.full_us(self.size))

    def partition_rate(self) -> float:
        """Records a second of one partition that its window allows."""
        return self.window / (self.save_ms / 1000) if self.save_ms else float("inf")

    def sidecar_rate(self, costs: Costs) -> float:
        """Records a second that one sidecar can deliver, at one core."""
        return 1e6 / costs.sidecar.full_us(self.size)


def spread(partitions: Sequence[int], sidecars: Sequence[int], processes: int) -> list[Place]:
    """Deal the partitions out: to the sidecars in turn, and there to the processes in turn."""
    return [(sidecars[n % len(sidecars)], n // len(sidecars) % processes) for n, _ in enumerate(partitions)]


@dataclass(frozen=True)
class Event:
    """Something that keeps records from being handled.

    Attributes:
        at: the second of its beginning.
        seconds: how long the partitions stand still.
        sidecar: the sidecar that dies; its partitions go to the others afterwards. None: nobody handles anything.
    """

    at: int
    seconds: int
    sidecar: int | None = None


@dataclass
class Lag:
    """How far behind the partitions were, at the end of each second.

    Attributes:
        records: the backlog of all partitions together.
        oldest_s: the age of the oldest record that waits, in seconds.
        ages_s: the same for each partition, in the last second.
    """

    records: list[float] = field(default_factory=list)
    oldest_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)

    def caught_up(self, since: int, within: float = 1.0) -> int | None:
        """Seconds from ``since`` until no partition is more than ``within`` seconds behind any more; None: never."""
        behind = [second for second in range(since, len(self.oldest_s)) if self.oldest_s[second] > within]
        if not behind:
            return 0
        return None if behind[-1] == len(self.oldest_s) - 1 else behind[-1] + 1 - since


def simulate(
    fleet: Fleet,
    costs: Costs,
    seconds: int,
    event: Event | None = None,
    *,
    seed: int = 1,
    places: Sequence[Place] | None = None,
    backlog: Sequence[float] | None = None,
) -> Lag:
    """Run the fleet. After an event it ends early, once nobody has been behind for `SETTLED_S`.

    Args:
        fleet: what runs.
        costs: what a record costs.
        seconds: how long.
        event: what happens meanwhile.
        seed: of the rates' order and of the arrivals.
        places: which process has each partition, if it is known; default: `Fleet.places`.
        backlog: what waits at the beginning, by partition; default: nothing.
    """
    drawn, rates = random.Random(seed), fleet.rates(seed)
    at = [*(places or fleet.places())]
    queues = [_Queue(before) for before in backlog or [0.0] * fleet.partitions]
    lag = Lag()
    for second in range(seconds):
        for queue, rate in zip(queues, rates, strict=True):
            queue.add(poisson(drawn, rate))
        if event is not None and second == event.at + event.seconds:
            at = _without(event.sidecar, at, fleet)
        stopped = event if event is not None and event.at <= second < event.at + event.seconds else None
        waiting = [queue.waiting for queue in queues]
        for partition, done in _handled(fleet, costs, at, waiting, stopped):
            queues[partition].take(done)
        lag.records.append(sum(queue.waiting for queue in queues))
        lag.ages_s = [float(queue.age()) for queue in queues]
        lag.oldest_s.append(max(lag.ages_s))
        if event is not None and second > event.at + event.seconds and max(lag.oldest_s[-SETTLED_S:]) <= 1:
            break
    return lag


class _Queue:
    """The records that wait in one partition, and how old the first of them is. It may begin with some of age 1."""

    def __init__(self, before: float) -> None:
        self.waiting = before
        self._arrived = [before]  # in each second
        self._oldest = 0  # the second of the first record that waits
        self._left = before  # of that second's records

    def add(self, records: float) -> None:
        if not self.waiting:
            self._oldest, self._left = len(self._arrived), records
        self._arrived.append(records)
        self.waiting += records

    def take(self, records: float) -> None:
        self.waiting = max(self.waiting - records, 0.0)
        if self.waiting < _NONE:
            self.waiting = 0.0
            return
        while records >= self._left and self._oldest + 1 < len(self._arrived):
            records -= self._left
            self._oldest += 1
            self._left = self._arrived[self._oldest]
        self._left -= records

    def age(self) -> int:
        """Seconds; 0: nothing waits from before this second."""
        return max(len(self._arrived) - 1 - self._oldest, 0) if self.waiting else 0


def shared(capacity: float, wanted: Sequence[float]) -> list[float]:
    """Divide it equally; who wants less gets that, and leaves the rest to the others."""
    if sum(wanted) <= capacity:
        return [*wanted]
    given = [0.0] * len(wanted)
    left = capacity
    ascending = sorted(range(len(wanted)), key=lambda n: wanted[n])
    for turn, n in enumerate(ascending):
        given[n] = min(wanted[n], left / (len(wanted) - turn))
        left -= given[n]
    return given


def poisson(drawn: random.Random, mean: float) -> float:
    """A random number of events with this mean."""
    if mean > 30:
        return max(0.0, round(drawn.gauss(mean, sqrt(mean))))
    events, chance, limit = 0, drawn.random(), exp(-mean)
    while chance > limit:
        events += 1
        chance *= drawn.random()
    return float(events)


def _handled(
    fleet: Fleet, costs: Costs, at: Sequence[Place], waiting: Sequence[float], stopped: Event | None
) -> Iterator[tuple[int, float]]:
    """What each partition gets done in a second."""
    if stopped is not None and stopped.sidecar is None:
        return
    members: dict[Place, list[int]] = {}
    for partition, place in enumerate(at):
        if stopped is None or place[0] != stopped.sidecar:
            members.setdefault(place, []).append(partition)
    most, by_sidecar = fleet.partition_rate(), dict[int, list[tuple[int, float]]]()
    for place, partitions in members.items():
        given = shared(fleet.process_rate(costs), [min(waiting[partition], most) for partition in partitions])
        by_sidecar.setdefault(place[0], []).extend(zip(partitions, given, strict=True))
    for handled in by_sidecar.values():
        slowed = min(1.0, fleet.sidecar_rate(costs) / max(sum(done for _, done in handled), 1.0))
        yield from ((partition, done * slowed) for partition, done in handled)


def _without(dead: int | None, at: Sequence[Place], fleet: Fleet) -> list[Place]:
    """The places after a sidecar's death: those of its partitions are dealt out to the others."""
    if dead is None:
        return [*at]
    moved = [partition for partition, place in enumerate(at) if place[0] == dead]
    alive = [sidecar for sidecar in range(fleet.sidecars) if sidecar != dead]
    new = dict(zip(moved, spread(moved, alive, fleet.processes), strict=True))
    return [new.get(partition, place) for partition, place in enumerate(at)]
