"""The observations of a run, as plain data: the checker's only input. No I/O.

All times are seconds of the machine's monotonic clock, which all its processes share. Commits have the broker's wall
clock in milliseconds; `tests.chaos.folder` converts it, so their times are exact to about `SLACK_S` only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound="_OfPartition")

SLACK_S = 0.1
"""Seconds by which a commit's time may be wrong: it has whole milliseconds and comes from another clock."""


class _OfPartition(Protocol):
    @property
    def partition(self) -> int: ...


class Handled(NamedTuple):
    """A handler was called with a record and did not fail."""

    at: float
    lease: str
    partition: int
    offset: int


class Checkpointed(NamedTuple):
    """A lambda was about to call ``context.checkpoint``."""

    at: float
    lease: str
    partition: int
    offset: int


class Failed(NamedTuple):
    """A handler was about to fail at a record that asked for it."""

    at: float
    lease: str
    partition: int
    offset: int
    critical: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """One lambda: one partition in one process, from ``create`` on.

    The lambda process chooses the name: lambdas do not see the leases of the protocol.
    """

    name: str
    process: str
    slot: str
    """The slot of the sidecar that the process dials."""
    partition: int
    start: int | None
    attempt: int
    at: float
    closing: float | None = None
    """The time of the call of its ``close``."""
    closed: float | None = None
    lane: int = 0
    state: str | None = None
    """What it was given as the state of its start: the offset of the checkpoint that the state came with; empty:
    none. None: its program keeps no states."""


class Commit(NamedTuple):
    """A commit as Kafka stores it. ``position``: its offset in `__consumer_offsets`, which orders all commits."""

    position: int
    at: float
    partition: int
    offset: int
    places: tuple[int, ...] = ()
    """With lanes: where each of them is."""


