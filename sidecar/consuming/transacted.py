"""Commits of a lambda with exactly-once: they go through the transactions thread, with the records of theirs.

Owned by the consumer thread. It decides what is committed and when, as `Commits` does; a `Job` is the commit of one
partition. Nothing else commits such a lambda's offsets.

A checkpoint counts as soon as it is accepted: the window has room again, and a lambda that is started now starts
after it. If its transaction is aborted, that is taken back: every lambda that may know of it loses its lease, and Kafka
is asked where the partition is (`PartitionTable.aborted`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from confluent_kafka import Consumer

from sidecar.causes import Cause
from sidecar.cluster import commit_metadata
from sidecar.cluster.errors import is_forbidden
from sidecar.consuming.commits import Commitments, Commits, Sent
from sidecar.consuming.problems import Problems
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.mail.outgoing import Job, Outgoing, Written
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.vocabulary import CheckpointOutcome, Lane, TopicPartition
from sidecar.producing.outcomes import nothing

KIND = "transactions"
"""The kind of the problem that transactions cannot be begun, or are refused."""

_TAKEN_AWAY = "the partition was taken away before its transaction was answered"
_OF_ANOTHER = "not written: the transaction before it was aborted"


class Writer(Protocol):
    """Where jobs go: the transactions thread."""

    def submit(self, job: Job) -> None:
        """Write this; the answer comes as a letter."""
        ...


@dataclass(eq=False, slots=True)
class _Submitted:
    """A job that is not answered."""

    job: Job
    partition: Assignment
    commitments: Commitments
    unit: letters.Unit | None
    """Its records are the first of the job's."""
    late: Mapping[int, Outgoing]
    """Dead letters, by their offset: the last of the job's records."""


