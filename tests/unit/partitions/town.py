"""Processes that live beside a table in simulated time, for the tests of balance.

Each process has one spare stream always, says Ready after a moment, checkpoints what it gets, and closes when it is
asked to; or it does worse, as its character says.
"""

from dataclasses import dataclass, field

from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Assign,
    ClosedReason,
    EndStream,
    ErrorAction,
    Failure,
    Lane,
    Lease,
    Limits,
    Progress,
    Revoke,
    Rewind,
    StreamId,
    TopicPartition,
)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
STEP = 0.25
"""Seconds between two looks: everything takes at least this long."""
RECORD_EVERY = 1.0
"""Seconds between two records of a partition. The first comes at the first look at a lease that is ready."""


@dataclass
class Process:
    """One lambda process. ``fails``: its create always does. ``full``: it declines whatever it is given."""

    name: str
    fails: bool = False
    full: bool = False
    streams: set[StreamId] = field(default_factory=set)
    starting: list[Assign] = field(default_factory=list)


class Town:
    """A table, its processes, and a clock."""

    def __init__(self, partitions: int, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.opened = 0
        self.leases = 0
        self.table = PartitionTable(limits or Limits(), self._lease, lambda: 1.0)
        self.tps = [TopicPartition("words", number) for number in range(partitions)]
        self.processes: dict[str, Process] = {}
        self.waits_since: dict[TopicPartition, float] = {}
        self.next_record_at: dict[Lease, float] = {}
        self.longest_wait = 0.0
        self.most_at_once = 0
        """Partitions that had no ready lambda at the same time, once all had one."""
        self.table.assigned(self.tps, self.now)
        for tp in self.tps:
            self.table.resolved(tp, 0, self.now, committed=True)

    def _lease(self) -> Lease:
        self.leases += 1
        return f"L{self.leases}"

    # --- who comes and goes -----------------------------------------------------------------------------------

    def join(self, name: str, *, fails: bool = False, full: bool = False) -> None:
        self.processes[name] = Process(name, fails, full)
        self._offer(self.processes[name])
        self._obey()

    def die(self, name: str) -> None:
        """Without a word: its streams break one after the other."""
        for stream in sorted(self.processes.pop(name).streams):
            self.table.streams.lost(stream, self.now)
            self._obey()

    def stop(self, name: str) -> None:
        """In order."""
        for stream in sorted(self.processes.pop(name).streams):
            self.table.streams.closed(stream, ClosedReason.STOPPED, None, self.now)
            self._obey()

    def _offer(self, process: Process) -> None:
        self.opened += 1
        process.streams.add(self.opened)
        self.table.streams.available(self.opened, process.name, MAX_MESSAGE_BYTES, self.now)

    # --- time -------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += STEP
            for process in [*self.processes.values()]:
                self._start(process)  # what it was given before
            self._obey()
            self.table.tick(self.now)
            self._obey()
            self._work()
            self._look()

    def _start(self, process: Process) -> None:
        starting, process.starting = process.starting, []
        for assign in starting:
            if process.fails:
                failure = Failure(ErrorAction.RESTART, message="cannot create")
                self.table.streams.error(assign.lease, failure, None, self.now)
                self._close(process, assign.stream, ClosedReason.ERROR)
            elif process.full:
                self._close(process, assign.stream, ClosedReason.DECLINED)
            else:
                self.table.streams.ready(assign.stream, assign.lease, self.now)

    def _close(self, process: Process, stream: StreamId, reason: ClosedReason) -> None:
        process.streams.discard(stream)
        process.starting = [assign for assign in process.starting if assign.stream != stream]
        self.table.streams.closed(stream, reason, None, self.now)

    def _work(self) -> None:
        """Each running partition gets records, and each is done at once: failures do not add up."""
        for tp in self.tps:
            partition = self.table.lanes[Lane(tp)]
            holding = partition.holding
            if holding is None or self.now < self.next_record_at.get(holding.lease, 0.0):
                continue
            if self.table.records.may_send(Lane(tp)):
                self.next_record_at[holding.lease] = self.now + RECORD_EVERY
                offset = partition.offsets.resume_at
                self.table.records.sent(Lane(tp), offset, offset, 1, 10, None, self.now)
                self.table.streams.written(holding.stream)
                self.table.streams.checkpoint(holding.lease, Progress(offset), self.now)

    def _obey(self) -> None:
        while self.table.commands:
            commands = self.table.take_commands()
            for command in commands:
                match command:
                    case Assign(stream):
                        process = self._process_of(stream)
                        process.starting.append(command)
                        self._offer(process)
                    case Revoke(stream):
                        self._close(self._process_of(stream), stream, ClosedReason.REVOKED)
                    case Rewind(lane):
                        self.table.rewound(lane)
                    case EndStream(stream):
                        self._process_of(stream).streams.discard(stream)
                    case _:
                        pass

    def _process_of(self, stream: StreamId) -> Process:
        return next(process for process in self.processes.values() if stream in process.streams)

    # --- looks ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        idle = 0
        for tp in self.tps:
            holding = self.table.lanes[Lane(tp)].holding
            if holding is not None and holding.running_since is not None:
                self.waits_since.pop(tp, None)
                continue
            idle += 1
            since = self.waits_since.setdefault(tp, self.now)
            self.longest_wait = max(self.longest_wait, self.now - since)
        self.most_at_once = max(self.most_at_once, idle)

    def forget_waits(self) -> None:
        self.longest_wait, self.most_at_once = 0.0, 0

    def held(self, *names: str) -> list[int]:
        """How many partitions are ready in each of these processes."""
        holdings = [p.holding for p in self.table.lanes.values() if p.holding is not None]
        ready = [holding.process_id for holding in holdings if holding.running_since is not None]
        return [ready.count(name) for name in names]

    @property
    def hand_overs(self) -> int:
        return self.table.balance.count
