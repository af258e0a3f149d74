"""Commits of a lambda with exactly-once: each goes through the transactions thread, with the records that it covers.

Owned by the consumer thread. It decides what is committed and when, as `Commits` does; a `Job` is the commit of one
partition. Nothing else commits such a lambda's offsets.

The jobs of a round share a transaction. One round is under way at a time, but for a revoke, and what lambdas
checkpoint meanwhile waits for the next (`rounds.py`). A partition has one job under way at a time, so no job follows
from another one that may be aborted.

All jobs of a transaction are made at one moment, with one generation of the group. The steps that this prevents:
(1) A job of partition A is made. (2) A rebalance gives A to another member. (3) A job of partition B is made, and
joins. (4) The offsets of both are sent with the generation of B's job. The broker would take A's too: it checks that
we are a member of that generation, and not that A is ours.

A checkpoint counts as soon as it is accepted: the window has room again, and a lambda that is started now starts
after it. If its transaction is aborted, that is taken back: every lambda that may know of it loses its lease, and
Kafka is asked where the partition is (`PartitionTable.aborted`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Protocol

from confluent_kafka import Consumer

from sidecar.causes import Cause
from sidecar.cluster.errors import is_forbidden
from sidecar.consuming.commits import Commitments, Commits
from sidecar.consuming.held_letters import Held, HeldLetters
from sidecar.consuming.problems import Problems
from sidecar.consuming.rounds import Rounds
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.mail.outgoing import Job, Outgoing, Refused, Written
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.vocabulary import CheckpointOutcome, Lane, TopicPartition
from sidecar.producing.outcomes import nothing

KIND = "transactions"
"""The kind of the problem that transactions cannot be begun, or are refused."""

_TAKEN_AWAY = "the partition was taken away before its transaction was answered"


class Writer(Protocol):
    """Where jobs go: the transactions thread."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Write these in one transaction; the answer comes as a letter."""
        ...


@dataclass(eq=False, slots=True)
class _Submitted:
    """A job that is not answered."""

    job: Job
    partition: Assignment
    commitments: Commitments
    units: Sequence[letters.Unit]
    """Their records are the job's, one unit after the other; dead letters come last."""
    late: Sequence[Held]
    """These dead letters."""


