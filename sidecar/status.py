"""The status of a lambda, which its consumer thread makes for `status`, the metrics and the health checks."""

from dataclasses import dataclass

from sidecar.partitions.vocabulary import State, TopicPartition


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a lambda from working."""

    kind: str
    """A stable word, used as a label of metrics: `connection`, `group`, `commit:orders/3`."""
    text: str
    """For people: the thing, the cause and the remedy."""
    since: float
    """Seconds of the monotonic clock."""
    blocks: bool = True
    """Nothing can be consumed meanwhile: the sidecar is not ready."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One lambda process, as the consumer thread knows it."""

    process_id: str
    partitions: int
    spare: bool


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition; times are seconds of the monotonic clock, offsets None where unknown."""

    tp: TopicPartition
    state: State
    process_id: str
    delivered: int | None
    handled: int | None
    checkpoint: int | None
    committed: int | None
    end: int | None
    outstanding: int
    waiting: int
    attempt: int
    reason: str
    failing_offset: int | None
    blocked_since: float | None
    stalled_since: float | None
    resumes_at: float | None
    skipped: int = 0
    skipping: tuple[str, ...] = ()
    skipping_count: int = 0
    """``skipped``: records that the lambda skipped without handling them, since the partition was assigned to us.
    ``skipping``: names of the documents whose records it skips now, and ``skipping_count``: how many there are."""


@dataclass(frozen=True, slots=True)
class LambdaStatus:
    """One lambda; counts are since the start."""

    connected: bool
    joined: bool
    problems: list[Problem]
    records_sent: int
    records_fetched: int
    restarts: int
    dead_letters: int
    hand_overs: int
    reports: int
    processes: list[ProcessStatus]
    partitions: list[PartitionStatus]
    skipped: int = 0
    produced: int = 0
    produce_failures: int = 0
    """Records that the lambda produced: written, and not known to be written. The loop sets both, not the thread."""
    process_exits: int = 0
    """How often a process that the sidecar runs ended by itself. The loop sets it, not the thread."""

    @property
    def problem(self) -> str:
        """All problems as one text; empty: there is none."""
        return "; ".join(problem.text for problem in self.problems)

    @property
    def ready(self) -> bool:
        """Whether no problem keeps the lambda from consuming."""
        return not any(problem.blocks for problem in self.problems)
