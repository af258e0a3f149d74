"""Exactly-once as a whole, by a model: whatever dies, fails or is taken away, each record is copied once, in order.

The consumer thread's own objects work for lambdas that copy each record. Around them are played: Kafka, which has the
log, what is committed and the copies that are visible; the thread that writes transactions; processes that come and
die. After each transaction Kafka's places must say exactly which copies are visible.

``KAFKA_SIDECAR_MODEL_STEPS=100 python -m pytest -s tests/unit/consuming/test_transacted_model.py --timeout=0``
is the long run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Message, TopicPartition as KafkaPartition
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.cluster.commit_metadata import decode, places_of
from sidecar.consuming import letter_reader, resolving, transacted
from sidecar.mail import letters
from sidecar.mail.facts import Edges
from sidecar.mail.outgoing import Job, Outcome, Outgoing, Refused, Written
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    Committed,
    EndStream,
    Lane,
    Lease,
    Progress,
    Revoke,
    StreamId,
    TopicPartition,
)
from sidecar.records.key_lane import lane_of
from tests.unit.long_run import settings_of, tell

from .bench import P0, P1, Bench, offsets_of
from .played_client import PlayedConsumer
from .played_inquiries import topic

ALL_STEPS = 250_000
TPS = (P0, P1)
ID = "AAAAAAAAAAAAAAAAAAAAAQ"
PICK = st.integers(0, 11)
TP = st.sampled_from(TPS)
HOW = st.sampled_from(["commit", "commit", "abort", "culprit", "unheard"])


class NoReply:
    """In the place of a `Reply`, which needs a loop."""


@dataclass
class Kafka:
    """What is there whatever dies."""

    lanes: int
    keys: list[bytes]
    """One of each lane."""
    logs: dict[TopicPartition, list[int]] = field(default_factory=lambda: {tp: [] for tp in TPS})
    """Of each record the lane."""
    committed: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)
    copies: dict[Lane, list[int]] = field(default_factory=dict)
    """The offsets of the records whose copies are visible, in their order."""
    generation: int = 1

    def records(self, lane: Lane, below: int) -> list[int]:
        return [offset for offset, of in enumerate(self.logs[lane.partition][:below]) if of == lane.number]

    def place(self, lane: Lane) -> int:
        if lane.partition not in self.committed:
            return 0
        commit = decode(*self.committed[lane.partition])
        return places_of(commit.offset, commit.places, self.lanes)[lane.number].offset

    def takes(self, jobs: Sequence[Job]) -> None:
        """A transaction is committed."""
        for job in jobs:
            for one in job.records:
                lane, offset = map(int, (one.value or b"").split(b":"))
                self.copies.setdefault(Lane(job.tp, lane, self.lanes), []).append(offset)
            self.committed[job.tp] = (job.offset, job.metadata)
        for job in jobs:
            for number in range(self.lanes):
                lane_ = Lane(job.tp, number, self.lanes)
                assert self.copies.get(lane_, []) == self.records(lane_, self.place(lane_))


@dataclass
class Life:
    """A lambda that copies each record, and checkpoints what it has copied; its state is how many there were."""

    lane: Lane
    lease: Lease
    stream: StreamId
    copied: int
    delivered: list[int] = field(default_factory=list)
    """What it has not handled."""
    held: list[int] = field(default_factory=list)
    """What it has copied since its last checkpoint."""
    unit: letters.Unit | None = None
    """One is under way at a time."""


class Exact(RuleBasedStateMachine):
    """See the module."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()

    @initialize(lanes=st.sampled_from([1, 2, 3]), writes=st.lists(PICK, max_size=12), processes=st.integers(0, 6))
    def begun(self, lanes: int, writes: list[int], processes: int) -> None:
        numbers = [b"%d" % number for number in range(100)]
        keys = [next(key for key in numbers if lane_of(key, 0, lanes) == lane) for lane in range(lanes)]
        self.kafka = Kafka(lanes, keys)
        self.streams = 0
        self._starts(100.0)
        for tp in TPS:
            self.writes(tp, writes)
            self.assigned(tp)
        self.resolved()
        for number in range(processes):
            self.offers(number)

    def _starts(self, now: float) -> None:
        """A sidecar, without partitions and processes."""
        self.bench = bench = Bench(now=now, guarantee="exactly-once", lanes=self.kafka.lanes)
        bench.clock(self._patch, transacted, letter_reader, resolving)
        bench.broker.facts = {"t": topic(ID, *[1] * len(TPS))}
        bench.subscription.learn(bench.broker.facts, [])
        self.rounds: list[Sequence[Job]] = []
        self.taken: list[Job] = []
        """What the thread writes now."""
        self._patch.setattr(bench.writer, "submit", self.rounds.append)
        self.lives: dict[StreamId, Life] = {}
        self.spare: set[StreamId] = set()

    @property
    def consumer(self) -> PlayedConsumer:
        return self.bench.consumer

    # --- Kafka ------------------------------------------------------------------------------------------------

    @rule(tp=TP, lanes=st.lists(PICK, min_size=1, max_size=9))
    def writes(self, tp: TopicPartition, lanes: list[int]) -> None:
        self.kafka.logs[tp] += [lane % self.kafka.lanes for lane in lanes]

    def assigned(self, tp: TopicPartition) -> None:
        if tp in self.bench.table.partitions:
            return
        self.kafka.generation += 1
        self.consumer.generation = self.kafka.generation
        self.consumer.positions.pop(tp, None)  # the client has read nothing of it since
        self.bench.turns.rebalances.on_assign([KafkaPartition(*tp)])
        self._carries_out()

    def resolved(self) -> None:
        """Kafka says what is committed; not while a transaction is open that may change it."""
        if self.taken:
            return
        broker = self.bench.broker
        broker.commits_are = {tp: decode(*one) for tp, one in self.kafka.committed.items()}
        broker.edges_are = {tp: Edges(0, len(log)) for tp, log in self.kafka.logs.items()}
        self.bench.now += resolving.RETRY_AFTER_S
        self.bench.client.resolving.work()
        self.bench.turns.start_partitions()
        self._works()

    def fetched(self, tp: TopicPartition, most: int) -> None:
        partition, first = self.bench.table.partitions.get(tp), self.bench.fetching.next_offset.get(tp)
        if partition is None or partition.resolving or first is None:
            return
        log = self.kafka.logs[tp]
        some = [
            Message("t", tp.partition, at, key=self.kafka.keys[log[at]], value=b"v", timestamp=(1, 1))
            for at in range(first, min(first + most, len(log)))
        ]
        if some:
            self.bench.come(*some)
        self._works()

    def lost(self, tp: TopicPartition) -> None:
        """The group has gone on without us. What we still write has the former generation."""
        if tp in self.bench.table.partitions:
            self.kafka.generation += 1
            self.bench.turns.rebalances.lose([tp])
            self._works()

    # --- the thread that writes -------------------------------------------------------------------------------

    def takes(self) -> None:
        if self.rounds and not self.taken:
            self.taken = [job for job in self.rounds.pop(0) if not job.withdrawn]

    @precondition(lambda self: self.taken)
    @rule(how=HOW, pick=PICK)
    def written(self, how: str, pick: int) -> None:
        """``unheard``: it is committed, and the answer is lost with the producer."""
        jobs, self.taken = self.taken, []
        refused: Refused | None = None
        if not self._is_present(jobs):
            refused = Refused("illegal generation", is_stale_member=True)
        else:
            if how in ("commit", "unheard"):
                self.kafka.takes(jobs)
            guilty = [number for number, job in enumerate(jobs) if job.records]
            if how == "culprit" and guilty:
                refused = Refused("too large", frozenset({guilty[pick % len(guilty)]}))
            elif how != "commit":
                refused = Refused("away")
        outcome = Outcome.WRITTEN if refused is None else Outcome.FAILED
        counts = [len(job.records) for job in jobs]
        results = [Written([outcome] * count, [0] * count, [1] * count, [""] * count) for count in counts]
        self._reads(letters.Transacted(jobs, results, refused, self.bench.now))

    def _is_present(self, jobs: Sequence[Job]) -> bool:
        """The broker takes places of the group's present generation only."""
        present = self.consumer.generation == self.kafka.generation
        return present and all(job.group == self.consumer.consumer_group_metadata() for job in jobs)

    # --- lambdas ----------------------------------------------------------------------------------------------

    def offers(self, pick: int) -> None:
        if len(self.lives) + len(self.spare) < 8:
            self.streams += 1
            self.spare.add(self.streams)
            self._reads(letters.Available(self.streams, f"process {pick % 3}", 1 << 20))

    @precondition(lambda self: self.lives)
    @rule(pick=PICK, most=st.integers(1, 5), checkpoints=st.booleans())
    def copies(self, pick: int, most: int, checkpoints: bool) -> None:
        life = [*self.lives.values()][pick % len(self.lives)]
        some, life.delivered = life.delivered[:most], life.delivered[most:]
        life.held += some
        life.copied += len(some)
        if checkpoints and life.held and life.unit is None:
            records = [Outgoing("out", None, b"%d:%d" % (life.lane.number, at), -1, ()) for at in life.held]
            reply: Any = NoReply()
            life.unit = letters.Unit(life.lease, records, reply)
            progress = Progress(life.held[-1], state=b"%d" % life.copied)
            life.held = []
            self._reads(letters.Commit(progress, life.unit))

    def dies(self, pick: int) -> None:
        if not (self.lives or self.spare):
            return
        stream = [*self.lives, *self.spare][pick % (len(self.lives) + len(self.spare))]
        self.lives.pop(stream, None)
        self.spare.discard(stream)
        self._reads(letters.StreamLost(stream))

    @rule(most=st.integers(1, 9), pick=PICK)
    def all_goes_well(self, most: int, pick: int) -> None:
        """The next good step of everybody. The thread begins to write, so that what follows happens meanwhile."""
        self.takes()
        for tp in TPS:
            self.assigned(tp)
        self.resolved()
        self.offers(pick)
        for tp in TPS:
            self.fetched(tp, most)
        for number in range(len(self.lives)):
            if self.lives:
                self.copies(number, most, checkpoints=True)
        self.time_passes(0.1)

    @rule(most=st.integers(1, 9), pick=PICK, how=HOW)
    def all_goes_well_until_it_is_written(self, most: int, pick: int, how: str) -> None:
        """The lambdas go on, and what they checkpoint waits for the answer."""
        self.all_goes_well(most, pick)
        self.all_goes_well(most, pick)
        if self.taken:
            self.written(how, pick)

    @rule(
        what=st.sampled_from(["time", "fetched", "offers", "takes", "resolved", "dies", "dies", "lost", "crashes"]),
        tp=TP,
        pick=PICK,
        yes=st.booleans(),
    )
    def something_happens(self, what: str, tp: TopicPartition, pick: int, yes: bool) -> None:
        """One rule, or little else would ever happen."""
        match what:
            case "time":
                self.time_passes([0.01, 0.05, 0.5, 2.0, 30.0][pick % 5])
            case "fetched":
                self.fetched(tp, pick)
            case "offers":
                self.offers(pick)
            case "takes":
                self.takes()
            case "resolved":
                self.assigned(tp)
                self.resolved()
            case "dies":
                self.dies(pick)
            case "lost":
                self.lost(tp)
            case _:
                self.crashes(committed=yes)

    # --- time, and the end ------------------------------------------------------------------------------------

    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds
        self.bench.table.tick(self.bench.now)
        self._works()

    def crashes(self, *, committed: bool) -> None:
        """The sidecar. What its thread was writing is committed if the broker had that request, or else aborted."""
        if committed and self._is_present(self.taken):
            self.kafka.takes(self.taken)
        self._starts(self.bench.now)

    @invariant()
    def a_step_is_counted(self) -> None:
        Exact.steps += 1

    def teardown(self) -> None:
        """When all faults stop, each record is copied, once and in order."""
        try:
            for _ in range(300):
                if all(self.kafka.place(lane) >= self._end(lane) for lane in self._lanes()):
                    break
                self.all_goes_well_until_it_is_written(9, 0, "commit")
            for lane in self._lanes():
                assert self.kafka.copies.get(lane, []) == self.kafka.records(lane, 1 << 30)
        finally:
            self._patch.undo()

    def _lanes(self) -> list[Lane]:
        return [Lane(tp, number, self.kafka.lanes) for tp in TPS for number in range(self.kafka.lanes)]

    def _end(self, lane: Lane) -> int:
        """The place of a lane that has done everything is after its last record."""
        return max([-1, *self.kafka.records(lane, 1 << 30)]) + 1

    # --- what the sidecar does after each of these --------------------------------------------------------------

    def _reads(self, letter: letters.Letter) -> None:
        self.bench.letters.read(letter)
        self._works()

    def _works(self) -> None:
        self._carries_out()
        self.bench.sender.work(self.bench.now)
        self.bench.commits.work(self.consumer.as_consumer, self.bench.now)
        self._carries_out()

    def _carries_out(self) -> None:
        while True:
            self.bench.letters.carry_out()
            posted, self.bench.outbox.posted = self.bench.outbox.posted, []
            if not posted:
                return
            for item in posted:
                self._hears(item)
            self.bench.sender.work(self.bench.now)

    def _hears(self, item: letters.Delivery) -> None:
        match item:
            case Assign(stream, lease, lane, start, _, state):
                done = len(self.kafka.records(lane, start))
                assert int(state or b"0") == done, "the state is as old as the place"
                self.spare.discard(stream)
                self.lives[stream] = Life(lane, lease, stream, done)
                self.bench.letters.read(letters.Ready(stream, lease))
            case Revoke(stream, _, _):
                self.lives.pop(stream, None)
                self.bench.letters.read(letters.Closed(stream, ClosedReason.REVOKED, None))
            case letters.Send():
                self._gets(item)
            case letters.Answer(reply, letters.UnitAnswer() as answer):
                self._is_answered(reply, answer)
            case Committed(stream, offset) if stream in self.lives:
                assert self.kafka.place(self.lives[stream].lane) > offset, "only what Kafka has is durable"
            case _:
                assert not isinstance(item, EndStream), "no lambda breaks the contract"

    def _gets(self, frame: letters.Send) -> None:
        lane = self.bench.table.streams.written(frame.stream)
        if lane is not None:
            self.bench.in_flight.written(lane, self.bench.now)
            self.bench.sender.changed.add(lane)
        if frame.stream in self.lives:
            self.lives[frame.stream].delivered += offsets_of(frame)

    def _is_answered(self, reply: object, answer: letters.UnitAnswer) -> None:
        for life in self.lives.values():
            if life.unit is not None and life.unit.reply is reply:
                life.unit = None
                if answer.outcome is CheckpointOutcome.ACCEPTED:
                    assert answer.written is not None
                    assert {*answer.written.outcomes} == {Outcome.WRITTEN}
                else:
                    assert answer.outcome is CheckpointOutcome.STALE_LEASE


TestExact = Exact.TestCase
TestExact.settings = settings_of(60, ALL_STEPS)


@pytest.fixture(autouse=True, scope="module")
def _told() -> Iterator[None]:
    yield
    tell(Exact.steps)
