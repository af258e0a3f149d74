"""The orders of an operator: about one lane of a partition, or about all of them."""

from collections.abc import Sequence

from sidecar.partitions.partition import AfterDrain, Partition
from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    OrderRefused,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
)

_CANNOT_PAUSE = (State.HALTED, State.RESOLVING, State.DRAINING)


class OperatorActions:
    """Resume, pause and seek.

    ``number`` is the lane that is meant; None: all lanes of the partition. An order is carried out for all of them
    or, when it is refused, for none. All raise ``OrderRefused`` with the kind "unknown" for a partition that is not
    assigned to us, and "argument" for a lane that it does not have.
    """

    def __init__(self, moves: Transitions) -> None:
        self.partitions = moves.partitions
        self.commands = moves.commands
        self._moves = moves

    def resume(
        self, tp: TopicPartition, now: float, *, skip: bool, number: int | None = None
    ) -> tuple[int, int | None]:
        """Let the halted and paused lanes go on. Returns the resume offset (the lowest), and the offset that will be
        skipped.

        Raises ``OrderRefused`` when none is halted or paused, when ``skip`` is set and no failing offset is known, or
        ``skip`` is set for all of several lanes.
        """
        lanes = self.meant(tp, number)
        if skip and len(lanes) > 1:
            failing = ", ".join(str(lane.lane.number) for lane in lanes if lane.trouble.failing_offset is not None)
            raise OrderRefused(
                f"{tp} has {len(lanes)} lanes, and each may have a failing offset: name the lane whose record is to "
                f"be skipped, as in {lanes[0].lane} (lanes with a failing offset: {failing or 'none'})",
                "argument",
            )
        stopped = [lane for lane in lanes if lane.state in (State.HALTED, State.PAUSED)]
        if not stopped:
            raise OrderRefused(_nothing_stopped(lanes))
        answers = [self._resume(lane, now, skip=skip) for lane in stopped]
        return min(at for at, _ in answers), answers[0][1]

    def _resume(self, partition: Partition, now: float, *, skip: bool) -> tuple[int, int | None]:
        if skip and partition.trouble.failing_offset is None:
            why = f"halted without naming a failing offset ({partition.trouble.reason})"
            raise OrderRefused(
                f"{partition.lane} {'is paused' if partition.state is State.PAUSED else why}, so there is none to "
                "skip; resume without --skip"
            )
        if partition.holding is not None:  # paused by its lambda
            at = partition.next_offset
            self._moves.go_on(partition, now)
            return at, None
        partition.dead = {offset: letter for offset, letter in partition.dead.items() if not letter.refused}
        skipped = partition.trouble.failing_offset if skip else None
        if skipped is not None:
            partition.skip.add(skipped)
            # Fetch again: if Kafka's client cannot read the record, the buffered records may end before it.
            partition.offsets.rewind_pending = True
            self.commands.append(Rewind(partition.lane, partition.offsets.resume_at))
        self._moves.report("info", "partition resumed by an operator", partition, skipped=skipped)
        partition.trouble.failures = 0
        partition.trouble.attempt = 1
        partition.trouble.first_failed_at = None
        partition.trouble.failing_offset = None
        partition.trouble.reason = ""
        partition.offsets.uncommitted = True  # by resuming, the operator accepts the offset after a loss
        self._moves.wait(partition, now)
        return partition.offsets.resume_at, skipped

    def pause(
        self, tp: TopicPartition, reason: str, seconds: float, now: float, *, number: int | None = None
    ) -> list[Partition]:
        """Take the lanes from their lambdas within ``seconds``, and keep them paused until ``resume``.

        Of several lanes, halted ones stay halted: they stand still anyway. Returns the lanes that are being paused.

        Raises ``OrderRefused`` when one is draining, its resume offset is not known yet, or all are halted.
        """
        lanes = self.meant(tp, number)
        if len(lanes) > 1:
            lanes = [lane for lane in lanes if lane.state is not State.HALTED] or lanes
        for lane in lanes:
            if lane.state in _CANNOT_PAUSE:
                raise OrderRefused(f"{lane.lane} cannot be paused while it is {_words(lane.state)}")
        for lane in lanes:
            self._pause(lane, reason, seconds, now)
        return [*lanes]

    def _pause(self, partition: Partition, reason: str, seconds: float, now: float) -> None:
        self._moves.report("info", "partition paused by an operator", partition, reason=reason)
        partition.trouble.reason = reason or "paused by an operator"
        if partition.lease is not None:
            self._moves.drain(partition, RevokeReason.PAUSED, AfterDrain.PAUSE, seconds, now)
        else:
            self._moves.forget_wait(partition)
            self._moves.pause_for_operator(partition, now)

    def seek(self, tp: TopicPartition, offset: int, now: float, *, number: int | None = None) -> tuple[int, State]:
        """Set the resume offset to ``offset``, which must be in the log. Returns the old one (the lowest), and the
        state (of the first lane).

        The caller must commit the new offset at once. A lease ends at once: its lambda still works on the old
        position. A halted or paused lane stays halted or paused.

        Raises ``OrderRefused`` when it is being released, or its resume offset is not known yet.
        """
        lanes = self.check_seek(tp, number)
        before = min(lane.offsets.resume_at for lane in lanes)
        # First all leases end. If a lane waited before that, it would be given to a process by the number of lanes
        # that each still holds.
        stood = [(lane, *_stands(lane)) for lane in lanes]
        for lane in lanes:
            self._move(lane, offset, now)
        for lane, state, reason in stood:
            match state:
                case State.HALTED:
                    self._moves.halt(lane, reason, None, now)
                case State.PAUSED:
                    lane.trouble.reason = reason
                    self._moves.pause_for_operator(lane, now)
                case _:
                    self._moves.wait(lane, now)
        self.partitions[tp].note_mark()
        return before, lanes[0].state

    def _move(self, partition: Partition, offset: int, now: float) -> None:
        before = partition.offsets.resume_at
        if partition.lease is not None:
            self._moves.fence(partition, RevokeReason.SEEK, now, rewind=False)
        self._moves.forget_wait(partition)
        self._moves.report("info", "partition moved by an operator", partition, offset=offset, before=before)
        self._moves.drop_state(partition, offset)
        partition.move_to(offset, committed=False)
        # Until the client is moved, its position does not count; records fetched from the old position are void.
        partition.offsets.rewind_pending = True
        self.commands.append(Rewind(partition.lane, offset))

    def check_seek(self, tp: TopicPartition, number: int | None = None) -> Sequence[Partition]:
        """The lanes, if they can be moved now. Raises ``OrderRefused`` when they cannot."""
        lanes = self.meant(tp, number)
        for lane in lanes:
            if lane.leaves or lane.state is State.RESOLVING:
                raise OrderRefused(f"{lane.lane} cannot be moved while it is {_words(lane.state)}; try again")
        return lanes

    def meant(self, tp: TopicPartition, number: int | None) -> Sequence[Partition]:
        """The lanes that an order means. Raises ``OrderRefused`` when there are none."""
        partition = self.partitions.get(tp)
        if partition is None:
            mine = ", ".join(map(str, sorted(self.partitions))) or "none"
            raise OrderRefused(f"{tp} is not assigned to this sidecar now; it has: {mine}", "unknown")
        if number is None:
            return partition.lanes
        if not 0 <= number < len(partition.lanes):
            count = len(partition.lanes)
            has = f"lanes 0 to {count - 1}" if count > 1 else "no lanes: leave the lane out"
            raise OrderRefused(f"{tp} has {has}; there is no lane {number}", "argument")
        return partition.lanes[number : number + 1]


def _stands(lane: Partition) -> tuple[State, str]:
    """What the lane is after a seek, and why: halted or paused if it was, or was about to be; else it waits."""
    if lane.state is State.HALTED or (lane.state is State.DRAINING and lane.after_drain is AfterDrain.HALT):
        return State.HALTED, lane.trouble.reason
    return (State.PAUSED if lane.is_paused_by_operator else State.WAITING), lane.trouble.reason


def _nothing_stopped(lanes: Sequence[Partition]) -> str:
    if len(lanes) == 1:
        return f"{lanes[0].lane} is neither halted nor paused, it is {_words(lanes[0].state)}"
    states = dict.fromkeys(_words(lane.state) for lane in lanes)
    return f"no lane of {lanes[0].tp} is halted or paused, they are {', '.join(states)}"


def _words(state: State) -> str:
    return state.name.lower().replace("_", " ")
