"""Makes frames of buffered records: which records are sent now, and which become dead letters instead.

Owned by the consumer thread.
"""

from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.in_flight import InFlight
from sidecar.consuming.places import Places
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import DeadLetter, EndReason, EndStream, Lane, StreamId
from sidecar.producing.dead_letters import DeadLetters
from sidecar.records.records import Undeliverable
from sidecar.shared_memory.memory import SharedMemory

AT_ONCE_BYTES = 64 * 1024
"""A frame of this size is handed to the loop before the next one is encoded, so that it is written in the meantime;
smaller frames share one wake-up of the loop."""


class Sender:
    """Sends the records of one lambda's lanes."""

    def __init__(
        self,
        table: PartitionTable,
        buffer: FetchBuffer,
        in_flight: InFlight,
        places: Places,
        config: LambdaConfig,
        outbox: Outbox,
        dead_letters: DeadLetters | None,
    ) -> None:
        """``dead_letters``: None with another policy."""
        self._table = table
        self._records = table.records
        self._buffer = buffer
        self._in_flight = in_flight
        self._places = places
        self._config = config
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._dead_letters_under_way: dict[Lane, DeadLetter] = {}
        self.changed: set[Lane] = set()
        """Lanes that may be able to send now, because something changed: a frame was written, a checkpoint made
        room, or records arrived."""
        self._queue: dict[Lane, None] = {}
        self._spanned: set[Lane] = set()
        """Lanes that wait for other lanes of their partition (`Window.is_spanned`)."""
        self.sent = 0
        """Records, since the start."""
        self.sent_bytes = 0
        """Of their frames, since the start."""
        self.shared_bytes = 0
        """Of these, in shared memory."""
        self._memories: dict[StreamId, SharedMemory] = {}

    def work(self, now: float) -> None:
        """Encode and hand over the frames that may be sent.

        When too many bytes are in flight, lanes queue; otherwise the first ones would always be served first.
        """
        self._queue.update(dict.fromkeys(self.changed))
        self.changed = set()
        if self._in_flight.crowded(now):
            return
        candidates, self._queue = self._queue, {}
        served: set[Lane] = set()
        for lane in candidates:
            most = self._records.may_send(lane) or self._room_since(lane)
            while most and self._buffer.count(lane):
                if self._in_flight.crowded(now):
                    self._queue[lane] = None
                    break
                if not self._send_frame(lane, most, now):
                    break
                served.add(lane)
                most = self._records.may_send(lane)
            bad = self._buffer.undeliverable(lane)
            if most and bad is not None and not self._buffer.count(lane):
                self._records.undeliverable(lane, bad.offset, bad.reason, self._config.rebalance_drain, now)
        for lane in served & self._queue.keys():
            del self._queue[lane]
            self._queue[lane] = None  # to the end of the queue

    @property
    def has_work(self) -> bool:
        """Whether `work` may be able to send: one of `changed` has records, or others waited for its frames."""
        return bool(self.changed and self._queue) or any(self._buffer.holds(lane) for lane in self.changed)

    def look_again(self) -> None:
        """Check the lanes that wait for other lanes of their partition, which may have gone on."""
        if self._spanned:
            self.changed |= self._spanned
            self._spanned = set()

    def _room_since(self, lane: Lane) -> int:
        """The room of a lane that waits for others, after their places were looked up; 0: there is none."""
        if not self._records.is_spanned(lane):
            return 0
        self._places.settle_beside(lane)
        most = self._records.may_send(lane)
        if self._records.is_spanned(lane):
            self._spanned.add(lane)
        return most

    def dead_letter_answered(self, answer: letters.DeadLettered, now: float) -> bool:
        """The dead-letter thread answered: the record was written or not. Returns whether it is left out."""
        lane = answer.lane
        if self._dead_letters_under_way.get(lane) is answer.letter:
            del self._dead_letters_under_way[lane]
        drain = self._config.rebalance_drain
        self.changed.add(lane)
        return self._records.dead_lettered(lane, answer.offset, answer.letter, answer.error, drain, now)

    def share(self, stream: StreamId, memory: SharedMemory) -> None:
        """The stream's process shares this memory, until `lost`."""
        self._memories[stream] = memory

    def lost(self, stream: StreamId) -> None:
        """The stream has ended."""
        memory = self._memories.pop(stream, None)
        if memory is not None:
            memory.void()

    def forget(self, lane: Lane) -> None:
        """The lane is gone."""
        self.changed.discard(lane)
        self._queue.pop(lane, None)
        self._spanned.discard(lane)
        self._dead_letters_under_way.pop(lane, None)

    def _send_frame(self, lane: Lane, most: int, now: float) -> bool:
        """Send one frame of at most ``most`` buffered records. Returns whether another one may follow."""
        partition = self._table.lanes[lane]
        if partition.skip:
            self._buffer.leave_out(lane, partition.skip)
        if partition.dead and self._buffer.count(lane):
            most = min(most, self._before_the_dead(partition, now))
        if not most or not self._buffer.count(lane):
            return False
        stream = self._table.processes.get(partition.held.stream)
        assert stream is not None
        limits = self._config.frame
        memory = self._memories.get(stream.id)
        frame = self._buffer.frame(lane, min(most, limits.records), limits.bytes, stream.max_message_bytes, memory)
        if memory is not None and memory.lie:
            self._outbox.post(EndStream(stream.id, EndReason.PROTOCOL, memory.lie))
            return False
        if isinstance(frame, Undeliverable):
            if not self._becomes_dead(lane, frame, now):
                self._buffer.mark_undeliverable(lane, frame)
            return True
        self._buffer.taken(lane, frame.count)
        self._records.sent(lane, frame.first, frame.last, frame.count, frame.size, frame.offsets, now)
        may_wait = self._in_flight.sent(lane, len(frame.data), now) and not self._buffer.count(lane)
        self.sent += frame.count
        self.sent_bytes += frame.size
        if frame.size != len(frame.data):
            self.shared_bytes += frame.size
        self._outbox.post(letters.Send(stream.id, frame.data, rings=not may_wait))
        if frame.size >= AT_ONCE_BYTES:
            self._outbox.flush()
        return True

    def _becomes_dead(self, lane: Lane, bad: Undeliverable, now: float) -> bool:
        """Whether a record that is only too large becomes a dead letter; it stays buffered until it is written."""
        if not bad.readable or self._dead_letters is None:
            return False
        drain = self._config.rebalance_drain
        return self._records.undeliverable(lane, bad.offset, bad.reason, drain, now, readable=True)

    def _before_the_dead(self, partition: Partition, now: float) -> int:
        """How many buffered records come before the first one that becomes a dead letter.

        If there are none, that record is given to the dead-letter thread. It stays buffered until it is written, so
        no record after it is sent and no position after it is committed.
        """
        lane, offset = partition.lane, min(partition.dead)
        count = self._buffer.before(lane, offset)
        if count:
            return count
        if self._buffer.first_offset(lane) != offset:
            self._records.no_such_record(lane, offset, self._config.rebalance_drain, now)
            return 0
        letter = partition.dead[offset]
        if letter.refused:  # in a transaction, so that it was reached once more
            self._records.dead_lettered(lane, offset, letter, letter.refused, self._config.rebalance_drain, now)
            return 0
        if self._dead_letters_under_way.get(lane) is not letter and self._dead_letters is not None:
            self._dead_letters_under_way[lane] = letter
            self._records.waits_for_dead_letter(lane, offset)
            self._dead_letters.write(lane, self._buffer.first(lane), letter)
        return 0