class TransactedCommits(Commits):
    """The commits of one lambda with exactly-once."""

    def __init__(self, writer: Writer, outbox: Outbox, problems: Problems, **common: Any) -> None:
        """``outbox`` gets the answers to units; ``common``: the arguments of `Commits`."""
        super().__init__(**common)
        self._writer = writer
        self._outbox = outbox
        self._problems = problems
        self._submitted: list[_Submitted] = []
        """In the order in which they were given to the thread."""
        self._epoch = 0
        """How many aborts are known here."""
        self._alone: set[TopicPartition] = set()
        """Partitions of which a record was refused: until one is written, their jobs disturb no others."""
        self._letters: defaultdict[Lane, dict[int, Outgoing]] = defaultdict(dict)
        """Dead letters, by lane and offset, that wait until the lane's place passes them."""
        self.committed_count = 0
        self.aborted_count = 0
        """Transactions since the start."""

    # --- what goes to the thread ------------------------------------------------------------------------------

    def transact(self, consumer: Consumer, lane: Lane, unit: letters.Unit) -> None:
        """Write these records together with the lane's place, which its checkpoint has just moved."""
        partition = self._table.partitions[lane.partition]
        self._places.settle_all(partition)
        self._submit(consumer, partition, partition.commitments, unit)

    def hold(self, lane: Lane, offset: int, record: Outgoing) -> None:
        """Write this dead letter together with the first place that is after its record."""
        self._letters[lane][offset] = record

    def now(self, consumer: Consumer, tps: Iterable[TopicPartition]) -> None:
        """Give these partitions' places to the thread, but those of partitions with a job under way."""
        partitions = [
            p for p in map(self._table.partitions.get, tps) if p is not None and p.tp not in self._under_way
        ]
        self.settle(consumer, partitions)
        self._send(consumer, self._outstanding(partitions), urgent=True)

    def release(
        self, consumer: Consumer, tps: Sequence[TopicPartition], seconds: float, read: Callable[[float], None]
    ) -> None:
        """Wait until the jobs of these partitions are answered; what is not answered in time is given up.

        The broker refuses a job that comes too late, since the group has gone on.
        """
        deadline = monotonic() + seconds
        while True:
            self.now(consumer, tps)
            left = deadline - monotonic()
            if left <= 0 or not any(tp in self._under_way for tp in tps):
                break
            read(left)
        self.withdraw(tps)

    def waits(self, tps: Iterable[TopicPartition]) -> bool:
        """Whether something of these partitions is to be given to the thread."""
        return super().waits(tp for tp in tps if tp not in self._under_way)

    def withdraw(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are not ours any more: nothing of them is begun, and no answer about them counts."""
        gone = {*tps}
        for one in [one for one in self._submitted if one.job.tp in gone]:
            one.job.withdrawn = True
            self._fail(one, nothing(len(one.job.records), _TAKEN_AWAY))
            self._submitted.remove(one)
        for tp in gone:
            for lane in self._table.lanes_of(tp):
                self._letters.pop(lane, None)
        self._alone -= gone
        self._count_under_way()

    def abandon(self) -> None:
        """The consumer has failed for good. Its partitions are withdrawn with their loss; the thread goes on."""
        self._due = 0.0

    def _send(
        self, consumer: Consumer, wanted: Mapping[TopicPartition, Commitments], *, urgent: bool = False
    ) -> None:
        for left, (tp, commitments) in zip(reversed(range(len(wanted))), wanted.items(), strict=True):
            self._submit(consumer, self._table.partitions[tp], commitments, None, more=left > 0, urgent=urgent)

    def _submit(
        self,
        consumer: Consumer,
        partition: Assignment,
        commitments: Commitments,
        unit: letters.Unit | None,
        *,
        more: bool = False,
        urgent: bool = False,
    ) -> None:
        """``more``: another job follows at once. ``urgent``: a partition waits for this."""
        tp = partition.tp
        late = self._late(partition)
        places = [one.place for one in commitments]
        job = Job(
            tp,
            min(place.offset for place in places),
            commit_metadata.encode(self._origins.get(tp), places),
            [*(() if unit is None else unit.records), *late.values()],
            consumer.consumer_group_metadata(),
            self._epoch,
            alone=tp in self._alone,
        )
        self._submitted.append(_Submitted(job, partition, commitments, unit, late))
        self._count_under_way()
        job.last = not more and (urgent or not self._others_may_join())
        self._writer.submit(job)

    def _late(self, partition: Assignment) -> dict[int, Outgoing]:
        """The dead letters that the places of the partition's lanes have passed."""
        late: dict[int, Outgoing] = {}
        for lane in partition.lanes:
            held = self._letters.get(lane.lane)
            if held:
                passed = sorted(offset for offset in held if offset < lane.offsets.resume_at)
                late |= {offset: held.pop(offset) for offset in passed}
        return late

    def _others_may_join(self) -> bool:
        """Whether a lease without a job under way has records, so that it may checkpoint soon."""
        return any(
            p.holding is not None and p.holding.window.outstanding and p.tp not in self._under_way
            for p in self._table.lanes.values()
        )

    def _count_under_way(self) -> None:
        now = monotonic()
        self._under_way = {
            one.job.tp: self._under_way.get(one.job.tp, Sent(now, one.commitments)) for one in self._submitted
        }
        self._table.transacting(self._under_way)

    # --- what comes back --------------------------------------------------------------------------------------

    def transacted(self, consumer: Consumer, letter: letters.Transacted) -> list[TopicPartition]:
        """A transaction has ended. Returns the partitions whose resume offsets have to be resolved again."""
        results = dict(zip(letter.jobs, letter.written, strict=True))
        if letter.refused is None:
            self._committed(results, letter.began_at)
            return []
        self.aborted_count += 1
        self._epoch += 1
        refused, tps = letter.refused, {job.tp for job in letter.jobs}
        # Also the jobs of the same partitions that were made since: they follow from what is void.
        void = [one for one in self._submitted if one.job.tp in tps]
        self._submitted = [one for one in self._submitted if one.job.tp not in tps]
        group = consumer.consumer_group_metadata()
        if refused.is_stale_member and any(job.group != group for job in letter.jobs):
            # Nothing of the round is visible, and the group has only gone on: write the same again. The broker
            # refuses this as well if the partitions are not ours any more.
            for one in void:
                self._again(one, group)
            self._count_under_way()
            return []
        culprits = {letter.jobs[index].tp for index in refused.culprits}
        self._alone |= culprits
        self._count_under_way()
        if not culprits and not refused.is_stale_member:
            self._problems.begin(
                KIND,
                f"Kafka refuses transactions: {refused.text}",
                cause=Cause.NOT_AUTHORISED if refused.is_forbidden else Cause.TRANSACTIONS_REFUSED,
                blocks=refused.is_forbidden,
                meaning=refused.text,
                event="transaction refused; its partitions start again from what is committed",
                error=refused.text,
            )
        for one in void:
            self._fail(one, results.get(one.job) or nothing(len(one.job.records), _OF_ANOTHER))
        return [tp for tp in tps if self._take_back(tp, refused.text, culprit=tp in culprits)]

    def cannot_begin(self, letter: letters.NoTransactions) -> None:
        """Kafka does not let the producer begin, or does now."""
        error, name = letter.error, letter.transactional_id
        if error is None:
            self._problems.end(KIND, "transactions can be written", transactional_id=name)
            return
        forbidden = is_forbidden(error)
        remedy = f"; allow the user Write and Describe on the transactional id {name!r}" if forbidden else ""
        self._problems.begin(
            KIND,
            f"Kafka does not let transactions begin: {error.str()}{remedy}",
            cause=Cause.NOT_AUTHORISED if forbidden else Cause.TRANSACTIONS_REFUSED,
            meaning=error.code(),
            event="transactions cannot be written; trying on",
            error=error.str(),
            transactional_id=name,
        )

    def _committed(self, results: Mapping[Job, Written], began_at: float) -> None:
        self.committed_count += 1
        self._problems.end(KIND, "transactions are taken again")
        now = monotonic()
        self._measure.commits.add(now - began_at)
        answered = [one for one in self._submitted if one.job in results]
        self._submitted = [one for one in self._submitted if one.job not in results]
        self._count_under_way()
        for one in answered:
            tp, written = one.job.tp, results[one.job]
            if one.job.records:
                self._alone.discard(tp)
            if self._table.partitions.get(tp) is one.partition:
                self._refusals.took(tp)
                self._table.committed(tp, one.commitments, now)
                self._states_kept.committed(tp, one.commitments)
            if one.unit is not None:
                self._answer(one.unit, CheckpointOutcome.ACCEPTED, written)

    def _again(self, one: _Submitted, group: object) -> None:
        before = one.job
        one.job = Job(
            before.tp, before.offset, before.metadata, before.records, group, self._epoch, before.alone, last=True
        )
        self._submitted.append(one)
        self._writer.submit(one.job)

    def _fail(self, one: _Submitted, written: Written) -> None:
        if one.unit is not None:
            self._answer(one.unit, CheckpointOutcome.STALE_LEASE, written)

    def _answer(self, unit: letters.Unit, outcome: CheckpointOutcome, written: Written) -> None:
        count = len(unit.records)
        own = Written(
            written.outcomes[:count], written.partitions[:count], written.offsets[:count], written.errors[:count]
        )
        self._outbox.post(letters.Answer(unit.reply, letters.UnitAnswer(outcome, None, own)))

    def _take_back(self, tp: TopicPartition, reason: str, *, culprit: bool) -> bool:
        """Whether the partition is to be resolved again."""
        unwritten = {lane: self._letters.pop(lane, {}).keys() for lane in self._table.lanes_of(tp)}
        return self._table.aborted(tp, reason, monotonic(), culprit=culprit, unwritten=unwritten)
