"""What one process has done since its start. Counted for each frame, call or failure, and never for each record.

Owner: the event loop.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Numbers that only grow."""

    leases: int = 0
    """Partitions that this process was given."""
    frames: int = 0
    """Frames of records that came."""
    records: int = 0
    """The records in them."""
    checkpoint_calls: int = 0
    checkpoint_failures: int = 0
    """Calls that did not come through. What they carried is sent again."""
    produced: int = 0
    """Records that the sidecar has confirmed."""
    produce_failures: Counter[str] = field(default_factory=Counter)
    """Records that were not written or are not known to be, by `ProduceError.kind`."""
    errors: Counter[str] = field(default_factory=Counter)
    """What lambdas said or ran into, by what it asks for: restart, critical, report."""
