"""Reads the letters of the event loop, and carries out the commands of the partitions' table.

Owned by the consumer thread.
"""

from collections.abc import Mapping
from time import monotonic

from confluent_kafka import KafkaException

from sidecar.consuming.clients import Clients
from sidecar.consuming.housekeeping import Housekeeping
from sidecar.consuming.lambda_state import LambdaState
from sidecar.consuming.status import lambda_status
from sidecar.mail import letters
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    Exit,
    Lane,
    Lease,
    Progress,
    Report,
    Resumed,
    Rewind,
    TopicPartition,
    fields_of,
)
from sidecar.status import LambdaStatus

Postponable = letters.Told | letters.Topics | letters.Pause | letters.Seek
"""Letters that may move positions or change holdings."""


class LetterReader:
    """Reads one lambda's letters."""

    def __init__(self, state: LambdaState, clients: Clients, housekeeping: Housekeeping) -> None:
        self._state = state
        self._table = state.table
        self._clients = clients
        self._housekeeping = housekeeping
        self.in_callback = False
        """A rebalance callback runs: positions and holdings must not change now."""
        self.postponed: list[Postponable] = []
        """Letters that arrived inside a callback; they are read after it."""
        self.stopping = False
        """The thread is to end."""

    def read_all(self) -> None:
        """Read all letters, then carry out the table's commands."""
        while self.postponed:
            self.read(self.postponed.pop(0))
        while (letter := self._state.mailbox.take()) is not None:
            self.read(letter)
        self.carry_out()

    def read(self, letter: letters.Letter) -> None:
        """Read one."""
        match letter:
            case letters.Told() | letters.Topics() | letters.Pause() | letters.Seek() if self.in_callback:
                self.postponed.append(letter)  # positions and holdings must not change now
            case letters.Resume() | letters.Pause() | letters.Seek() | letters.Inspect():
                self._read_operators(letter)
            case letters.Told() | letters.Topics() | letters.TopicsUnknown():
                self._read_brokers(letter)
            case letters.Stop():
                self.stopping = True
            case letters.DeadLettered():
                self._read_dead_letter(letter)
            case letters.Commit() | letters.Transacted() | letters.NoTransactions():
                self._read_transactions(letter)
            case letters.Written() | letters.Checkpoints() | letters.Ready() | letters.Failed():
                self._read_leases(letter)
            case _:
                self._read_streams(letter)

    def _read_leases(self, letter: letters.Written | letters.Checkpoints | letters.Ready | letters.Failed) -> None:
        """Letters after which more records may be sent."""
        now = monotonic()
        table, changed = self._table, self._state.sender.changed
        match letter:
            case letters.Written(stream):
                lane = table.streams.written(stream)
                if lane is not None:
                    self._state.in_flight.written(lane, now)
                    changed.add(lane)
            case letters.Checkpoints(entries, reply, units):
                results = []
                for index, (lease, progress) in enumerate(entries):
                    unit = units.get(index)
                    result = table.streams.checkpoint(lease, progress, now)
                    results.append(result)
                    if unit is not None:
                        self._transact(unit, *result)
                    self._may_send(lease)
                self._state.outbox.post(letters.Answer(reply, results))
            case letters.Ready(stream, lease, memory):
                if memory is not None:
                    self._state.sender.share(stream, memory)
                table.streams.ready(stream, lease, now)
                if self._may_send(lease):
                    self._housekeeping.soon()  # the partition may be paused in Kafka's client
            case letters.Failed(lease, failure, last, error_reply, unit):
                if unit is not None:
                    self._take(unit, last if last is not None and failure.admits(last) else None)
                self._state.outbox.post(letters.Answer(error_reply, table.streams.error(lease, failure, last, now)))
                self._may_send(lease)  # after a report the lease lives on, and its checkpoint may have made room

    def _read_transactions(self, letter: letters.Commit | letters.Transacted | letters.NoTransactions) -> None:
        transacted, client = self._state.transacted, self._clients.now
        assert transacted is not None, "only a lambda with exactly-once has such letters"
        match letter:
            case letters.Commit(progress, unit):
                self._take(unit, progress)
            case letters.Transacted():
                again = transacted.transacted(client.consumer, letter)
                if again:
                    client.resolving.assigned(again)
            case letters.NoTransactions():
                transacted.cannot_begin(letter)

    def _take(self, unit: letters.Unit, progress: Progress | None) -> None:
        """Take a checkpoint with its records; None: the checkpoint does not count."""
        if progress is None:
            self._transact(unit, CheckpointOutcome.STALE_LEASE, None)
        else:
            self._transact(unit, *self._table.streams.checkpoint(unit.lease, progress, monotonic()))
            self._may_send(unit.lease)

    def _transact(self, unit: letters.Unit, outcome: CheckpointOutcome, delivered: int | None) -> None:
        """The checkpoint that came with these records has this outcome: write both, or say that nothing is."""
        lane = self._table.streams.lane_of(unit.lease)
        accepted = outcome in (CheckpointOutcome.ACCEPTED, CheckpointOutcome.ACCEPTED_DRAINING)
        if not accepted or lane is None or self._state.transacted is None:
            self._state.outbox.post(letters.Answer(unit.reply, letters.UnitAnswer(outcome, delivered)))
            return
        drains = outcome is CheckpointOutcome.ACCEPTED_DRAINING
        self._state.transacted.transact(self._clients.now.consumer, lane, unit, hurries=drains)

    def _read_dead_letter(self, letter: letters.DeadLettered) -> None:
        left_out = self._state.sender.dead_letter_answered(letter, monotonic())
        if left_out and letter.record is not None and self._state.transacted is not None:
            self._state.transacted.hold(letter.lane, letter.offset, letter.record)

    def _may_send(self, lease: Lease) -> bool:
        """Have the sender check the lane of this lease. Returns whether the lease is living."""
        held = self._table.streams.lane_of(lease)
        if held is not None:
            self._state.sender.changed.add(held)
        return held is not None

    def _read_streams(
        self,
        letter: letters.Available
        | letters.Closed
        | letters.StreamLost
        | letters.PauseLease
        | letters.ResumeLease
        | letters.LeaseProgress,
    ) -> None:
        now = monotonic()
        match letter:
            case letters.Available(stream, process_id, max_message_bytes):
                self._table.streams.available(stream, process_id, max_message_bytes, now)
            case letters.Closed(stream, reason, last, unit):
                if unit is not None:
                    self._take(unit, last)
                self._table.streams.closed(stream, reason, last, now)
            case letters.StreamLost(stream):
                self._state.sender.lost(stream)
                self._table.streams.lost(stream, now)
            case letters.PauseLease(stream, pausing):
                self._table.streams.pause(stream, pausing, now)
            case letters.ResumeLease(stream):
                self._table.streams.resume(stream, now)
            case letters.LeaseProgress(stream, text):
                self._table.streams.says(stream, text, now)

    def _read_brokers(self, letter: letters.Told | letters.Topics | letters.TopicsUnknown) -> None:
        match letter:
            case letters.Told(then):
                then()
            case letters.Topics(facts):
                self._state.connection.reached(facts)
                self._state.subscription.learn(facts, self._table.partitions)
                self._clients.now.resolving.learned()
            case letters.TopicsUnknown(unknown):
                self._state.connection.away(unknown)

    def _read_operators(self, letter: letters.Resume | letters.Pause | letters.Seek | letters.Inspect) -> None:
        match letter:
            case letters.Resume():
                self._clients.now.operator.resume(letter)
            case letters.Pause():
                self._clients.now.operator.pause(letter)
            case letters.Seek():
                self._clients.now.operator.seek(letter)
            case letters.Inspect(inspect_reply):
                self._state.outbox.post(letters.Answer(inspect_reply, self._status()))

    def carry_out(self) -> None:
        """Carry out the table's commands. Rewinds wait until after a rebalance callback, in which positions cannot be
        moved."""
        state = self._state
        rewinds: dict[TopicPartition, dict[Lane, int]] = {}
        for command in self._table.take_commands():
            match command:
                case Rewind(lane, offset):
                    # The lanes of a partition are rewound together, since each move of the client is expensive. A
                    # later rewind of the same lane replaces an earlier one.
                    rewinds.setdefault(lane.partition, {})[lane] = offset
                case Report(level, event, about, lease, fields):
                    where = {} if about is None else fields_of(about)
                    if lease is not None:
                        where["lease"] = lease
                    getattr(state.log, level)(event, **where, **fields)
                case Exit(reason):
                    state.outbox.post(letters.Exit(state.name, reason))
                case Resumed(stream):
                    known = self._table.processes.get(stream)
                    if known is not None and known.lane is not None:
                        state.sender.changed.add(known.lane)
                        self._housekeeping.soon()  # the partition may be paused in Kafka's client
                    state.outbox.post(command)
                case _:
                    state.outbox.post(command)
        for tp, offsets in rewinds.items():
            self._rewind(tp, offsets)

    def _rewind(self, tp: TopicPartition, offsets: Mapping[Lane, int]) -> None:
        """Move the client for these lanes; inside a callback, or if the client refuses, the next call tries again."""
        try:
            if not self.in_callback:
                self._clients.now.positions.rewind(tp, offsets)
                for lane in offsets:
                    self._table.rewound(lane)
                return
        except KafkaException as error:
            self._state.log.warning("rewind refused; trying again", partition=str(tp), error=error.args[0].str())
        for lane, offset in offsets.items():
            self._table.not_rewound(Rewind(lane, offset))

    def _status(self) -> LambdaStatus:
        client = self._clients.now
        return lambda_status(self._state, client.ends, monotonic(), joined=client.membership.joined)
