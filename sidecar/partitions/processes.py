"""The lambda processes that offer, and which of them gets the next partition."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sidecar.partitions.vocabulary import StreamId, TopicPartition

PENALTY = 30.0
MOST_PENALTY = 600.0
"""Seconds for which a process whose `create` failed, or a stream of which broke, comes last; doubled by each create
that fails in a row."""

QUARANTINE = 0.1
"""Seconds for which one whose stream broke gets nothing: when a process dies its streams break one after the other,
and without this its spare would be given the partition that its first broken stream has just set free."""


@dataclass(slots=True)
class Stream:
    """One stream after Available. Spare until it has a partition; fenced once its lease is dead."""

    id: StreamId
    process_id: str
    max_message_bytes: int
    order: int
    partition: TopicPartition | None = None
    fenced_until: float | None = None

    @property
    def spare(self) -> bool:
        """Waits for a partition."""
        return self.partition is None and self.fenced_until is None


@dataclass(slots=True)
class Process:
    """One lambda process."""

    streams: set[StreamId] = field(default_factory=set)
    since: float = 0.0
    partitions: int = 0
    failures: int = 0
    penalised_until: float = 0.0
    quarantine: float = 0.0
    leaving: bool = False


class Processes:
    """All streams of a lambda, by process.

    A process is known by the random id of its start, not by its connection (it has several; behind a Unix socket
    or a proxy all peers look alike).
    """

    def __init__(self) -> None:
        self._streams: dict[StreamId, Stream] = {}
        self._processes: dict[str, Process] = {}
        self._spares: dict[StreamId, Stream] = {}
        self._fenced: dict[StreamId, Stream] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._processes)

    def __iter__(self) -> Iterator[tuple[str, int, bool]]:
        """Each process: its id, how many partitions it holds, whether it has a spare stream."""
        for process_id, process in self._processes.items():
            yield process_id, process.partitions, any(stream in self._spares for stream in process.streams)

    def get(self, stream: StreamId) -> Stream | None:
        """The stream, or None when it is not known (any more)."""
        return self._streams.get(stream)

    def add(self, stream: StreamId, process_id: str, max_message_bytes: int, now: float) -> Stream:
        """A stream became available."""
        self._arrivals += 1
        new = Stream(stream, process_id, max_message_bytes, self._arrivals)
        self._streams[stream] = self._spares[stream] = new
        self._processes.setdefault(process_id, Process(since=now)).streams.add(stream)
        return new

    def give(self, stream: Stream, partition: TopicPartition) -> None:
        """The stream got a partition."""
        del self._spares[stream.id]
        stream.partition = partition
        self._processes[stream.process_id].partitions += 1

    def fence(self, stream: Stream, until: float) -> None:
        """The stream's lease is dead; it has until ``until`` to say Closed."""
        self._release(stream)
        self._spares.pop(stream.id, None)
        self._fenced[stream.id] = stream
        stream.fenced_until = until

    def remove(self, stream: Stream) -> None:
        """The stream ended."""
        self._release(stream)
        self._spares.pop(stream.id, None)
        self._fenced.pop(stream.id, None)
        del self._streams[stream.id]
        process = self._processes[stream.process_id]
        process.streams.discard(stream.id)
        if not process.streams:
            del self._processes[stream.process_id]

    def failed(self, process_id: str, now: float, *, broke: bool = False) -> None:
        """A create failed there, or a stream ``broke``.

        The latter is not counted: when the network breaks, all streams of a process do.
        """
        process = self._processes.get(process_id)
        if process is None:
            return
        if broke:
            process.quarantine = now + QUARANTINE
        else:
            process.failures += 1
        penalty = min(MOST_PENALTY, PENALTY * 2.0 ** min(max(process.failures, 1) - 1, 32))
        process.penalised_until = max(process.penalised_until, now + penalty)

    def succeeded(self, process_id: str) -> None:
        """A lambda was created there; what failed before may still let it come after the others for its time."""
        if process := self._processes.get(process_id):
            process.failures = 0

    def leaves(self, process_id: str) -> None:
        """The process ends in order: what its other streams still offer is not meant."""
        if process := self._processes.get(process_id):
            process.leaving = True

    def fenced_late(self, now: float) -> list[Stream]:
        """Fenced streams whose time to say Closed is over."""
        return [s for s in self._fenced.values() if s.fenced_until is not None and s.fenced_until <= now]

    def next_fence(self) -> float | None:
        """When the next fenced stream's time is over."""
        return min((s.fenced_until for s in self._fenced.values() if s.fenced_until is not None), default=None)

    def choose(self, now: float, heir_id: str = "") -> Stream | None:
        """The spare stream that gets the next partition.

        That of the process to which it is handed over, if any, else of the process with the fewest partitions. A
        process that failed lately comes last: a broken one always has the fewest, and would attract everything.
        """
        fit = [stream for stream in self._spares.values() if self._takes(stream, now)]

        def rank(stream: Stream) -> tuple[bool, bool, int, int]:
            process = self._processes[stream.process_id]
            return stream.process_id != heir_id, now < process.penalised_until, process.partitions, stream.order

        return min(fit, key=rank, default=None)

    def handover_target(self, now: float, minimum_stay: float) -> tuple[str, int] | None:
        """The process that should get a partition of another: its id, and how many it holds.

        Of those that have a spare stream, are healthy, and have been there for a while, the one with the fewest.
        """
        fit = [
            (process.partitions, stream.order, stream.process_id)
            for stream in self._spares.values()
            if self._takes(stream, now)
            and (process := self._processes[stream.process_id]).penalised_until <= now
            and now - process.since >= minimum_stay
        ]
        if not fit:
            return None
        held, _, process_id = min(fit)
        return process_id, held

    def next_release(self, now: float) -> float | None:
        """When the next spare stream comes out of quarantine."""
        processes = [self._processes[s.process_id] for s in self._spares.values()]
        return min((p.quarantine for p in processes if p.quarantine > now and not p.leaving), default=None)

    def _takes(self, stream: Stream, now: float) -> bool:
        process = self._processes[stream.process_id]
        return process.quarantine <= now and not process.leaving

    def _release(self, stream: Stream) -> None:
        if stream.partition is not None:
            stream.partition = None
            self._processes[stream.process_id].partitions -= 1
