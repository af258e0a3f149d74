"""The orders of an operator, one partition at a time."""

from sidecar.partitions.partition import AfterDrain, Partition
from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    OrderRefused,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
)


class OperatorActions:
    """Resume, pause and seek."""

    def __init__(self, moves: Transitions) -> None:
        self.partitions = moves.partitions
        self.commands = moves.commands
        self._moves = moves

    def resume(self, tp: TopicPartition, now: float, *, skip: bool) -> tuple[int, int | None]:
        """Let a halted or paused partition go on. Returns its resume offset, and the offset that will be skipped.

        Raises ``OrderRefused`` when it is neither halted nor paused, or ``skip`` is set and no failing offset is
        known.
        """
        partition = self._ordered(tp)
        if partition.state not in (State.HALTED, State.PAUSED):
            raise OrderRefused(f"{tp} is neither halted nor paused, it is {_words(partition.state)}")
        if skip and partition.trouble.failing_offset is None:
            why = f"halted without naming a failing offset ({partition.trouble.reason})"
            raise OrderRefused(
                f"{tp} {'is paused' if partition.state is State.PAUSED else why}, so there is none to skip; "
                "resume without --skip"
            )
        if partition.holding is not None:  # paused by its lambda
            at = partition.next_offset
            self._moves.go_on(partition, now)
            return at, None
        skipped = partition.trouble.failing_offset if skip else None
        if skipped is not None:
            partition.skip.add(skipped)
            # Fetch again: if Kafka's client cannot read the record, the buffered records may end before it.
            partition.offsets.rewind_pending = True
            self.commands.append(Rewind(tp, partition.offsets.resume_at))
        self._moves.report("info", "partition resumed by an operator", partition, skipped=skipped)
        partition.trouble.failures = 0
        partition.trouble.attempt = 1
        partition.trouble.first_failed_at = None
        partition.trouble.failing_offset = None
        partition.trouble.reason = ""
        partition.offsets.uncommitted = True  # by resuming, the operator accepts the offset after a loss
        self._moves.wait(partition, now)
        return partition.offsets.resume_at, skipped

    def pause(self, tp: TopicPartition, reason: str, seconds: float, now: float) -> None:
        """Take the partition from its lambda within ``seconds``, and keep it paused until ``resume``.

        Raises ``OrderRefused`` when it is halted or draining, or its resume offset is not known yet.
        """
        partition = self._ordered(tp)
        if partition.state in (State.HALTED, State.RESOLVING, State.DRAINING):
            raise OrderRefused(f"{tp} cannot be paused while it is {_words(partition.state)}")
        self._moves.report("info", "partition paused by an operator", partition, reason=reason)
        partition.trouble.reason = reason or "paused by an operator"
        if partition.lease is not None:
            self._moves.drain(partition, RevokeReason.PAUSED, AfterDrain.PAUSE, seconds, now)
        else:
            self._moves.forget_wait(partition)
            self._moves.pause_for_operator(partition, now)

    def seek(self, tp: TopicPartition, offset: int, now: float) -> tuple[int, State]:
        """Set the resume offset to ``offset``, which must be in the log. Returns the old one, and the state.

        The caller must commit the new offset at once. A lease ends at once: its lambda still works on the old
        position. A halted or paused partition stays halted or paused.

        Raises ``OrderRefused`` when it is being released, or its resume offset is not known yet.
        """
        partition = self.check_seek(tp)
        draining = partition.state is State.DRAINING
        halts = partition.state is State.HALTED or (draining and partition.after_drain is AfterDrain.HALT)
        still = partition.is_paused_by_operator
        before, reason = partition.offsets.resume_at, partition.trouble.reason
        if partition.lease is not None:
            self._moves.fence(partition, RevokeReason.SEEK, now, rewind=False)
        self._moves.forget_wait(partition)
        self._moves.report("info", "partition moved by an operator", partition, offset=offset, before=before)
        self._moves.drop_state(partition, offset)
        partition.move_to(offset, committed=False)
        # Until the client is moved, its position does not count; records fetched from the old position are void.
        partition.offsets.rewind_pending = True
        self.commands.append(Rewind(tp, offset))
        if halts:
            self._moves.halt(partition, reason, None, now)
        elif still:
            partition.trouble.reason = reason
            self._moves.pause_for_operator(partition, now)
        else:
            self._moves.wait(partition, now)
        return before, partition.state

    def check_seek(self, tp: TopicPartition) -> Partition:
        """The partition, if it can be moved now. Raises ``OrderRefused`` when it cannot."""
        partition = self._ordered(tp)
        if partition.leaves or partition.state is State.RESOLVING:
            raise OrderRefused(f"{tp} cannot be moved while it is {_words(partition.state)}; try again")
        return partition

    def _ordered(self, tp: TopicPartition) -> Partition:
        partition = self.partitions.get(tp)
        if partition is None:
            mine = ", ".join(map(str, sorted(self.partitions))) or "none"
            raise OrderRefused(f"{tp} is not assigned to this sidecar now; it has: {mine}", "unknown")
        return partition


def _words(state: State) -> str:
    return state.name.lower().replace("_", " ")
