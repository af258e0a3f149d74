"""Where each partition starts, and how its reading position is moved.

Owned by the consumer thread, and never called inside a rebalance callback: there the binding itself does the right
kind of assign for range, cooperative-sticky and KIP-848, and calling one ourselves breaks at least one of them. What
needs another offset is assigned after the callback.

`auto.offset.reset` is `error`, so librdkafka never jumps by itself: a group without a committed offset starts where
the config says, and a committed offset that no longer exists is said with its numbers before anything moves.
"""

from collections.abc import Callable, Collection, Iterable
from time import monotonic

from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.config.lambdas import LambdaConfig
from sidecar.kafka.inflow import Inflow
from sidecar.mail import SeekTo
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import OrderRefused, TopicPartition, short

REQUEST_TIMEOUT = 2.0
"""Seconds that a question to the broker may take. It stands in the way of this lambda's records, so it is short."""
RETRY_AFTER = 0.5

# ListOffsets takes these in the place of a timestamp (Kafka protocol, ListOffsets request).
_TIMES = {"earliest": -2, "latest": -1}


class Places:
    """The reading positions of one lambda's partitions."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        inflow: Inflow,
        config: LambdaConfig,
        log: FilteringBoundLogger,
        stopped: Callable[[Collection[TopicPartition]], None],
        *,
        cooperative: bool,
    ) -> None:
        """``stopped`` is told of partitions that were unassigned by us, and are about to be assigned again."""
        self._consumer = consumer
        self._table = table
        self._inflow = inflow
        self._config = config
        self._cooperative = cooperative
        self._log = log
        self._stopped = stopped
        self._unresolved: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()
        self._moved: set[TopicPartition] = set()
        self._left_at: dict[TopicPartition, int] = {}
        self._retry_at = 0.0
        self._said = ""

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka gave these partitions."""
        self._unresolved.update(tps)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These are not ours any more."""
        for tp in tps:
            partition = self._table.partitions.get(tp)
            if partition is not None and partition.committed is not None:
                self._left_at[tp] = partition.committed
            self._unresolved.discard(tp)
            self._gone.discard(tp)
            self._moved.discard(tp)

    def offset_gone(self, tp: TopicPartition) -> None:
        """The broker does not have the offset that was asked for. It says so once, so it must not be forgotten."""
        self._gone.add(tp)

    def work(self) -> list[TopicPartition]:
        """Resolve what is unresolved. Called each turn; does nothing when there is nothing to do.

        Returns the partitions that the client begins to read anew: new ones whose place is known now, and those that
        were moved, here or by a rewind.
        """
        if (self._unresolved or self._gone) and monotonic() >= self._retry_at:
            placed = self._resolve()
        elif self._moved:
            placed = []
        else:
            return []
        moved, self._moved = self._moved, set()
        return [*moved.union(placed)]

    def _resolve(self) -> list[TopicPartition]:
        new = [*self._unresolved]
        try:
            if self._unresolved:
                self._resolve_new(new)
            if self._gone:
                self._resolve_gone([tp for tp in self._gone if tp not in self._unresolved])
        except KafkaException as error:
            self._retry_at = monotonic() + RETRY_AFTER
            text = error.args[0].str()
            if text != self._said:
                self._log.warning("cannot ask Kafka where to start; trying again", error=text)
            self._said = text
        else:
            self._said = ""
        return [tp for tp in new if tp not in self._unresolved]

    def find(self, tp: TopicPartition, to: SeekTo) -> int:
        """The offset that an operator means.

        Raises ``KafkaException``, and ``OrderRefused`` when the log does not have it.
        """
        if to.kind == "earliest":
            return self._edges([tp], "earliest")[tp]
        # What was fetched already does not lie beyond the end, whatever the broker says (the embedded one errs).
        end = max(self._edges([tp], "latest")[tp], self._inflow.next_offset.get(tp, 0))
        match to.kind:
            case "latest":
                return end
            case "timestamp":
                [answer] = self._consumer.offsets_for_times(
                    [KafkaPartition(tp.topic, tp.partition, to.value)], timeout=REQUEST_TIMEOUT
                )
                if answer.error is not None:
                    raise KafkaException(answer.error)
                return answer.offset if answer.offset >= 0 else end
            case "offset":
                known = self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)
                end = max(end, known[1])
                first = self._edges([tp], "earliest")[tp]
                if not first <= to.value <= end:
                    text = f"offset {to.value} is not in the log of {tp}, which has {first} to {end}"
                    raise OrderRefused(text, "range")
                return to.value

    def rewind(self, tp: TopicPartition, offset: int) -> None:
        """Fetch again from ``offset``."""
        self._inflow.drop(tp)
        try:
            # Ends when librdkafka has thrown away what it had fetched, so nothing older can come after it.
            self._consumer.seek(KafkaPartition(tp.topic, tp.partition, offset))
            self._inflow.next_offset[tp] = offset
        except KafkaException as error:
            # Not fetched from yet: there is nothing to seek in. An assignment with an offset does the same.
            reason = str(error.args[0])
            self._log.debug("seek refused, assigning", topic=tp.topic, partition=tp.partition, error=reason)
            self._move({tp: offset})

    def _resolve_new(self, tps: list[TopicPartition]) -> None:
        asked = [KafkaPartition(tp.topic, tp.partition) for tp in tps]
        committed = self._consumer.committed(asked, timeout=REQUEST_TIMEOUT)
        known: dict[TopicPartition, int] = {}
        none: list[TopicPartition] = []
        for answer in committed:
            tp = TopicPartition(answer.topic, answer.partition)
            if answer.error is not None:
                raise KafkaException(answer.error)
            if answer.offset >= 0:
                known[tp] = answer.offset
            else:
                none.append(tp)
        # Kafka forgets a group's offsets together with the topic: one that we had left with an offset is no new one.
        lost = [tp for tp in none if tp in self._left_at]
        self._resolve_lost(lost)
        starts = self._edges([tp for tp in none if tp not in lost], self._config.start)
        now = monotonic()
        # Those with a committed offset are read from it already, and some of their records may be here: the eager
        # protocol, which moves all at once, must find their places known.
        for tp, offset in known.items():
            self._unresolved.discard(tp)
            self._table.resolved(tp, offset, now, committed=True)
        self._move(starts)
        self._unresolved.difference_update(starts)
        self._gone.difference_update(starts)  # of a partition without a committed offset it is no news
        if starts:
            self._log.info(f"no committed offset: starting at the {self._config.start}", partitions=short(starts))
        for tp, offset in starts.items():
            self._table.resolved(tp, offset, now, committed=False)

    def _resolve_lost(self, tps: list[TopicPartition]) -> None:
        """Partitions that had a committed offset when they were ours before, and have none now."""
        earliest, latest = self._edges(tps, "earliest"), self._edges(tps, "latest")
        moves = {
            tp: self._lose(tp, "committed offset", self._left_at[tp], earliest[tp], latest[tp], monotonic())
            for tp in tps
        }
        self._move(moves)
        self._unresolved.difference_update(tps)
        self._gone.difference_update(tps)
        for tp in tps:
            del self._left_at[tp]

    def _resolve_gone(self, tps: list[TopicPartition]) -> None:
        earliest, latest = self._edges(tps, "earliest"), self._edges(tps, "latest")
        now = monotonic()
        moves: dict[TopicPartition, int] = {}
        for tp in tps:
            partition = self._table.partitions[tp]
            wanted = self._inflow.next_offset.get(tp, partition.resume_at)
            if earliest[tp] <= wanted <= latest[tp]:
                # Heard of an older question: the place is there after all. Ask again from it, nothing is lost.
                moves[tp] = wanted
            else:
                moves[tp] = self._lose(tp, "offset", wanted, earliest[tp], latest[tp], now)
        self._move(moves)
        self._gone.difference_update(tps)

    def _lose(self, tp: TopicPartition, what: str, wanted: int, earliest: int, latest: int, now: float) -> int:
        """The place ``wanted`` is gone: say so, and do what the config says. Returns where to read on."""
        policy = self._config.on_offset_lost
        self._log.error(
            "offset lost: " + ("halting" if policy == "halt" else f"going on at the {policy}"),
            topic=tp.topic,
            partition=tp.partition,
            offset=wanted,
            place=max(self._table.partitions[tp].resume_at, 0) if what == "offset" else wanted,
            earliest=earliest,
            latest=latest,
        )
        offset = latest if policy == "latest" else earliest
        self._inflow.drop(tp)
        numbers = f"offset {wanted} is not in the log, which has {earliest} to {latest}"
        if what == "committed offset":
            numbers = (
                f"the group's offset, {wanted} when it was last ours, is gone; the log has {earliest} to {latest}"
            )
        self._table.offset_lost(tp, offset, now, numbers, halt=policy == "halt")
        return offset

    def _edges(self, tps: Collection[TopicPartition], which: str) -> dict[TopicPartition, int]:
        """The first (`earliest`) or the next (`latest`) offset of each partition. Raises ``KafkaException``."""
        if not tps:
            return {}
        asked = [KafkaPartition(tp.topic, tp.partition, _TIMES[which]) for tp in tps]
        answers = self._consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT)
        edges: dict[TopicPartition, int] = {}
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
            edges[TopicPartition(answer.topic, answer.partition)] = answer.offset
        return edges

    def _move(self, offsets: dict[TopicPartition, int]) -> None:
        """Read these partitions from these offsets."""
        if not offsets:
            return
        moved = [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        if self._cooperative:
            self._consumer.incremental_unassign([KafkaPartition(p.topic, p.partition) for p in moved])
            self._stopped(offsets)
            self._consumer.incremental_assign(moved)
        else:
            # The eager protocol knows only the whole assignment: the others are told where they are.
            everything = {tp: self._place_of(p) for tp, p in self._table.partitions.items()} | offsets
            self._consumer.unassign()
            self._stopped(everything)
            self._consumer.assign([KafkaPartition(tp.topic, tp.partition, o) for tp, o in everything.items()])
            self._moved.update(everything)
        self._moved.update(offsets)
        self._inflow.next_offset.update(offsets)
        # Whether a moved partition is still paused differs between the protocols; not paused is what is meant.
        stopped = self._inflow.paused.intersection(offsets)
        if stopped:
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in stopped])
            self._inflow.paused.difference_update(stopped)

    def _place_of(self, partition: Partition) -> int:
        offset = self._inflow.next_offset.get(partition.tp, partition.resume_at)
        return offset if offset >= 0 else OFFSET_STORED
