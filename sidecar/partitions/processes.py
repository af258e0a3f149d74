"""The lambda processes that offer streams, and which of them gets the next partition."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sidecar.partitions.vocabulary import Lane, StreamId

PENALTY_S = 30.0
MAX_PENALTY_S = 600.0
"""Seconds for which a process comes last after its `create` failed or one of its streams broke. They double with each
`create` that fails in a row, up to the maximum."""

QUARANTINE_S = 0.1
"""Seconds for which a process gets no partition after one of its streams broke.

The race that this prevents: (1) A process dies, and its streams break one after the other. (2) The first broken
stream sets its partition free. (3) The dead process has a spare stream that is not known to be broken yet, and would
get that partition.
"""

LEFT_KEPT_S = 60.0
"""Seconds for which a process that said that it ends gets no partition, also when none of its streams is left.

The race that this prevents: (1) A process opens its next spare stream and ends. (2) Its only other stream sends
Closed with STOPPED, and with that stream the process is gone from here. (3) Available of the spare stream arrives: it
would make the process a new one, which gets the partition that it has just given back.
"""


@dataclass(slots=True)
class Stream:
    """One stream after Available. Spare until it gets a partition; fenced after its lease has ended."""

    id: StreamId
    process_id: str
    max_message_bytes: int
    order: int
    lane: Lane | None = None
    fenced_until: float | None = None

    @property
    def spare(self) -> bool:
        """It waits for a partition."""
        return self.lane is None and self.fenced_until is None


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

    A process is identified by the random id that it chose when it started, not by its connection: it has several
    connections, and over a Unix socket or a proxy all peers look alike.
    """

    def __init__(self) -> None:
        self._streams: dict[StreamId, Stream] = {}
        self._processes: dict[str, Process] = {}
        self._spares: dict[StreamId, Stream] = {}
        self._fenced: dict[StreamId, Stream] = {}
        self._left: dict[str, float] = {}
        """Processes that end, and until when that is known."""
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._processes)

    def __iter__(self) -> Iterator[tuple[str, int, bool]]:
        """Yield for each process its id, how many partitions it holds, and whether it has a spare stream."""
        for process_id, process in self._processes.items():
            yield process_id, process.partitions, any(stream in self._spares for stream in process.streams)

    def get(self, stream: StreamId) -> Stream | None:
        """The stream; None: there is no such stream, or it has ended."""
        return self._streams.get(stream)

    def add(self, stream: StreamId, process_id: str, max_message_bytes: int, now: float) -> Stream:
        """A stream became available."""
        self._arrivals += 1
        new = Stream(stream, process_id, max_message_bytes, self._arrivals)
        self._streams[stream] = self._spares[stream] = new
        begins = Process(since=now, leaving=self._left.get(process_id, now) > now)
        self._processes.setdefault(process_id, begins).streams.add(stream)
        return new

    def give(self, stream: Stream, lane: Lane) -> None:
        """The stream got a lane."""
        del self._spares[stream.id]
        stream.lane = lane
        self._processes[stream.process_id].partitions += 1

    def fence(self, stream: Stream, until: float) -> None:
        """The stream's lease has ended; it has until ``until`` to send Closed."""
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
        """A `create` failed in this process, or one of its streams ``broke``.

        A broken stream does not count as a failure: when the network breaks, all streams of a process break.
        """
        process = self._processes.get(process_id)
        if process is None:
            return
        if broke:
            process.quarantine = now + QUARANTINE_S
        else:
            process.failures += 1
        penalty = min(MAX_PENALTY_S, PENALTY_S * 2.0 ** min(max(process.failures, 1) - 1, 32))
        process.penalised_until = max(process.penalised_until, now + penalty)

    def succeeded(self, process_id: str) -> None:
        """A lambda was created in this process. A penalty for earlier failures stays until its time is over."""
        if process := self._processes.get(process_id):
            process.failures = 0

    def leaves(self, process_id: str, now: float) -> None:
        """The process is ending: its spare streams get no partition any more, also one that comes later."""
        self._left = {known: until for known, until in self._left.items() if until > now}
        self._left[process_id] = now + LEFT_KEPT_S
        if process := self._processes.get(process_id):
            process.leaving = True

    def fenced_late(self, now: float) -> list[Stream]:
        """Fenced streams that did not send Closed in time."""
        return [s for s in self._fenced.values() if s.fenced_until is not None and s.fenced_until <= now]

    def next_fence(self) -> float | None:
        """When the time of the next fenced stream ends; None: there is none."""
        return min((s.fenced_until for s in self._fenced.values() if s.fenced_until is not None), default=None)

    def choose(self, now: float, target_id: str = "") -> Stream | None:
        """The spare stream that gets the next partition.

        It belongs to ``target_id``, the target of a hand-over, if that has a spare stream; otherwise to the process
        with the fewest partitions. A process that failed recently comes last: it always has the fewest partitions and
        would otherwise get all of them.
        """
        fit = [stream for stream in self._spares.values() if self._takes(stream, now)]

        def rank(stream: Stream) -> tuple[bool, bool, int, int]:
            process = self._processes[stream.process_id]
            return stream.process_id != target_id, now < process.penalised_until, process.partitions, stream.order

        return min(fit, key=rank, default=None)

    def handover_target(self, now: float, minimum_stay: float) -> tuple[str, int] | None:
        """The process that should get a partition of another one: its id, and how many partitions it holds.

        It has a spare stream and no penalty, exists for ``minimum_stay`` seconds, and has the fewest partitions.
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
        """When the next quarantine of a process with a spare stream ends; None: there is none."""
        processes = [self._processes[s.process_id] for s in self._spares.values()]
        return min((p.quarantine for p in processes if p.quarantine > now and not p.leaving), default=None)

    def _takes(self, stream: Stream, now: float) -> bool:
        process = self._processes[stream.process_id]
        return process.quarantine <= now and not process.leaving

    def _release(self, stream: Stream) -> None:
        if stream.lane is not None:
            stream.lane = None
            self._processes[stream.process_id].partitions -= 1
