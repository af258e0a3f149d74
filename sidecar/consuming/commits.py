"""Commits the resume offset of each partition: at an interval, at a drain and at the end.

Owned by the consumer thread, which owns the partitions as well, so nothing changes between the decision to commit
and the commit. What is committed of a partition is taken at one moment: the offset, and the states that belong to it.
This `Commitment` is kept until the answer comes, when the partition may be further. A failed commit, whatever the
error, is tried again at the next interval while the partition is assigned to us. `commit_refusals` reports refusals.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.cluster import commit_metadata
from sidecar.cluster.errors import OF_ONE_PARTITION, kind_of
from sidecar.cluster.origins import Origins
from sidecar.consuming.commit_refusals import CommitRefusals, tps_of
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.places import Places
from sidecar.consuming.states_kept import StatesKept
from sidecar.measured import ThreadMeasure
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.offsets import Commitment
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

FIRST_COMMIT_RETRY_S = 0.2
"""Seconds until the first commit of a new resume offset is tried again."""

DRAIN_COMMIT_INTERVAL_S = 0.25
"""Seconds between commits during a drain: a lambda may wait for one before it closes."""

Commitments = Sequence[Commitment]
"""What a commit has of each lane of a partition."""

MAX_TRIES = 3
"""Attempts of a synchronous commit."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A commit that is under way."""

    at: float
    """When it was sent, in seconds of the monotonic clock."""
    commitments: Commitments


