"""Back-pressure: which partitions are paused in Kafka's client, and when the thread stops fetching for a while.

Owned by the consumer thread. A pause discards the records that the client had fetched ahead, and a client that has
nothing more to fetch sleeps. So a partition whose lambda makes progress is not paused, even with a full window: once
enough is buffered for every lambda that could take more, the thread stops fetching; librdkafka's own queue is
bounded.

A fetch brings up to a megabyte of a partition, however small its share is. While all memory is used, paused
partitions give back what they have beyond half of their share, and fetch it again when they go on.

A partition makes no progress if it has no lambda, if its window stays full, if its process does not read, or if its
dead letter is not written yet. It is paused once it has used its share of memory, or once all memory is used. A
partition that is only slow is paused when all memory is used and another partition could take more.

Fetching stops only because of partitions that make progress: their buffers drain, and it starts again. A partition
without progress may keep its records without end, and must not stop the others.

A partition with lanes is paused for want of progress only if none of its lanes makes progress. Otherwise a lane
without progress puts off what comes beyond its share (`FetchBuffer`), so that the others go on, and its records are
fetched again once it has sent most of what it has.

A process opens its lanes one after the other. If the client read for the first of them at once, it would be moved
back for each of the others, and discard each time what it had fetched ahead. So it waits for them a moment
(`_others_start`).
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition as KafkaPartition

from sidecar.consuming.fetch_buffer import MAX_WAITING_BYTES, RESUME_BELOW, FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.in_flight import STUCK_AFTER_S, InFlight
from sidecar.consuming.pauses import Pauses
from sidecar.consuming.positions import Positions
from sidecar.consuming.subscription import Subscription
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Lane, State, TopicPartition

ENOUGH_BYTES = 8 * 1024 * 1024
"""Buffered bytes of partitions that make progress, above which the thread stops fetching."""

LANE_STUCK_AFTER_S = 5 * STUCK_AFTER_S
"""The same for one of several lanes with a full window. A process gives its lanes its time in turn, so one may wait
for longer than a partition would. Meanwhile only its own part of the records waits; if it were put off sooner, they
would often be fetched twice."""

STARTING_S = 0.1
"""Seconds after a lane's start, or after it runs, in which another lane of its partition may follow."""

TAKING_S = 0.5
"""Seconds after the start of any lane in which a process may take another one that waits. A busy process opens one
after the other, each in some tenths of a second."""

ALL_STARTING_S = 5.0
"""Seconds that a lane waits at most for others of its partition."""

WAKE_TIMEOUT_S = 0.1
"""Timeout of a wake. The broker answers within a few milliseconds, and the answer does not matter."""


