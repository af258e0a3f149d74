"""The events of streams: what lambda processes and their lambdas say."""

from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    FailureKind,
    Lane,
    Lease,
    Pausing,
    Progress,
    Rewind,
    State,
    StreamId,
)


class StreamEvents:
    """A stream becomes available, gets a lambda ready, checkpoints, fails, pauses, and ends."""

    def __init__(self, moves: Transitions) -> None:
        self._moves = moves
        self._processes = moves.processes
        self._balance = moves.balance
        self._commands = moves.commands

    def available(self, stream: StreamId, process_id: str, max_message_bytes: int, now: float) -> None:
        """A stream can take a partition."""
        self._processes.add(stream, process_id, max_message_bytes, now)
        self._moves.empty_since = None
        self._moves.match(now)

    def ready(self, stream: StreamId, lease: Lease, now: float) -> None:
        """The lambda of the stream's partition exists."""
        partition = self._moves.partition_of(stream)
        if partition is None:
            return  # it was fenced in the meantime: its Closed or its end follows
        if partition.lease != lease or partition.state not in (State.STARTING, State.DRAINING):
            self._commands.append(EndStream(stream, EndReason.PROTOCOL, "ready.lease: not the lease of Assigned"))
        elif partition.state is State.STARTING:
            partition.enter(State.RUNNING, now)
            partition.trouble.reason = ""
            partition.held.running_since = now
            self._moves.untime(partition)
            self._processes.succeeded(partition.held.process_id)
            self._balance.arrived(partition, now)

    def closed(self, stream: StreamId, reason: ClosedReason, last: Progress | None, now: float) -> None:
        """The lambda closed, and the stream ends. The last checkpoint counts if the lease is living."""
        partition = self._moves.partition_of(stream)
        known = self._processes.get(stream)
        if reason is ClosedReason.STOPPED and known is not None:
            self._processes.leaves(known.process_id, now)
        if partition is not None:
            if last is not None:
                self._moves.last_progress(partition, last, now)
            declined = reason is ClosedReason.DECLINED and partition.state is State.STARTING
            unasked = reason is ClosedReason.REVOKED and partition.state is not State.DRAINING
            if (declined or unasked) and known is not None:
                self._processes.failed(known.process_id, now, broke=True)  # it would close the next one at once, too
            orderly = declined or reason in (ClosedReason.STOPPED, ClosedReason.REVOKED)
            why = f"the lambda closed ({reason.name.lower()})"
            self._moves.released(partition, now, why, FailureKind.CLOSED, orderly=orderly)
        if known is not None:
            self._moves.remove(known, now)

    def lost(self, stream: StreamId, now: float) -> None:
        """The stream ended without Closed: the process died, or the connection broke."""
        partition = self._moves.partition_of(stream)
        known = self._processes.get(stream)
        if known is None:
            return
        if partition is not None:
            self._processes.failed(known.process_id, now, broke=True)
            self._moves.released(partition, now, "the stream broke", FailureKind.BROKE, immediate=True)
        self._moves.remove(known, now)

    def written(self, stream: StreamId) -> Lane | None:
        """A frame was written. Returns the stream's lane, which may get another frame; None: it has none."""
        partition = self._moves.partition_of(stream)
        if partition is None:
            return None
        partition.held.in_flight -= 1
        return partition.lane

    def checkpoint(self, lease: Lease, progress: Progress, now: float) -> tuple[CheckpointOutcome, int | None]:
        """Apply a checkpoint. Returns the outcome and, with BEYOND_DELIVERED, the last delivered offset."""
        partition = self._moves.leases.get(lease)
        if partition is None:
            return CheckpointOutcome.STALE_LEASE, None
        outcome = self._moves.progress(partition, progress, now)
        delivered = partition.window.delivered if outcome is CheckpointOutcome.BEYOND_DELIVERED else None
        return outcome, delivered

    def error(self, lease: Lease, failure: Failure, last: Progress | None, now: float) -> tuple[ErrorOutcome, float]:
        """A lambda reported an error. Returns the outcome and the seconds of back-off."""
        partition = self._moves.leases.get(lease)
        if partition is None:
            return ErrorOutcome.STALE_LEASE, 0.0
        fields = failure.fields()
        if failure.action is ErrorAction.REPORT:
            self._moves.counts.reports += 1
            self._moves.report("warning", "lambda reported an error", partition, **fields)
            if last is not None:
                self._moves.last_progress(partition, last, now)
            return ErrorOutcome.REPORTED, 0.0
        if last is not None and failure.admits(last):
            self._moves.last_progress(partition, last, now)
        reason = f"{failure.code or failure.type or 'error'}: {failure.message}"
        stream = self._moves.stream_of(partition)
        creating = partition.state is State.STARTING
        if creating:
            self._processes.failed(stream.process_id, now)
        # First, so that the process no longer counts this partition when a stream is chosen below.
        self._processes.fence(stream, now + self._moves.limits.close_timeout)
        if failure.action is ErrorAction.CRITICAL and not creating and not partition.leaves:
            outcome, seconds = self._moves.critical(partition, failure, reason, now), 0.0
        else:
            # A partition that is being released is not halted: the next owner's lambda meets the same failure.
            self._moves.report("warning", "lambda failed", partition, creating=creating, **fields)
            kind = FailureKind.CREATE if creating else FailureKind.FAILED
            outcome, seconds = self._moves.released(partition, now, reason, kind, failure=failure)
        return outcome, seconds

    def says(self, stream: StreamId, text: str, now: float) -> None:
        """The lambda of the stream's partition makes progress, and says which."""
        partition = self._moves.partition_of(stream)
        if partition is not None:
            partition.held.last_progress_at = now
            partition.held.progress_text = text

    def pause(self, stream: StreamId, pausing: Pausing, now: float) -> None:
        """The lambda of the stream's partition asks for a pause."""
        partition = self._moves.partition_of(stream)
        if partition is None or partition.state is State.DRAINING:
            return  # its lease has ended, or ends soon
        if partition.state not in (State.RUNNING, State.PAUSED):
            self._commands.append(EndStream(stream, EndReason.PROTOCOL, "pause: came before Ready"))
            return
        self._moves.untime(partition)
        partition.enter(State.PAUSED, now)
        partition.held.pause(pausing)
        partition.trouble.reason = pausing.reason or "paused by its lambda"
        if pausing.retry_after is not None:
            partition.due = now + pausing.retry_after
            self._moves.timed[partition.lane] = partition
        again = None if pausing.offset is None else partition.deliver_again(pausing.offset)
        if again is not None:
            self._commands.append(Rewind(partition.lane, again))
        waits = {"again_from": again, "seconds": pausing.retry_after}
        self._moves.report(
            "warning", "partition paused by its lambda", partition, reason=partition.trouble.reason, **waits
        )

    def resume(self, stream: StreamId, now: float) -> None:
        """The lambda ends its pause."""
        partition = self._moves.partition_of(stream)
        if partition is not None and partition.state is State.PAUSED:
            self._moves.go_on(partition, now)

    def lane_of(self, lease: Lease) -> Lane | None:
        """The lane of a living lease; None: the lease is not living."""
        partition = self._moves.leases.get(lease)
        return None if partition is None else partition.lane
