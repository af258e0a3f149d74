"""The events of records: which of them may be sent, which are sent, and which cannot be.

A record that cannot be sent, or whose lambda failed at it, becomes a dead letter or halts its partition.
"""

from collections.abc import Sequence

from sidecar.partitions.partition import AfterDrain, Partition
from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    DeadLetter,
    ErrorAction,
    Failure,
    FailureKind,
    Lane,
    Policy,
    RevokeReason,
    Rewind,
    State,
)


class RecordEvents:
    """Records are sent; one is undeliverable, or written as a dead letter."""

    def __init__(self, moves: Transitions) -> None:
        self._moves = moves
        self._lanes = moves.lanes
        self._commands = moves.commands

    def may_send(self, lane: Lane) -> int:
        """How many records may be sent to the partition's lambda now; 0: none."""
        partition = self._lanes.get(lane)
        if (
            partition is None
            or partition.state is not State.RUNNING
            or partition.offsets.rewind_pending  # buffered records come after those that must be fetched again
            or partition.held.in_flight >= self._moves.limits.frames_in_flight
        ):
            return 0
        return partition.window.room()

    def sent(
        self,
        lane: Lane,
        first: int,
        last: int,
        count: int,
        size: int,
        offsets: Sequence[int] | None,
        now: float,
    ) -> None:
        """A frame of ``count`` records and ``size`` bytes was handed to the stream."""
        partition = self._lanes[lane]
        partition.held.sent(first, last, count, size, offsets, now)
        partition.sent.add(count, now)

    def is_spanned(self, lane: Lane) -> bool:
        """Whether other lanes of its partition must go on before this one may get more (`Window.is_spanned`)."""
        partition = self._lanes.get(lane)
        return partition is not None and partition.window.is_spanned

    def buffered(self, lane: Lane, now: float) -> None:
        """Records are buffered: check whether the window is full. To be called whenever that may have changed."""
        partition = self._lanes.get(lane)
        if partition is None or partition.state is not State.RUNNING:
            return
        holding = partition.held
        if holding.block(now, self._moves.limits.blocked_report_after):
            event = "no checkpoint: the window is full, the partition stands still"
            if holding.window.is_spanned:
                event = "no checkpoint of another lane: the span of the windows is used up, the lane waits for it"
            self._moves.report(
                "warning",
                event,
                partition,
                outstanding=holding.window.outstanding,
                checkpoint=partition.offsets.checkpoint,
                delivered=holding.window.delivered,
                seconds=round(now - (holding.blocked_since or now)),
            )

    def undeliverable(
        self, lane: Lane, offset: int, reason: str, seconds: float, now: float, *, readable: bool = False
    ) -> bool:
        """The record at ``offset`` cannot be delivered. Returns whether it becomes a dead letter.

        A record that is not ``readable`` cannot be written as a dead letter. Then the lambda gets ``seconds`` to
        finish the earlier records that it has begun, and the partition halts. The others are delivered after a
        resume.
        """
        partition = self._lanes[lane]
        self._moves.report("error", "record cannot be delivered", partition, offset=offset, reason=reason)
        partition.failed(FailureKind.UNDELIVERABLE, reason, offset, now)
        failure = Failure(ErrorAction.CRITICAL, offset, "undeliverable", reason)
        if readable and self._moves.limits.policy is Policy.DEAD_LETTER:
            partition.dead[offset] = DeadLetter(failure, partition.trouble.attempt, now, now)
            return True
        self._halt_at(partition, offset, reason, seconds, now)
        self._moves.exit_or_halt(partition, reason)
        return False

    def dead_lettered(
        self, lane: Lane, offset: int, letter: DeadLetter, error: str, seconds: float, now: float
    ) -> bool:
        """The record at ``offset`` was written to the dead-letter topic; with an ``error``, it could not be.

        With exactly-once it is only ready to be written, with the place after it: see `dead_letter_written`.

        An error halts the partition: no record is dropped. Returns whether the record is left out from now on.
        """
        partition = self._lanes.get(lane)
        if partition is None or partition.dead.get(offset) is not letter:
            return (
                False  # the partition was revoked or moved in the meantime; the record is handled again when it comes
            )
        del partition.dead[offset]
        if not error:
            partition.skip.add(offset)
            if partition.state is State.RUNNING:
                partition.trouble.reason = ""
            if not self._moves.limits.exactly_once:
                self.dead_letter_written(lane, offset)
            return True
        reason = f"the dead letter for offset {offset} cannot be written: {error}"
        self._moves.report("error", "dead letter cannot be written: halting", partition, offset=offset, reason=error)
        partition.failed(FailureKind.DEAD_LETTER, reason, offset, now)
        if partition.lease is not None:
            self._halt_at(partition, offset, reason, seconds, now)
        elif partition.state not in (State.DRAINING, State.HALTED):
            self._moves.forget_wait(partition)
            partition.offsets.rewind_pending = True
            self._commands.append(Rewind(partition.lane, partition.offsets.resume_at))
            self._moves.halt(partition, reason, offset, now)
        return False

    def dead_letter_written(self, lane: Lane, offset: int) -> None:
        """The dead letter for ``offset`` is in Kafka; with exactly-once its transaction is committed."""
        self._moves.counts.dead_letters += 1
        self._moves.report("warning", "dead letter written", self._lanes[lane], offset=offset)

    def waits_for_dead_letter(self, lane: Lane, offset: int) -> None:
        """The next record was given to the dead-letter thread."""
        partition = self._lanes[lane]
        partition.under_way = offset
        partition.trouble.reason = f"waits for the dead letter of offset {offset} to be written"

    def no_such_record(self, lane: Lane, offset: int, seconds: float, now: float) -> None:
        """A lambda failed at an offset where the log has no record: halt, since it would fail again each time."""
        partition = self._lanes[lane]
        del partition.dead[offset]
        reason = f"the lambda failed at offset {offset}, where the log has no record: no dead letter"
        partition.failed(FailureKind.DEAD_LETTER, reason, offset, now)
        self._moves.report("error", "there is no record at the failing offset: halting", partition, offset=offset)
        self._halt_at(partition, offset, reason, seconds, now)

    def _halt_at(self, partition: Partition, offset: int, reason: str, seconds: float, now: float) -> None:
        """Drain the partition, then halt at ``offset``."""
        partition.offsets.rewind_pending = True
        if partition.state is State.DRAINING:
            if partition.after_drain is not AfterDrain.RELEASE:
                partition.after_drain = AfterDrain.HALT
                partition.trouble.reason, partition.trouble.failing_offset = reason, offset
            return
        partition.trouble.reason, partition.trouble.failing_offset = reason, offset
        self._moves.drain(partition, RevokeReason.HALTED, AfterDrain.HALT, seconds, now)
