"""What waits becomes frames: which records go now, in which frame, and which become dead letters instead.

Owned by the consumer thread.
"""

from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.in_flight import InFlight
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import DeadLetter, TopicPartition
from sidecar.producing.dead_letters import DeadLetters
from sidecar.records.records import Undeliverable

AT_ONCE_BYTES = 64 * 1024
"""A frame of so many bytes goes to the loop before the next is encoded, so that it is written and handled meanwhile;
smaller ones share a wake-up of the loop."""


class Sender:
    """Sends of one lambda's partitions what may go."""

    def __init__(
        self,
        table: PartitionTable,
        buffer: FetchBuffer,
        in_flight: InFlight,
        config: LambdaConfig,
        outbox: Outbox,
        dead_letters: DeadLetters | None,
    ) -> None:
        """``dead_letters``: None where the policy is another."""
        self._table = table
        self._buffer = buffer
        self._in_flight = in_flight
        self._config = config
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._dead_letters_under_way: dict[TopicPartition, DeadLetter] = {}
        self.changed: set[TopicPartition] = set()
        """Partitions of which something may go that could not before. What may not go now comes here again when
        something has changed: a frame was written, a checkpoint made room, records came."""
        self._queue: dict[TopicPartition, None] = {}
        self.sent = 0
        """Records, since the start."""

    def work(self, now: float) -> None:
        """Encode and hand over what may go.

        While the way is crowded, partitions queue: the first of many would else have it for themselves.
        """
        self._queue.update(dict.fromkeys(self.changed))
        self.changed = set()
        if self._in_flight.crowded(now):
            return
        candidates, self._queue = self._queue, {}
        served: set[TopicPartition] = set()
        for tp in candidates:
            most = self._table.may_send(tp)
            while most and self._buffer.count(tp):
                if self._in_flight.crowded(now):
                    self._queue[tp] = None
                    break
                if not self._send_frame(tp, most, now):
                    break
                served.add(tp)
                most = self._table.may_send(tp)
            bad = self._buffer.bad(tp)
            if most and bad is not None and not self._buffer.count(tp):
                self._table.undeliverable(tp, bad.offset, bad.reason, self._config.rebalance_drain, now)
        for tp in served & self._queue.keys():
            del self._queue[tp]
            self._queue[tp] = None  # after those that had no turn

    def kept(self, answer: letters.DeadLettered, now: float) -> None:
        """The dead-letter topic has the record, or does not take it."""
        tp = answer.partition
        if self._dead_letters_under_way.get(tp) is answer.letter:
            del self._dead_letters_under_way[tp]
        self._table.dead_lettered(tp, answer.offset, answer.letter, answer.error, self._config.rebalance_drain, now)
        self.changed.add(tp)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is not ours any more."""
        self.changed.discard(tp)
        self._queue.pop(tp, None)
        self._dead_letters_under_way.pop(tp, None)

    def _send_frame(self, tp: TopicPartition, most: int, now: float) -> bool:
        """One frame of at most ``most`` of the records that wait. Returns whether there may be another."""
        partition = self._table.partitions[tp]
        if partition.skip:
            self._buffer.leave_out(tp, partition.skip)
        if partition.dead and self._buffer.count(tp):
            most = min(most, self._before_the_dead(partition, now))
        if not most or not self._buffer.count(tp):
            return False
        stream = self._table.processes.get(partition.held.stream)
        assert stream is not None
        limits = self._config.frame
        frame = self._buffer.frame(tp, min(most, limits.records), limits.bytes, stream.max_message_bytes)
        if isinstance(frame, Undeliverable):
            if not self._becomes_dead(tp, frame, now):
                self._buffer.mark_undeliverable(tp, frame)
            return True
        self._buffer.taken(tp, frame.count)
        self._table.sent(tp, frame.first, frame.last, frame.count, len(frame.data), frame.offsets, now)
        self._in_flight.sent(tp, len(frame.data), now)
        self.sent += frame.count
        self._outbox.post(letters.Send(stream.id, frame.data))
        if len(frame.data) >= AT_ONCE_BYTES:
            self._outbox.flush()
        return True

    def _becomes_dead(self, tp: TopicPartition, bad: Undeliverable, now: float) -> bool:
        """A record that is only too large stays where it is, to be kept as a dead letter, where the policy is so."""
        if not bad.readable or self._dead_letters is None:
            return False
        drain = self._config.rebalance_drain
        return self._table.undeliverable(tp, bad.offset, bad.reason, drain, now, readable=True)

    def _before_the_dead(self, partition: Partition, now: float) -> int:
        """How many of the waiting records come before the first that is to become a dead letter.

        When that is the next one it is given to the writer. It stays here until it is written, so that nothing beyond
        it is sent, and no position beyond it is committed.
        """
        tp = partition.tp
        if partition.dead:
            offset = min(partition.dead)
            count = self._buffer.before(tp, offset)
            if count:
                return count
            if self._buffer.first_offset(tp) == offset:
                letter = partition.dead[offset]
                if self._dead_letters_under_way.get(tp) is not letter and self._dead_letters is not None:
                    self._dead_letters_under_way[tp] = letter
                    self._table.waits_for_dead_letter(tp, offset)
                    self._dead_letters.write(tp, self._buffer.first(tp), letter)
                return 0
            self._table.no_such_record(tp, offset, self._config.rebalance_drain, now)
            return 0
        return self._buffer.count(tp)
