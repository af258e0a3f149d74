"""What the next step of a partition waits for."""

from sidecar.partitions.partition import Partition
from sidecar.partitions.vocabulary import State, WaitsFor

_ONE_REASON = {
    State.WAITING: WaitsFor.PROCESS,
    State.STARTING: WaitsFor.READY,
    State.DRAINING: WaitsFor.DRAIN,
    State.BACKING_OFF: WaitsFor.RETRY,
    State.HALTED: WaitsFor.RESUME,
}
"""The states in which a partition can wait for one thing only."""


def waits_for(partition: Partition, *, has_leader: bool, end: int | None) -> WaitsFor:
    """What its next step waits for. ``has_leader``: a broker leads it. ``end``: its log's end; None if unknown."""
    match partition.state:
        case State.RESOLVING if partition.transacting:
            return WaitsFor.TRANSACTION
        case State.RESOLVING:
            return WaitsFor.OFFSET if has_leader else WaitsFor.LEADER
        case State.PAUSED:
            return WaitsFor.RESUME if partition.holding is None else WaitsFor.PAUSE
        case State.RUNNING:
            return _running(partition, has_leader=has_leader, end=end)
    return _ONE_REASON[partition.state]


def _running(partition: Partition, *, has_leader: bool, end: int | None) -> WaitsFor:
    window = partition.window
    if partition.under_way in partition.dead:
        return WaitsFor.DEAD_LETTER
    if window.room() == 0:
        return WaitsFor.CHECKPOINT
    if window.outstanding:
        return WaitsFor.LAMBDA
    if not has_leader:
        return WaitsFor.LEADER
    if partition.transacting:
        return WaitsFor.TRANSACTION
    return WaitsFor.FETCH if end is not None and end > partition.next_offset else WaitsFor.RECORDS