class TransactedCommits(Commits):
    """The commits of one lambda with exactly-once."""

    def __init__(
        self,
        writer: Writer,
        outbox: Outbox,
        problems: Problems,
        rounds: Rounds,
        held_letters: HeldLetters,
        **common: Any,
    ) -> None:
        """``outbox`` gets the answers to units; ``common``: the arguments of `Commits`."""
        super().__init__(**common)
        self._writer = writer
        self._outbox = outbox
        self._problems = problems
        self._rounds = rounds
        self._jobs: dict[TopicPartition, _Submitted] = {}
        self._units: defaultdict[TopicPartition, list[letters.Unit]] = defaultdict(list)
        """What waits for the next job of its partition. Its checkpoints are accepted."""
        self._letters = held_letters
        self._alone: set[TopicPartition] = set()
        """Partitions of which a record was refused: until one is written, each has a transaction of its own."""
        self.committed_count = 0
        self.aborted_count = 0
        """Transactions since the start."""
        self.written = 0
        """Records of lambdas since the start."""

    # --- what goes to the thread ------------------------------------------------------------------------------

    def work(self, consumer: Consumer, now: float) -> None:
        """Begin a round if it is time; with the places that moved without records, if their interval is over."""
        if self._jobs or now < (self.round_begins_at if self._rounds.something_waits else self._due):
            return
        wanted = [self._table.partitions[tp] for tp in self._units]
        if now >= self._due:
            self._due = now + self._interval
            others = [
                p
                for tp, p in self._table.partitions.items()
                if tp not in self._units and not self._refusals.waits(tp, now)
            ]
            self.settle(consumer, others)
            wanted += filter(self._is_to_commit, others)
        self._submit(consumer, wanted)

    @property
    def round_begins_at(self) -> float:
        """When the checkpoints that wait are written, by the monotonic clock; infinity: none, or after an answer."""
        if self._jobs or not self._rounds.something_waits:
            return inf
        others = any(
            lane.holding is not None and self._rounds.expects(key, has_records=bool(lane.holding.window.outstanding))
            for key, lane in self._table.lanes.items()
        )
        return self._rounds.begins_at(others_are_expected=others)

    def work_in_callback(self, consumer: Consumer, now: float) -> float:
        """Begin a round if it is time, also inside a rebalance callback: kept partitions have checkpoints too."""
        self.work(consumer, now)
        return self.round_begins_at

    def transact(self, consumer: Consumer, lane: Lane, unit: letters.Unit, *, hurries: bool) -> None:
        """Write these records together with the lane's place, which its checkpoint has just moved.

        ``hurries``: the lane drains, and its lambda closes when it has the answer.
        """
        now = monotonic()
        self._units[lane.partition].append(unit)
        self._rounds.add(lane, now, hurries=hurries)
        self.work(consumer, now)

    def hold(self, lane: Lane, offset: int, record: Outgoing) -> None:
        """Write this dead letter together with the first place that is after its record."""
        self._letters.hold(lane, offset, record)

    def now(self, consumer: Consumer, tps: Iterable[TopicPartition]) -> None:
        """Give the thread the places of these partitions, but for those with a job under way."""
        partitions = [p for p in map(self._table.partitions.get, tps) if p is not None and p.tp not in self._jobs]
        self.settle(consumer, partitions)
        self._submit(consumer, [p for p in partitions if p.tp in self._units or self._is_to_commit(p)])

    def waits(self, tps: Iterable[TopicPartition]) -> bool:
        """Whether something of these partitions is to be given to the thread."""
        return super().waits(tp for tp in tps if tp not in self._jobs)

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
            if left <= 0 or not any(tp in self._jobs for tp in tps):
                break
            read(left)
        self.withdraw(tps)

    def finish(
        self, consumer: Consumer, tps: Iterable[TopicPartition], seconds: float, read: Callable[[], None]
    ) -> None:
        """Write what is left of these partitions before the sidecar ends, for at most ``seconds``."""
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            read()
            tps = [tp for tp in tps if tp in self._table.partitions]  # a revoke inside the poll releases some
            self.now(consumer, tps)
            if not self._jobs:
                return
            self._poll(consumer)
        self._log.warning("the last transaction did not end in time; some records will be handled again")

    def withdraw(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are not ours any more: nothing of them is begun, and no answer about them counts."""
        for tp in tps:
            one = self._jobs.pop(tp, None)
            if one is not None:
                one.job.withdrawn = True
                self._fail(one.units, nothing(len(one.job.records), _TAKEN_AWAY))
            self._fail_waiting(tp, _TAKEN_AWAY)
            self._letters.drop(self._table.lanes_of(tp))
            self._alone.discard(tp)

    def abandon(self) -> None:
        """The consumer has failed for good. Its partitions are withdrawn with their loss; the thread goes on."""
        self._due = 0.0

    def _submit(self, consumer: Consumer, partitions: Sequence[Assignment]) -> None:
        """Give the thread all that waits for these partitions, which have no job under way."""
        if not partitions:
            return
        group = consumer.consumer_group_metadata()
        jobs = [self._job(partition, group) for partition in partitions]
        self._rounds.begin([lane for partition in partitions for lane in partition.keys], monotonic())
        self._table.transacting(self._jobs)
        self._write(jobs)

    def _job(self, partition: Assignment, group: object) -> Job:
        tp = partition.tp
        self._places.settle(tp)
        commitments = partition.commitments
        units = self._units.pop(tp, [])
        records = [record for unit in units for record in unit.records]
        late = self._letters.take(partition)
        records += [one.record for one in late]
        job = Job(tp, *self._written(tp, commitments), records, group, len(late))
        self._jobs[tp] = _Submitted(job, partition, commitments, units, late)
        return job

    def _write(self, jobs: Sequence[Job]) -> None:
        together = [job for job in jobs if job.tp not in self._alone]
        for one_round in (*([job] for job in jobs if job.tp in self._alone), together):
            if one_round:
                self._writer.submit(one_round)

    # --- what comes back --------------------------------------------------------------------------------------

    def transacted(self, consumer: Consumer, letter: letters.Transacted) -> list[TopicPartition]:
        """A transaction has ended. Returns the partitions whose resume offsets have to be resolved again."""
        # Not those that were withdrawn meanwhile.
        known = {
            number: one
            for number, job in enumerate(letter.jobs)
            if (one := self._jobs.get(job.tp)) is not None and one.job is job
        }
        again: list[TopicPartition] = []
        self._rounds.answered(monotonic())
        if letter.refused is None:
            self._committed(known, letter)
        else:
            again = self._aborted(consumer, known, letter, letter.refused)
        self._table.transacting(self._jobs)
        self.work(consumer, monotonic())
        return again

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

    def _committed(self, known: Mapping[int, _Submitted], letter: letters.Transacted) -> None:
        self.committed_count += 1
        self._problems.end(KIND, "transactions are taken again")
        now = monotonic()
        self._measure.commits.add(now - letter.began_at)
        for number, one in known.items():
            tp = one.job.tp
            del self._jobs[tp]
            if one.job.records:
                self._alone.discard(tp)
            self.written += len(one.job.records)
            self._refusals.took(tp)
            self._table.committed(tp, one.commitments, now)
            self._states_kept.committed(tp, one.commitments)
            self._letters.written(one.late)
            for lane, offset, _ in one.late:
                self._table.records.dead_letter_written(lane, offset)
            self._answer(one.units, CheckpointOutcome.ACCEPTED, letter.written[number])

    def _aborted(
        self, consumer: Consumer, known: Mapping[int, _Submitted], letter: letters.Transacted, refused: Refused
    ) -> list[TopicPartition]:
        self.aborted_count += 1
        group = consumer.consumer_group_metadata()
        again: list[TopicPartition] = []
        repeated: list[Job] = []
        halting, tried_again = self._refused_letters(known, refused)
        culprits = {letter.jobs[number].tp for number in {*refused.culprits, *tried_again}}
        settled = bool(refused.letters) and not culprits
        for number, one in known.items():
            tp = one.job.tp
            if refused.is_stale_member and one.job.group != group:
                # Nothing of it is visible, and the group has only gone on: write the same again. If the partition is
                # not ours any more, the broker refuses that as well.
                old = one.job
                one.job = Job(tp, old.offset, old.metadata, old.records, group, old.dead_letters)
                repeated.append(one.job)
                continue
            del self._jobs[tp]
            self._fail(one.units, letter.written[number])
            self._fail_waiting(tp, f"not written: the transaction before it was aborted: {refused.text}")
            if self._table.aborted(
                tp,
                refused.text,
                monotonic(),
                culprit=tp in culprits,
                unwritten=self._letters.drop(self._table.lanes_of(tp)),
                refused=halting,
                is_settled=settled,
            ):
                again.append(tp)
        self._write(repeated)
        without_its_letter = {letter.jobs[number].tp for number in refused.letters}
        self._alone = (self._alone - without_its_letter) | culprits
        if not (culprits or settled or refused.is_stale_member):
            self._problems.begin(
                KIND,
                f"Kafka refuses transactions: {refused.text}",
                cause=Cause.NOT_AUTHORISED if refused.is_forbidden else Cause.TRANSACTIONS_REFUSED,
                blocks=refused.is_forbidden,
                meaning=refused.is_forbidden,
                event="transaction refused; its partitions start again from what is committed",
                error=refused.text,
            )
        return again

    def _refused_letters(
        self, known: Mapping[int, _Submitted], refused: Refused
    ) -> tuple[dict[Lane, tuple[int, str]], set[int]]:
        """See `HeldLetters.refused`."""
        held = {number: one.late for number, one in known.items()}
        refusals = {
            number: {index - len(one.job.records) + len(one.late): why for index, why in of_job.items()}
            for number, of_job in refused.letters.items()
            if (one := known.get(number)) is not None
        }
        return self._letters.refused(held, refusals)

    def _fail_waiting(self, tp: TopicPartition, why: str) -> None:
        units = self._units.pop(tp, [])
        self._rounds.drop(self._table.lanes_of(tp))
        self._fail(units, nothing(sum(len(unit.records) for unit in units), why))

    def _fail(self, units: Sequence[letters.Unit], written: Written) -> None:
        self._answer(units, CheckpointOutcome.STALE_LEASE, written)

    def _answer(self, units: Sequence[letters.Unit], outcome: CheckpointOutcome, written: Written) -> None:
        first = 0
        for unit in units:
            own = slice(first, first + len(unit.records))
            part = Written(written.outcomes[own], written.partitions[own], written.offsets[own], written.errors[own])
            self._outbox.post(letters.Answer(unit.reply, letters.UnitAnswer(outcome, None, part)))
            first = own.stop
