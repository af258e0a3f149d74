"""When a partition moves from one process to another, so that a process that joined later gets its share.

One partition moves at a time, and only if the processes differ by two partitions or more. The partition must have
been with its process, and the new process must have existed, for a while. A hand-over fails when the new process
cannot create its lambda or fails soon after. Then all hand-overs wait, longer each time: a process that keeps
restarting has a new id after each start, so its failures cannot be counted.
"""

from collections.abc import Collection
from operator import itemgetter

from sidecar.partitions.backoff import delay
from sidecar.partitions.partition import Partition
from sidecar.partitions.processes import Processes
from sidecar.partitions.vocabulary import Limits, State

PROBATION_S = 30.0
"""A lease from a hand-over that fails within these seconds counts as a failed hand-over."""


class Balance:
    """Decides on hand-overs, and remembers which of them failed.

    Invariants:

    - At most one partition is ``moving``: from the Revoke to the Ready of its next lease.
    - No partition moves before ``_not_before``, which each failed hand-over moves into the future.
    - Until the last failure is forgotten, there is a pause after each hand-over.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failures = 0
        self._failed_at = 0.0
        self._not_before = 0.0
        self._watching_until = 0.0
        self.moving: Partition | None = None
        self.count = 0
        """Hand-overs begun since the start."""

    def choose(
        self, partitions: Collection[Partition], processes: Processes, now: float
    ) -> tuple[Partition, str] | None:
        """The partition that should move now, and the id of its new process; None: no partition should."""
        if self.moving is not None or now < max(self._not_before, self._watching_until) or len(processes) < 2:
            return None
        handover_target = processes.handover_target(now, self._limits.minimum_stay)
        if handover_target is None:
            return None
        target_id, held = handover_target
        givers = {name: count for name, count, _ in processes if count - held >= 2}
        settled = [
            (-givers[holding.process_id], holding.window.outstanding, partition)
            for partition in partitions
            if (holding := partition.holding) is not None
            and holding.process_id in givers
            and partition.state is State.RUNNING
            and holding.running_since is not None
            and now - holding.running_since >= self._limits.minimum_stay
        ]
        if not settled:
            return None
        # From the process with the most partitions, take the one with the fewest outstanding records.
        return min(settled, key=itemgetter(0, 1))[2], target_id

    def begun(self, partition: Partition, target_id: str) -> None:
        """The partition's drain has begun."""
        self.count += 1
        self.moving = partition
        partition.handed_over = True
        partition.handover_target = target_id

    def arrived(self, partition: Partition, now: float) -> None:
        """The partition's new lambda is ready."""
        partition.handover_target = ""
        if self.moving is not partition:
            partition.handed_over = False
            return
        self.moving = None
        self._forgive(now)
        if self._failures:
            self._watching_until = now + self._limits.minimum_stay

    def ended(self, partition: Partition, now: float) -> None:
        """The partition's lease ended, and the sidecar did not ask for that: decide whether the hand-over failed."""
        if not partition.handed_over:
            return
        partition.handed_over = False
        partition.handover_target = ""
        if self.moving is partition:
            self.moving = None
        ready_at = partition.held.running_since
        if ready_at is not None and now - ready_at >= PROBATION_S:
            return
        if now < self._not_before:
            return  # a process that fails ends all its leases: that counts as one failure
        limits = self._limits
        self._forgive(now)
        self._failures += 1
        self._failed_at = now
        self._not_before = now + delay(
            self._failures, limits.hand_over_backoff_first, limits.hand_over_backoff_most, _full
        )

    def gone(self, partition: Partition) -> None:
        """The partition is released, halted or paused by an operator."""
        partition.handover_target = ""
        if self.moving is partition:
            self.moving = None

    def _forgive(self, now: float) -> None:
        if self._failures and now - self._failed_at > 2 * self._limits.hand_over_backoff_most:
            self._failures = 0


def _full() -> float:
    """No jitter: nothing else in this sidecar retries at the same time."""
    return 1.0
