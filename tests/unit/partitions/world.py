"""The world around the table in the model test: who offers, what is owned, and how commands are carried out."""

from sidecar.partitions.processes import PENALTY
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    EndReason,
    EndStream,
    Lease,
    Limits,
    Progress,
    Revoke,
    RevokeReason,
    Rewind,
    State,
    StreamId,
    TopicPartition,
)

from .simulation import RECORD_BYTES, Account, Held, Line, Log

TPS = [TopicPartition("words", number) for number in range(3)]
LIMITS = Limits(
    window_messages=6,
    window_bytes=45,
    window_span=14,
    ready_timeout=60.0,
    close_timeout=10.0,
    backoff_first=0.5,
    backoff_most=8.0,
    leave_group_after=30.0,
)
MOST_PER_FRAME = 3
DRAIN = 2.0


class World:
    """Steps are methods; after each the account and the table have heard the same."""

    def __init__(self) -> None:
        self.now = 0.0
        self.leases: dict[Lease, TopicPartition] = {}
        self.jitters = 0
        self.table = PartitionTable(LIMITS, self._new_lease, self._jitter)
        self.logs = {tp: Log() for tp in TPS}
        self.mine: dict[TopicPartition, Account] = {}
        self.lines: dict[StreamId, Line] = {}
        self.opened = 0
        self.failed_at: dict[str, float] = {}
        self.quarantined: dict[str, float] = {}
        self.ending: set[str] = set()
        self.leaving: str | None = None
        self.empty_since: float | None = None
        self.stopping = False
        self.sound = True

    def _new_lease(self) -> Lease:
        lease = f"lease {len(self.leases)}"
        self.leases[lease] = TPS[0]
        return lease

    def _jitter(self) -> float:
        self.jitters += 1
        return self.jitters * 0.37 % 1.0

    # --- the consumer thread's part -----------------------------------------------------------------------------

    def obey(self) -> None:
        """Carry out what the table asks for."""
        self.sound = False
        commands, self.table.commands = self.table.commands, []
        for command in commands:
            match command:
                case Assign():
                    self._assigned(command)
                case Revoke(stream, reason, seconds):
                    assert self.lines[stream].known
                    assert seconds == 0.0 or reason not in (RevokeReason.LOST, RevokeReason.SEEK)
                case EndStream(stream, reason, _):
                    assert self.lines[stream].known
                    if reason is EndReason.TOO_LATE:
                        self._gone(self.lines[stream])
                case Rewind(tp, offset):
                    if tp in self.mine:
                        assert offset == self.mine[tp].place
                        self.mine[tp].reader.rewind(offset)
                        self.table.rewound(tp)
                case _:
                    assert command.level in ("info", "warning", "error")
        self.leaving = None

    def _assigned(self, assign: Assign) -> None:
        line, account = self.lines[assign.stream], self.mine[assign.partition]
        assert line.known
        assert line.tp is None
        assert line.fenced_until is None
        assert account.state is State.WAITING
        assert self.quarantined.get(line.process, -1.0) <= self.now
        assert line.process not in self.ending
        assert not self.stopping
        assert (assign.start_offset, assign.attempt) == (account.place, account.attempt)
        if self.leaving is None:
            ranks = [self._rank(other) for other in self._eligible()]
            assert self._rank(line) == min(ranks)
        self.leases[assign.lease] = assign.partition
        account.state = State.STARTING
        account.held = Held(assign.lease, assign.stream, assign.start_offset)
        account.until = self.now + LIMITS.ready_timeout
        line.tp = assign.partition

    def _eligible(self) -> list[Line]:
        return [
            line
            for line in self.lines.values()
            if line.known
            and line.tp is None
            and line.fenced_until is None
            and self.quarantined.get(line.process, -1.0) <= self.now
            and line.process not in self.ending
        ]

    def _rank(self, line: Line) -> tuple[bool, int]:
        """An ill process comes last, else the one with the fewest."""
        ill = line.process in self.failed_at and self.now - self.failed_at[line.process] < PENALTY
        return ill, sum(1 for other in self.lines.values() if other.process == line.process and other.tp is not None)

    def _gone(self, line: Line) -> None:
        """The table does not know the stream any more."""
        line.known, line.tp, line.fenced_until = False, None, None
        if not any(other.known and other.process == line.process for other in self.lines.values()):
            self.failed_at.pop(line.process, None)
            self.quarantined.pop(line.process, None)
            self.ending.discard(line.process)
        if not any(other.known for other in self.lines.values()):
            self.empty_since = self.now

    def _fenced(self, account: Account) -> None:
        """The lease is dead, the stream lives on for a while."""
        assert account.held is not None
        line = self.lines[account.held.stream]
        line.tp = None
        line.fenced_until = self.now + LIMITS.close_timeout

    def _account_of(self, line: Line) -> Account | None:
        """The partition that the stream holds now."""
        account = self.mine.get(line.tp) if line.tp is not None and line.known else None
        return account if account is not None and account.held is not None else None

    def _pump(self, tp: TopicPartition) -> None:
        """Send what may go."""
        account = self.mine[tp]
        waiting = account.reader.waiting
        while waiting:
            room = self.table.may_send(tp)
            account.check_room(room)
            if room == 0:
                return
            account.reader.waiting = waiting = [offset for offset in waiting if offset not in account.skip]
            if not waiting:
                return
            if waiting[0] in account.log.poison:
                bad = waiting[0]
                waiting.clear()
                self.table.undeliverable(tp, bad, "too large", DRAIN, self.now)
                account.failing = bad
                account.drain(self.now, DRAIN, halts=True)
                self.obey()
                return
            count = min(room, MOST_PER_FRAME, len(waiting))
            frame = waiting[:count]
            frame = frame[: next((i for i, o in enumerate(frame) if o in account.log.poison), count)]
            del waiting[: len(frame)]
            consecutive = frame[-1] - frame[0] + 1 == len(frame)
            size = RECORD_BYTES * len(frame)
            self.table.sent(tp, frame[0], frame[-1], len(frame), size, None if consecutive else frame)
            account.sent(frame)
            assert account.held is not None
            self.lines[account.held.stream].unwritten += 1

    def _release(self, tps: list[TopicPartition]) -> None:
        """The end of a drain: commit, forget."""
        assert not self.table.held(tps)
        self._commit(tps)
        self.table.forget(tps)
        for tp in tps:
            self.mine.pop(tp, None)
        self.obey()

    def _commit(self, tps: list[TopicPartition]) -> None:
        for tp in tps:
            account = self.mine.get(tp)
            if account is None:
                continue
            partition, reader = self.table.partitions[tp], account.reader
            if not reader.waiting and reader.valid:
                before = partition.resume_at
                partition.settle(reader.position)
                if partition.resume_at != before:  # whether it may is judged below, by what is done
                    account.settled(reader.position)
            offset = partition.to_commit()
            if offset is not None:
                account.log.check_done(offset)
                account.log.committed = partition.committed = offset

    # --- lambda processes -----------------------------------------------------------------------------------------

    def _ready(self, account: Account) -> None:
        assert account.held is not None
        self.table.ready(account.held.stream, account.held.lease)
        account.state, account.until = State.RUNNING, None
        self.obey()
        assert self.lines[account.held.stream].known

    def _written(self, account: Account) -> None:
        assert account.held is not None
        line = self.lines[account.held.stream]
        while line.unwritten:
            line.unwritten -= 1
            assert self.table.written(line.id) == line.tp
            account.held.unwritten -= 1

    def _checkpoint(self, lease: Lease, said: Progress) -> None:
        account = self._holder(lease)
        outcome, delivered = self.table.checkpoint(lease, said)
        if account is None or account.held is None:
            assert (outcome, delivered) == (CheckpointOutcome.STALE_LEASE, None)
            return
        assert outcome is account.expected(said)
        if outcome is CheckpointOutcome.BEYOND_DELIVERED:
            assert delivered == (account.held.delivered[-1] if account.held.delivered else None)
        account.progressed(said)
        self._pump(self.leases[lease])

    def _line(self, pick: int) -> Line | None:
        lines = [line for line in self.lines.values() if line.known]
        return lines[pick % len(lines)] if lines else None

    def _lease(self, pick: int) -> Lease:
        """A living lease rather than a dead one, sometimes one that never was."""
        living = [account.held.lease for account in self.mine.values() if account.held is not None]
        known = [*living * 3, *list(self.leases)[-2:], "nonsense"]
        return known[pick % len(known)]

    def _holder(self, lease: Lease) -> Account | None:
        return next((a for a in self.mine.values() if a.held is not None and a.held.lease == lease), None)

    def _overdue(self, account: Account) -> None:
        if account.state is State.BACKING_OFF:
            account.state, account.until = State.WAITING, None
            return
        assert account.held is not None
        if account.state is State.STARTING:
            self.failed_at[self.lines[account.held.stream].process] = self.now
            account.failed(self.now)
        else:
            account.orderly()

    def _unresolved(self) -> list[TopicPartition]:
        return [tp for tp, account in self.mine.items() if account.state is State.RESOLVING]

    @staticmethod
    def _released(account: Account) -> bool:
        return account.state is State.DRAINING and account.held is None

    @staticmethod
    def _spot(account: Account | None, spot: tuple[str, int] | None) -> int | None:
        if spot is None:
            return None
        where, by = spot
        if account is None or account.held is None:
            return max(0, by)
        delivered = account.held.delivered
        left = [offset for offset in delivered if offset >= account.place]
        if where == "delivered" and left:
            return left[min(max(0, by), len(left) - 1)]
        if where == "last" and delivered:
            return delivered[-1] + max(-1, by - 1)
        return max(0, account.place + by - 1)
