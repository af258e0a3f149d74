"""When a partition moves from one process to another, so that one that joined later gets its share.

A partition moves only at a difference of two or more, one at a time, when it has stayed for a while, and to a process
that has been there for a while. A hand-over fails when the new process cannot create its lambda or soon fails. Then
all hand-overs wait, longer each time: a process that flaps has a new name after each start, so nothing else tells it
apart.
"""

from collections.abc import Collection
from operator import itemgetter

from sidecar.partitions.backoff import delay
from sidecar.partitions.partition import Partition
from sidecar.partitions.processes import Processes
from sidecar.partitions.vocabulary import Limits, State

PROOF = 30.0
"""Seconds for which a lease that came by a hand-over is watched: a failure within them was the hand-over's."""


class Balance:
    """Decides on hand-overs, and remembers how they went.

    Invariants:

    - At most one partition is ``moving``: from the Revoke to the Ready of its next lease.
    - Nothing moves before ``_not_before``, which each failed hand-over puts off.
    - While the last failure is not forgotten, what has moved is watched for a while before the next one follows.
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
        """The partition that should change its process now, and the id of its new process; None: none should."""
        if self.moving is not None or now < max(self._not_before, self._watching_until) or len(processes) < 2:
            return None
        handover_target = processes.handover_target(now, self._limits.minimum_stay)
        if handover_target is None:
            return None
        heir_id, held = handover_target
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
        # Of the process with the most, the one that is done soonest.
        return min(settled, key=itemgetter(0, 1))[2], heir_id

    def begun(self, partition: Partition, heir_id: str) -> None:
        """It is being drained."""
        self.count += 1
        self.moving = partition
        partition.handed_over = True
        partition.handover_target = heir_id

    def arrived(self, partition: Partition, now: float) -> None:
        """The partition has a lambda that is ready."""
        partition.handover_target = ""
        if self.moving is not partition:
            partition.handed_over = False
            return
        self.moving = None
        self._forgive(now)
        if self._failures:
            self._watching_until = now + self._limits.minimum_stay

    def ended(self, partition: Partition, now: float) -> None:
        """The partition's lease ended, and not because the sidecar wanted it: was its new process the cause?"""
        if not partition.handed_over:
            return
        partition.handed_over = False
        partition.handover_target = ""
        if self.moving is partition:
            self.moving = None
        ready_at = partition.held.running_since
        if ready_at is not None and now - ready_at >= PROOF:
            return
        if now < self._not_before:
            return  # one process that falls over takes all that it was given with it: that is one failure
        limits = self._limits
        self._forgive(now)
        self._failures += 1
        self._failed_at = now
        self._not_before = now + delay(
            self._failures, limits.hand_over_backoff_first, limits.hand_over_backoff_most, _full
        )

    def gone(self, partition: Partition) -> None:
        """The partition is not ours any more, or stands still."""
        partition.handover_target = ""
        if self.moving is partition:
            self.moving = None

    def _forgive(self, now: float) -> None:
        if self._failures and now - self._failed_at > 2 * self._limits.hand_over_backoff_most:
            self._failures = 0


def _full() -> float:
    """Nothing else of this sidecar waits for the same moment: no jitter."""
    return 1.0
