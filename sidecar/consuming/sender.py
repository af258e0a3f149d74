"""Makes frames of buffered records: which records are sent now, and which become dead letters instead.

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
"""A frame of this size is handed to the loop before the next one is encoded, so that it is written in the meantime;
smaller frames share one wake-up of the loop."""


class Sender:
    """Sends the records of one lambda's partitions."""

    def __init__(
        self,
        table: PartitionTable,
        buffer: FetchBuffer,
        in_flight: InFlight,
        config: LambdaConfig,
        outbox: Outbox,
        dead_letters: DeadLetters | None,
    ) -> None:
        """``dead_letters``: None with another policy."""
        self._table = table
        self._buffer = buffer
        self._in_flight = in_flight
        self._config = config
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._dead_letters_under_way: dict[TopicPartition, DeadLetter] = {}
        self.changed: set[TopicPartition] = set()
        """Partitions that may be able to send now, because something changed: a frame was written, a checkpoint made
        room, or records arrived."""
        self._queue: dict[TopicPartition, None] = {}
        self.sent = 0
        """Records, since the start."""

    def work(self, now: float) -> None:
        """Encode and hand over the frames that may be sent.

        When too many bytes are in flight, partitions queue; otherwise the first ones would always be served first.
        """
        self._queue.update(dict.fromkeys(self.changed))
        self.changed = set()
        if self._in_flight.crowded(now):
            return
        candidates, self._queue = self._queue, {}
        served: set[TopicPartition] = set()
        for tp in candidates:
            most = self._table.records.may_send(tp)
            while most and self._buffer.count(tp):
                if self._in_flight.crowded(now):
                    self._queue[tp] = None
                    break
                if not self._send_frame(tp, most, now):
                    break
                served.add(tp)
                most = self._table.records.may_send(tp)
            bad = self._buffer.undeliverable(tp)
            if most and bad is not None and not self._buffer.count(tp):
                self._table.records.undeliverable(tp, bad.offset, bad.reason, self._config.rebalance_drain, now)
        for tp in served & self._queue.keys():
            del self._queue[tp]
            self._queue[tp] = None  # to the end of the queue

    def dead_letter_answered(self, answer: letters.DeadLettered, now: float) -> None:
        """The dead-letter thread answered: the record was written, or could not be."""
        tp = answer.partition
        if self._dead_letters_under_way.get(tp) is answer.letter:
            del self._dead_letters_under_way[tp]
        self._table.records.dead_lettered(
            tp, answer.offset, answer.letter, answer.error, self._config.rebalance_drain, now
        )
        self.changed.add(tp)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self.changed.discard(tp)
        self._queue.pop(tp, None)
        self._dead_letters_under_way.pop(tp, None)

    def _send_frame(self, tp: TopicPartition, most: int, now: float) -> bool:
        """Send one frame of at most ``most`` buffered records. Returns whether another one may follow."""
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
        self._table.records.sent(tp, frame.first, frame.last, frame.count, len(frame.data), frame.offsets, now)
        self._in_flight.sent(tp, len(frame.data), now)
        self.sent += frame.count
        self._outbox.post(letters.Send(stream.id, frame.data))
        if len(frame.data) >= AT_ONCE_BYTES:
            self._outbox.flush()
        return True

    def _becomes_dead(self, tp: TopicPartition, bad: Undeliverable, now: float) -> bool:
        """Whether a record that is only too large becomes a dead letter; it stays buffered until it is written."""
        if not bad.readable or self._dead_letters is None:
            return False
        drain = self._config.rebalance_drain
        return self._table.records.undeliverable(tp, bad.offset, bad.reason, drain, now, readable=True)

    def _before_the_dead(self, partition: Partition, now: float) -> int:
        """How many buffered records come before the first one that becomes a dead letter.

        If there are none, that record is given to the dead-letter thread. It stays buffered until it is written, so
        no record after it is sent and no position after it is committed.
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
                    self._table.records.waits_for_dead_letter(tp, offset)
                    self._dead_letters.write(tp, self._buffer.first(tp), letter)
                return 0
            self._table.records.no_such_record(tp, offset, self._config.rebalance_drain, now)
            return 0
        return self._buffer.count(tp)
