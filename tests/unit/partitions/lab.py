"""A table with a clock that stands still, leases that can be foreseen, and short words for what tests do."""

from typing import TypeVar

from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    Command,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Lane,
    Lease,
    Limits,
    Progress,
    Report,
    Revoke,
    Rewind,
    State,
    StreamId,
    TopicPartition,
)

C = TypeVar("C", bound=Command)

P0, P1, P2, P3 = (TopicPartition("words", number) for number in range(4))
LANE0, LANE3 = Lane(P0), Lane(P3)
MAX_MESSAGE_BYTES = 4 * 1024 * 1024


class Lab:
    """One table. ``jitter`` is 1, so a back-off takes all of its time."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.leases = 0
        self.table = PartitionTable(limits or Limits(), self._lease, lambda: 1.0)

    def _lease(self) -> Lease:
        self.leases += 1
        return f"L{self.leases}"

    # --- steps --------------------------------------------------------------------------------------------------

    def own(self, *tps: TopicPartition, at: int = 0) -> None:
        """Kafka gives partitions, and says where they start."""
        self.table.assigned(tps, self.now)
        for tp in tps:
            self.table.resolved(tp, at, self.now, committed=True)

    def committed(self, offset: int, tp: TopicPartition = P0) -> None:
        """Kafka takes a commit of this offset, which is the partition's resume offset."""
        commitment = self.partition(tp).commitment
        assert commitment.offset == offset
        self.table.committed(tp, [commitment], self.now)

    def offer(self, stream: StreamId, process: str = "process") -> None:
        self.table.streams.available(stream, process, MAX_MESSAGE_BYTES, self.now)

    def run(self, tp: TopicPartition = P0, *, stream: StreamId = 1, at: int = 0, process: str = "process") -> Lease:
        """One partition in the hands of one stream, RUNNING. Returns the lease; forgets the commands."""
        if tp not in self.table.partitions:
            self.own(tp, at=at)
        self.offer(stream, process)
        lease = self.partition(tp).lease
        assert lease is not None
        self.ready(stream, lease)
        assert self.state(tp) is State.RUNNING
        self.commands(Assign)
        return lease

    def ready(self, stream: StreamId, lease: Lease) -> None:
        """The lambda of the stream's partition exists."""
        self.table.streams.ready(stream, lease, self.now)

    def send(self, first: int, last: int, tp: TopicPartition = P0, *, written: bool = True) -> None:
        """One frame of consecutive records goes out."""
        self.table.records.sent(Lane(tp), first, last, last - first + 1, 10 * (last - first + 1), None, self.now)
        stream = self.partition(tp).held.stream
        if written and stream is not None:
            self.table.streams.written(stream)

    def checkpoint(self, lease: Lease, offset: int | None, beyond: int = 0) -> tuple[CheckpointOutcome, int | None]:
        return self.table.streams.checkpoint(lease, Progress(offset, beyond, beyond * 10), self.now)

    def close(self, stream: StreamId, reason: ClosedReason, last: int | None = None) -> None:
        self.table.streams.closed(stream, reason, None if last is None else Progress(last), self.now)

    def lose(self, stream: StreamId) -> None:
        self.table.streams.lost(stream, self.now)

    def fail(
        self,
        lease: Lease,
        action: ErrorAction = ErrorAction.RESTART,
        *,
        offset: int | None = None,
        last: int | None = None,
        text: str = "away",
    ) -> tuple[ErrorOutcome, float]:
        failure = Failure(action, offset, code="db", message=text)
        return self.table.streams.error(lease, failure, None if last is None else Progress(last), self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, and the table hears of it."""
        self.now += seconds
        self.table.tick(self.now)

    # --- looks --------------------------------------------------------------------------------------------------

    def partition(self, tp: TopicPartition = P0) -> Partition:
        return self.table.lanes[Lane(tp)]

    def state(self, tp: TopicPartition = P0) -> State:
        return self.table.lanes[Lane(tp)].state

    def commands(self, kind: type[C]) -> list[C]:
        """The commands of this kind since the last look; all others are forgotten."""
        commands = self.table.take_commands()
        return [command for command in commands if isinstance(command, kind)]

    def assigned(self) -> Assign:
        """The one Assign since the last look."""
        (assign,) = self.commands(Assign)
        return assign

    def seen(self) -> list[tuple[object, ...]]:
        """What is asked for, short and without reports, since the last look."""
        short: list[tuple[object, ...]] = []
        commands = self.table.take_commands()
        for command in commands:
            match command:
                case Assign(stream, lease, lane, start, attempt, _):
                    short.append(("assign", stream, lease, lane.partition, start, attempt))
                case Revoke(stream, reason, seconds):
                    short.append(("revoke", stream, reason, seconds))
                case EndStream(stream, end, _):
                    short.append(("end", stream, end))
                case Rewind(lane, offset):
                    short.append(("rewind", lane.partition, offset))
                case _:
                    assert isinstance(command, Report)
        return short
