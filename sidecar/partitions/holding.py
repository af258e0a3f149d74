"""A lane that a stream holds: the lease, and how its lambda gets on."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.partitions.vocabulary import Lease, Pausing, StreamId
from sidecar.partitions.window import Window


@dataclass(slots=True)
class Holding:
    """The lease of a partition, its stream and its outstanding records: from Assign to the end of the lease."""

    lease: Lease
    stream: StreamId
    process_id: str
    window: Window
    since: float
    """When the lease began."""
    last_progress_at: float
    """When its lambda last made a checkpoint that changed something, or said that it makes progress; or when records
    began to be outstanding, or its pause ended, if that was later. Before all of these: when the lease began."""
    progress_text: str = ""
    """What the lambda last said of its progress."""
    in_flight: int = 0
    """Frames that were handed to the stream and are not written yet."""
    running_since: float | None = None
    """When the lambda sent Ready."""
    pausing: Pausing | None = None
    """In PAUSED: the lambda's request."""
    stalled: bool = False
    blocked_since: float | None = None
    blocked_reported: bool = False
    skipped: int = 0
    """Records that the lambda skipped without handling them."""
    skipping: tuple[str, ...] = ()
    """Names of the documents that it skips; ``skipping_count`` may be higher."""
    skipping_count: int = 0

    def sent(self, first: int, last: int, count: int, size: int, offsets: Sequence[int] | None, now: float) -> None:
        """A frame was handed to the stream."""
        if self.window.outstanding == 0:
            self.last_progress_at = now
        self.window.sent(first, last, count, size, offsets, now)
        self.in_flight += 1

    def pause(self, pausing: Pausing) -> None:
        """The lambda asked for a pause: until it ends, records do not count as stalled or blocked."""
        self.pausing = pausing
        self.stalled = False
        self.blocked_since, self.blocked_reported = None, False

    def block(self, now: float, report_after: float) -> bool:
        """Records are buffered: note since when the window is full. Returns True once, when to report that."""
        self.unblock()
        if self.window.room() > 0:
            return False
        if self.blocked_since is None:
            self.blocked_since = now
        elif not self.blocked_reported and now - self.blocked_since > report_after:
            self.blocked_reported = True
            return True
        return False

    def unblock(self) -> None:
        """Forget since when the window was full, if it has room again."""
        if self.window.room() > 0:
            self.blocked_since = None
            self.blocked_reported = False