class Commits:
    """The commits of one lambda."""

    def __init__(
        self,
        table: PartitionTable,
        buffer: FetchBuffer,
        fetching: Fetching,
        places: Places,
        origins: Origins,
        interval: float,
        refusals: CommitRefusals,
        states_kept: StatesKept,
        log: FilteringBoundLogger,
        measure: ThreadMeasure,
    ) -> None:
        """``interval`` in seconds."""
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
        self._places = places
        self._origins = origins
        self._interval = interval
        self._refusals = refusals
        self._states_kept = states_kept
        self._log = log
        self._measure = measure
        self._due = 0.0
        self._under_way: dict[TopicPartition, Sent] = {}
        """The commits that are under way: one of a partition at a time, so that they arrive in order."""

    def hurry(self) -> None:
        """Commit in the next turn: a partition waits for it."""
        self._due = 0.0

    @property
    def round_begins_at(self) -> float:
        """When ``work`` begins a transaction, by the monotonic clock; other commits may be some turns later."""
        return inf

    def work_in_callback(self, consumer: Consumer, now: float) -> float:
        """Work as far as that is possible inside a rebalance callback. Returns when there is something to do."""
        del consumer, now  # the answer to a commit would not arrive
        return inf

    def work(self, consumer: Consumer, now: float) -> None:
        """Commit if the interval is over. The answer comes to ``on_commit`` in a later poll."""
        if now < self._due:
            return
        # A new resume offset that was refused is tried again sooner: no lambda gets the partition before.
        waits = any(p.resolving and p.to_commit() is not None for p in self._table.partitions.values())
        self._due = now + (min(FIRST_COMMIT_RETRY_S, self._interval) if waits else self._interval)
        partitions = [
            p
            for p in self._table.partitions.values()
            if p.tp not in self._under_way and not self._refusals.waits(p.tp, now)
        ]
        self.settle(consumer, partitions)
        self._send(consumer, self._outstanding(partitions))

    def now(self, consumer: Consumer, tps: Iterable[TopicPartition]) -> None:
        """Commit these partitions and wait for the answer, because they are about to be released."""
        partitions = [p for p in map(self._table.partitions.get, tps) if p is not None]
        self.settle(consumer, partitions)
        wanted = self._outstanding(partitions)
        for request in self._requests(wanted):
            self._commit(consumer, request, wanted)

    def release(
        self, consumer: Consumer, tps: Sequence[TopicPartition], seconds: float, read: Callable[[float], None]
    ) -> None:
        """Commit these partitions inside a rebalance callback, before they are released.

        ``read`` reads one letter, waiting at most so many seconds; what needs letters takes at most ``seconds``.
        """
        del seconds, read  # a commit in here is answered by librdkafka
        self.now(consumer, tps)

    def withdraw(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are not assigned to us any more."""

    def _commit(
        self, consumer: Consumer, offsets: list[KafkaPartition], sent: Mapping[TopicPartition, Commitments]
    ) -> None:
        """Commit and wait. If Kafka may have refused only some partitions, commit each half by itself."""
        for attempt in range(1, MAX_TRIES + 1):
            sent_at = monotonic()
            try:
                answers = consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as refusal:
                error = refusal.args[0]
                self._measure.commit_failures[kind_of(error)] += 1
                # With KIP-848 the member's epoch may change during a drain; at the next attempt the client knows it.
                again = error.retriable() or error.code() == KafkaError.STALE_MEMBER_EPOCH
                if error.code() in OF_ONE_PARTITION and len(offsets) > 1:
                    middle = len(offsets) // 2
                    self._commit(consumer, offsets[:middle], sent)
                    self._commit(consumer, offsets[middle:], sent)
                    return
                if not again or attempt == MAX_TRIES:
                    self._refusals.failed(error, offsets)
                    return
            else:
                self._measure.commits.add(monotonic() - sent_at)
                self._took(answers or [], sent)
                return

    def waits(self, tps: Iterable[TopicPartition]) -> bool:
        """Whether something of these partitions is to be committed."""
        partitions = map(self._table.partitions.get, tps)
        return any(p is not None and self._is_to_commit(p) for p in partitions)

    def sooner(self, interval: float) -> None:
        """Commit at this interval, in seconds, from now on, if it is shorter."""
        self._interval = min(self._interval, interval)
        self._due = min(self._due, monotonic() + self._interval)

    def finish(
        self, consumer: Consumer, tps: Iterable[TopicPartition], seconds: float, read: Callable[[], None]
    ) -> None:
        """Commit these partitions before the sidecar ends, and wait at most ``seconds`` for the answer.

        ``read`` reads the letters that are there. Not to be called inside a rebalance callback, where the answer
        would not arrive.
        """
        partitions = [p for p in map(self._table.partitions.get, tps) if p is not None]
        self.settle(consumer, partitions)
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            read()
            if not self._under_way:
                # The race that this prevents: (1) A poll below runs a revoke callback, which commits and releases a
                # partition. (2) Its next owner commits a higher offset. (3) We would commit our older offset, and
                # Kafka would take it: it checks that we are a member, not that we own the partition.
                partitions = [p for p in partitions if self._table.partitions.get(p.tp) is p]
                wanted = self._outstanding(partitions)
                if not wanted:
                    return
                self._send(consumer, wanted)
            self._poll(consumer)
        self._log.warning("the last commit did not get through in time; some records will be handled again")

    def _poll(self, consumer: Consumer) -> None:
        """Serve the client for a moment; no record is wanted any more."""
        message = consumer.poll(0.01)
        if message is not None and message.error() is None:
            # We drop the record, but the client's position has passed it. A revoke inside a later poll must not
            # commit that position.
            dropped = TopicPartition(message.topic() or "", message.partition() or 0)
            self._table.dropped([dropped])

    def on_commit(self, error: KafkaError | None, partitions: list[KafkaPartition]) -> None:
        """librdkafka's answer to an asynchronous commit. Runs inside poll and close."""
        # The partitions of one request were sent together. One that was abandoned is not known any more.
        tps = tps_of(partitions) if partitions else [*self._under_way]
        sent = {tp: self._under_way.pop(tp) for tp in tps if tp in self._under_way}
        if error is not None:
            self._measure.commit_failures[kind_of(error)] += 1
        elif sent:
            self._measure.commits.add(monotonic() - min(one.at for one in sent.values()))
        if error is None:
            self._took(partitions, {tp: one.commitments for tp, one in sent.items()})
        elif self._refusals.in_part(error, partitions):
            self._due = 0.0
        else:
            self._refusals.failed(error, partitions)

    def abandon(self) -> None:
        """The client has failed for good: no commit that is under way will be answered."""
        self._under_way.clear()
        self._due = 0.0

    def _send(self, consumer: Consumer, wanted: Mapping[TopicPartition, Commitments]) -> None:
        for request in self._requests(wanted):
            tps, now = tps_of(request), monotonic()
            self._under_way.update({tp: Sent(now, wanted[tp]) for tp in tps})
            try:
                consumer.commit(offsets=request, asynchronous=True)
            except KafkaException as error:
                for tp in tps:
                    del self._under_way[tp]
                self._measure.commit_failures[kind_of(error.args[0])] += 1
                self._refusals.failed(error.args[0], request)

    def settle(self, consumer: Consumer, partitions: Sequence[Assignment]) -> None:
        """Move lanes over gaps, and partitions with nothing to do over transaction markers and other gaps in the log.

        The client's ``position()`` counts fetched records, so it is taken only if all of these are sent and
        processed. After a seek or an assignment the position is invalid until a record or a marker has been fetched.
        """
        for partition in partitions:
            self._places.settle(partition.tp)
        idle = [
            KafkaPartition(p.tp.topic, p.tp.partition)
            for p in partitions
            if p.caught_up and all(map(self._buffer.idle, p.keys))
        ]
        if not idle:
            return
        for position in consumer.position(idle):
            tp = TopicPartition(position.topic, position.partition)
            if position.error is None and position.offset >= self._fetching.next_offset.get(tp, 0):
                self._table.settle(tp, [position.offset] * len(self._table.lanes_of(tp)))

    def _outstanding(self, partitions: Iterable[Assignment]) -> dict[TopicPartition, Commitments]:
        """What is to be committed now."""
        return {p.tp: p.commitments for p in partitions if self._is_to_commit(p)}

    def _is_to_commit(self, partition: Assignment) -> bool:
        if partition.to_commit() is not None:
            return True
        return self._refusals.is_forbidden(partition.tp) and partition.is_committed

    def _requests(self, wanted: Mapping[TopicPartition, Commitments]) -> list[list[KafkaPartition]]:
        offsets: list[KafkaPartition] = []
        for tp, commitments in wanted.items():
            offset, metadata = self._written(tp, commitments)
            offsets.append(KafkaPartition(*tp, offset, metadata=metadata))
        return self._refusals.requests(offsets)

    def _written(self, tp: TopicPartition, commitments: Commitments) -> tuple[int, str]:
        """The offset and the metadata of a commit."""
        places = [one.place for one in commitments]
        return min(place.offset for place in places), commit_metadata.encode(self._origins.get(tp), places)

    def _took(self, answers: Iterable[KafkaPartition], sent: Mapping[TopicPartition, Commitments]) -> None:
        for answer in answers:
            if answer.error is not None:
                self._measure.commit_failures[kind_of(answer.error)] += 1
                self._refusals.failed(answer.error, [answer])
                continue
            tp = TopicPartition(answer.topic, answer.partition)
            self._refusals.took(tp)
            commitments = sent.get(tp)
            if commitments is not None:  # else it was abandoned, and is committed again
                self._table.committed(tp, commitments, monotonic())
                self._states_kept.committed(tp, commitments)