class Generation(NamedTuple):
    """A generation of the group as Kafka stores it. ``owners``: (member id, client id) by partition."""

    position: int
    at: float
    number: int
    owners: Mapping[int, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Seek:
    """An operator's seek. ``done``: the sidecar confirmed it; otherwise it may have happened or not."""

    partition: int
    target: int
    sent: float
    answered: float
    done: bool


@dataclass(frozen=True, slots=True)
class Life:
    """A sidecar process from start to end. ``client``: its Kafka `client.id`, a new one for each start."""

    client: str
    slot: str
    begin: float
    end: float = float("inf")


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which ``broker``, a sidecar's slot or a lambda process was frozen or down."""

    what: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class End:
    """The state after all faults were over and all processes had been ended."""

    committed: Mapping[int, int]
    ends: Mapping[int, int]
    group: str
    """The group's state: Empty, Stable, ..."""
    left: tuple[str, ...] = ()
    """Processes that were left after the run."""
    exits: Mapping[str, int] = field(default_factory=dict)
    """The exit codes of the processes that were ended in order at the end."""


@dataclass(frozen=True)
class Facts:
    """All observations of a run. Events are ordered by time, those from `__consumer_offsets` by its order."""

    window: int
    interval: float
    on_critical: Literal["halt", "dead-letter"]
    records: Mapping[int, tuple[int, ...]]
    """The offsets of all records that a consumer sees at the end, by partition."""
    acknowledged: frozenset[tuple[int, int]]
    leases: tuple[Lease, ...]
    handled: tuple[Handled, ...]
    checkpoints: tuple[Checkpointed, ...]
    commits: tuple[Commit, ...]
    end: End
    failures: tuple[Failed, ...] = ()
    generations: tuple[Generation, ...] = ()
    seeks: tuple[Seek, ...] = ()
    lives: tuple[Life, ...] = ()
    spans: tuple[Span, ...] = ()
    dead_letters: frozenset[tuple[int, int]] = frozenset()
    ends: Mapping[str, float] = field(default_factory=dict)
    """The times at which lambda processes ended or were killed, by their names."""

    def but(self, **changes: object) -> Facts:
        """The same facts with some of them changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def only(self, partitions: Collection[int]) -> Facts:
        """The facts of some partitions."""

        def some(events: tuple[E, ...]) -> tuple[E, ...]:
            return tuple(event for event in events if event.partition in partitions)

        def of(offsets: Mapping[int, T]) -> dict[int, T]:
            return {number: one for number, one in offsets.items() if number in partitions}

        return self.but(
            records=of(self.records),
            acknowledged=frozenset(one for one in self.acknowledged if one[0] in partitions),
            leases=some(self.leases),
            handled=some(self.handled),
            checkpoints=some(self.checkpoints),
            failures=some(self.failures),
            commits=some(self.commits),
            seeks=some(self.seeks),
            dead_letters=frozenset(one for one in self.dead_letters if one[0] in partitions),
            end=replace(self.end, committed=of(self.end.committed), ends=of(self.end.ends)),
        )

    # --- views, each computed once --------------------------------------------------------------------------------

    @cached_property
    def lease(self) -> Mapping[str, Lease]:
        """Leases by name."""
        return {lease.name: lease for lease in self.leases}

    @cached_property
    def runs(self) -> Mapping[str, tuple[Handled, ...]]:
        """The records that each lease handled, in order."""
        found: dict[str, list[Handled]] = {lease.name: [] for lease in self.leases}
        for event in self.handled:
            found.setdefault(event.lease, []).append(event)
        return {name: tuple(events) for name, events in found.items()}

    @cached_property
    def partitions(self) -> Mapping[int, PartitionFacts]:
        """The same facts by partition."""
        every = {*self.records, *(one.partition for one in self.leases), *(one.partition for one in self.commits)}
        leases: dict[int, list[Lease]] = {number: [] for number in every}
        checkpoints: dict[int, list[Checkpointed]] = {number: [] for number in every}
        commits: dict[int, list[Commit]] = {number: [] for number in every}
        seeks: dict[int, list[Seek]] = {number: [] for number in every}
        for lease in self.leases:
            leases[lease.partition].append(lease)
        for checkpoint in self.checkpoints:
            checkpoints[checkpoint.partition].append(checkpoint)
        for commit in self.commits:
            commits[commit.partition].append(commit)
        for seek in self.seeks:
            seeks.setdefault(seek.partition, []).append(seek)
        return {
            number: PartitionFacts(
                number,
                tuple(leases[number]),
                tuple(checkpoints[number]),
                tuple(commits[number]),
                tuple(seeks[number]),
                frozenset(offset for partition, offset in self.dead_letters if partition == number),
            )
            for number in sorted(every)
        }

    def life_of(self, lease: Lease) -> str:
        """The client id of the sidecar process that gave this lease; empty when unknown."""
        alive = [life for life in self.lives if life.slot == lease.slot and life.begin <= lease.at]
        return max(alive, key=lambda life: life.begin).client if alive else ""

    def late(self, lease: Lease) -> bool:
        """Whether the lease may have begun long before its process recorded it, because that process was frozen."""
        return any(
            span.what == lease.process and span.begin <= lease.at <= span.end + WAKES_WITHIN_S for span in self.spans
        )


WAKES_WITHIN_S = 3.0
"""Seconds within which a thawed process has read everything that arrived while it was frozen."""


@dataclass(frozen=True)
class PartitionFacts:
    """The facts of one partition, each kind in order."""

    number: int
    leases: tuple[Lease, ...]
    checkpoints: tuple[Checkpointed, ...]
    commits: tuple[Commit, ...]
    seeks: tuple[Seek, ...]
    dead_letters: frozenset[int]

    @cached_property
    def _checkpoints_by_offset(self) -> Mapping[int, tuple[Checkpointed, ...]]:
        found: dict[int, list[Checkpointed]] = {}
        for one in self.checkpoints:
            found.setdefault(one.offset, []).append(one)
        return {offset: tuple(several) for offset, several in found.items()}

    def checkpoints_for(self, offset: int) -> list[Checkpointed]:
        """The checkpoints of any lease that lead to this resume offset."""
        return [one for same in self.same_offsets(offset) for one in self._checkpoints_by_offset.get(same - 1, ())]

    def same_offsets(self, offset: int) -> list[int]:
        """The resume offset and its equivalents: dead letters right before it are passed without a checkpoint."""
        same = [offset]
        while same[-1] - 1 in self.dead_letters:
            same.append(same[-1] - 1)
        return same

    def era(self, at: float) -> Seek | None:
        """The last seek that was surely done at a time."""
        over = [seek for seek in self.seeks if seek.done and seek.answered <= at]
        return max(over, key=lambda seek: seek.answered, default=None)


@dataclass(frozen=True, order=True)
class Breach:
    """A violated invariant: the check that found it, the partition, and a description."""

    check: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.where}: {self.text}"