class BackPressure:
    """Pauses and resumes one lambda's partitions in Kafka's client."""

    def __init__(
        self,
        consumer: Consumer,
        positions: Positions,
        pauses: Pauses,
        table: PartitionTable,
        buffer: FetchBuffer,
        fetching: Fetching,
        in_flight: InFlight,
        subscription: Subscription,
    ) -> None:
        self._consumer = consumer
        self._positions = positions
        self._pauses = pauses
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
        self._in_flight = in_flight
        self._subscription = subscription
        self._waits: dict[TopicPartition, float] = {}
        """Partitions with a lane that needs records, and waits for others that start; and since when."""
        self.tight = False
        """Half of the memory is used: the next fetch may exceed it."""

    def adjust(self, now: float) -> bool:
        """Pause and resume partitions. Returns whether enough is buffered, so that nothing should be fetched."""
        self._in_flight.tidy()
        share = self._buffer.share(len(self._table.lanes))
        moving = standing = 0
        stuck: list[Lane] = []
        slow: list[Lane] = []
        for lane in self._buffer:
            self._table.records.buffered(lane, now)
            size = self._buffer.bytes(lane)
            if lane.partition in self._fetching.paused:
                standing += size
            elif self._makes_no_progress(lane, now):
                standing += size
                if size > share and not self._buffer.puts_off(lane):
                    stuck.append(lane)
            else:
                moving += size
                if size > share and not self._table.lanes[lane].window.room():
                    slow.append(lane)
        waiting = moving + standing
        self.tight = waiting > MAX_WAITING_BYTES // 2
        if waiting > MAX_WAITING_BYTES and standing > moving:
            # A fetch brings thousands of records of one partition, far more than its share if there are many. So
            # every partition that makes no progress is paused, also if it has not used its share.
            fetched = [lane for lane in self._table.lanes if lane.partition not in self._fetching.paused]
            stuck = [
                lane for lane in fetched if self._makes_no_progress(lane, now) and not self._buffer.puts_off(lane)
            ]
        enough = moving > ENOUGH_BYTES and not self._anybody_hungry()
        if waiting > MAX_WAITING_BYTES and not enough:
            self._pauses.pause({lane.partition for lane in slow})
            enough = moving > ENOUGH_BYTES and not slow
        self._hold(stuck, now)
        if waiting > MAX_WAITING_BYTES:
            self._give_back(share)
        waited, self._waits = self._waits, {}
        self._resume(share * RESUME_BELOW, now, waited)
        self._take_again(share * RESUME_BELOW, now, waited)
        return enough

    def _hold(self, stuck: Iterable[Lane], now: float) -> None:
        """Let no more records of these lanes wait: pause their partitions, or put off what comes for the lane."""
        standing: set[TopicPartition] = set()
        for lane in stuck:
            if all(self._makes_no_progress(other, now) for other in self._table.lanes_of(lane.partition)):
                standing.add(lane.partition)
            else:
                self._buffer.put_off(lane)
        self._pauses.pause(standing)

    def _give_back(self, share: int) -> None:
        """Shorten what waits of paused partitions to half of their share: their last fetches may have brought
        megabytes."""
        for lane in self._buffer:
            if lane.of == 1 and lane.partition in self._fetching.paused and self._buffer.bytes(lane) > share:
                self._buffer.shorten(lane, share // 2)

    def _take_again(self, low: float, now: float, waited: Mapping[TopicPartition, float]) -> None:
        """Fetch again what was put off of lanes that can take records again."""
        hungry: dict[TopicPartition, list[Lane]] = {}
        for lane in self._buffer.putting_off():
            if lane.partition not in self._fetching.paused and self._is_hungry(lane, low, now):
                hungry.setdefault(lane.partition, []).append(lane)
        for tp, lanes in hungry.items():
            if not self._others_start(tp, now, waited):
                offsets = {lane: at for lane in lanes if (at := self._buffer.take_again(lane)) is not None}
                if offsets:
                    # The lanes of a partition together: each move of the client lets it read for all of them again.
                    self._positions.fetch_again(tp, offsets)

    def _others_start(self, tp: TopicPartition, now: float, waited: Mapping[TopicPartition, float]) -> bool:
        """Whether to wait for lanes of this partition that start. ``waited``: since when partitions do."""
        lanes = [self._table.lanes[lane] for lane in self._table.lanes_of(tp)]
        since = waited.get(tp, now)
        starts = len(lanes) > 1 and (
            any(_starts(lane, now, STARTING_S) for lane in lanes)
            or (
                any(lane.state is State.WAITING for lane in lanes)
                and any(_starts(lane, now, TAKING_S) for lane in self._table.lanes.values())
            )
        )
        if starts and now - since < ALL_STARTING_S:
            self._waits[tp] = since
            return True
        return False

    def wake(self, tps: Collection[TopicPartition]) -> None:
        """Wake the client's broker threads, so that these partitions are fetched at once.

        librdkafka has a thread for each broker. If it has nothing to fetch it sleeps for up to a second, and resuming
        a partition does not wake it: neither our own resume, nor the client's after a rebalance, in which it pauses
        all partitions. Any request to a partition's leader wakes it; this request has no other effect.
        """
        asked = [
            KafkaPartition(tp.topic, tp.partition, 0)
            for tp in tps
            if tp not in self._fetching.paused
            and self._subscription.has_leader(tp)  # the call would wait for a leader
        ]
        if not asked:
            return
        with suppress(KafkaException):  # the thread then wakes by itself within a second
            self._consumer.assignment()  # it is answered after the client's own resumes, so those are in force
            self._consumer.offsets_for_times(asked, timeout=WAKE_TIMEOUT_S)

    def _resume(self, low: float, now: float, waited: Mapping[TopicPartition, float]) -> None:
        """Resume partitions that can take records again: see `_is_hungry`.

        Of several lanes, one that makes progress and has much waiting keeps the partition paused: its memory is
        bounded by nothing else. One without progress does not: it puts off what comes.
        """
        hungry: list[TopicPartition] = []
        for tp in self._fetching.paused:
            lanes = self._table.lanes_of(tp)
            if not any(self._is_hungry(lane, low, now) for lane in lanes) or self._others_start(tp, now, waited):
                continue
            full = [lane for lane in lanes if self._buffer.bytes(lane) >= low and not self._buffer.puts_off(lane)]
            standing = [lane for lane in full if self._makes_no_progress(lane, now)]
            if len(standing) == len(full):
                for lane in standing:
                    self._buffer.put_off(lane)
                hungry.append(tp)
        if hungry:
            asleep = len(self._fetching.paused) == len(self._table.partitions)
            self._pauses.resume(hungry)
            if asleep:  # otherwise the client is fetching other partitions
                self.wake(hungry)

    def _is_hungry(self, lane: Lane, low: float, now: float) -> bool:
        """Whether its lambda runs and has less than ``low`` bytes buffered. If memory is tight, it must make progress
        too."""
        runs = self._table.lanes[lane].state is State.RUNNING
        return runs and self._buffer.bytes(lane) < low and (not self.tight or not self._makes_no_progress(lane, now))

    def _makes_no_progress(self, lane: Lane, now: float) -> bool:
        """Whether the lane has no running lambda, or one that does not read or does not progress."""
        partition = self._table.lanes[lane]
        if partition.state is not State.RUNNING or self._in_flight.stuck(lane, now):
            return True
        held_up = not partition.window.room() or bool(partition.dead)
        patience = STUCK_AFTER_S if lane.of == 1 else LANE_STUCK_AFTER_S
        return held_up and now - partition.held.last_progress_at >= patience

    def _anybody_hungry(self) -> bool:
        """Whether a lambda could take records, none are buffered for it, and its partition's log has more."""
        return any(
            partition.state is State.RUNNING
            and not self._buffer.count(lane)
            and lane.partition not in self._fetching.paused
            and partition.window.room() > 0
            and not self._is_at_the_end(lane.partition)
            for lane, partition in self._table.lanes.items()
        )

    def _is_at_the_end(self, tp: TopicPartition) -> bool:
        """Whether all records were fetched, as far as the client knows; it learns the log's end with each fetch."""
        next_offset = self._fetching.next_offset.get(tp)
        try:
            marks = self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)
        except KafkaException:
            return False
        return next_offset is not None and 0 <= marks[1] <= next_offset


def _starts(lane: Partition, now: float, seconds: float) -> bool:
    """Whether the lane starts, or began to run within these seconds."""
    return lane.state in (State.STARTING, State.RUNNING) and now - lane.state_since < seconds
