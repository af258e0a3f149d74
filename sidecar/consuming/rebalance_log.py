"""What rebalances did with the partitions of one lambda, for operators.

Owned by the consumer thread.
"""

from collections import Counter

from sidecar.partitions.vocabulary import RebalanceKind
from sidecar.status import RebalanceStatus


class RebalanceLog:
    """The last rebalance, and how many there were."""

    def __init__(self) -> None:
        self.last: RebalanceStatus | None = None
        self.counts: Counter[RebalanceKind] = Counter()
        """Since the start."""

    def note(self, kind: RebalanceKind, partitions: int, now: float, reason: str = "") -> None:
        """Partitions were assigned, revoked or lost; ``reason``: why, if it is known."""
        self.last = RebalanceStatus(kind, partitions, now, reason)
        self.counts[kind] += 1
