"""The world around the table in the model test: who is there, and how commands are carried out."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from sidecar.partitions.offsets import Commitment
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Assign,
    Command,
    Committed,
    DeadLetter,
    EndReason,
    EndStream,
    Exit,
    Hung,
    Lane,
    Lease,
    Limits,
    Policy,
    Resumed,
    Revoke,
    RevokeReason,
    Rewind,
    State,
    StreamId,
    TopicPartition,
)

from .account import Account, Held, Letter
from .crowd import Crowd, Line
from .simulation import Log

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
    max_state_bytes=4,
    hand_over_drain=8.0,
    minimum_stay=5.0,
)
MAX_PER_FRAME = 3
MAX_STREAMS = 8
DRAIN = 2.0


@dataclass
class Writing:
    """A dead letter that was given to its writer, who has not answered yet."""

    lane: Lane
    offset: int
    letter: DeadLetter
    decision: Letter


class UnderWay(NamedTuple):
    """A commit that Kafka has taken, and of which the table has not heard yet."""

    tp: TopicPartition
    account: Account
    moves: int
    """How often the partition had been moved when it was sent."""
    place: int
    checkpoint: int | None
    commitment: Commitment


class World:
    """Steps are methods; after each the account and the table have heard the same."""

    def __init__(self) -> None:
        self.now = 0.0
        self.leases: dict[Lease, Lane] = {}
        self.jitters = 0
        self.mine: dict[Lane, Account] = {}
        self.crowd = Crowd()
        self.writing: list[Writing] = []
        self.under_way: list[list[UnderWay]] = []
        """Commits of a partition's lanes."""
        self.being_kept: dict[Lane, DeadLetter] = {}
        self.told: list[tuple[object, ...] | Command] = []
        """What the table must ask for with the next commands, in any order."""
        self.leaving: str | None = None
        self.empty_since: float | None = None
        self.stopping = False
        self.in_callback = False
        """Kafka's client runs a rebalance callback: letters are read, positions cannot be moved, nothing is sent."""
        self.pauses_so_far = 0
        self.sound = True
        self.set_up(Policy.HALT, None)

    def set_up(self, policy: Policy, max_restarts: int | None, deadline: float | None = None, lanes: int = 1) -> None:
        """A new table. The more lanes a partition has, the fewer partitions there are."""
        self.limits = replace(LIMITS, policy=policy, max_restarts=max_restarts, deadline=deadline, lanes=lanes)
        self.tps = TPS[: 4 - lanes]
        self.lanes = [lane for tp in self.tps for lane in self._lanes_of(tp)]
        self.logs = {lane: Log() for lane in self.lanes}
        self.table = PartitionTable(self.limits, self._new_lease, self._jitter)

    def _new_lease(self) -> Lease:
        lease = f"lease {len(self.leases)}"
        self.leases[lease] = self.lanes[0]
        return lease

    def _lanes_of(self, tp: TopicPartition) -> list[Lane]:
        return [Lane(tp, number, self.limits.lanes) for number in range(self.limits.lanes)]

    def accounts_of(self, tp: TopicPartition) -> list[Account]:
        """Of all its lanes; none: it is not ours."""
        return [self.mine[lane] for lane in self._lanes_of(tp) if lane in self.mine]

    def our_tps(self) -> list[TopicPartition]:
        return [*dict.fromkeys(lane.partition for lane in self.mine)]

    def mark(self, tp: TopicPartition) -> None:
        """The low-water mark is computed now."""
        accounts = self.accounts_of(tp)
        if len(accounts) > 1:
            lowest = min(account.place for account in accounts)
            for account in accounts:
                account.mark = lowest

    def _jitter(self) -> float:
        self.jitters += 1
        return self.jitters * 0.37 % 1.0

    # --- commands -----------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """Carry out what the table asks for; what is ``told`` must be among it, and nothing like it beside that."""
        self.sound = False
        commands = self.table.take_commands()
        for command in commands:
            match command:
                case Assign():
                    self._assigned(command)
                case Revoke():
                    self._revoked(command)
                case EndStream(stream, reason, _):
                    assert self.crowd.lines[stream].known
                    if reason is EndReason.TOO_LATE:
                        self._gone(self.crowd.lines[stream])
                case Resumed(stream, number, offset):
                    self.told.remove(("resumed", stream, number))
                    account = self._account_of(self.crowd.lines[stream])
                    assert account is not None
                    account.check_next(offset)
                case Committed() | Hung():
                    assert self.crowd.lines[command.stream].known
                    self.told.remove(command)
                case Exit(reason):
                    assert reason
                    self.told.remove(("exit",))
                case Rewind():
                    self._rewound(command)
                case _:
                    assert command.level in ("info", "warning", "error")
        assert not self.told
        self.leaving = None

    def _revoked(self, revoke: Revoke) -> None:
        stream, reason, seconds = revoke.stream, revoke.reason, revoke.seconds
        assert self.crowd.lines[stream].known
        assert seconds == 0.0 or reason not in (RevokeReason.LOST, RevokeReason.SEEK)
        match reason:
            case RevokeReason.DEADLINE:
                self._deadline_missed(stream, seconds)
            case RevokeReason.HAND_OVER:
                self._handed_over(stream, seconds)
            case _:
                self.told.remove(("revoke", stream, reason))

    def _assigned(self, assign: Assign) -> None:
        line, account = self.crowd.lines[assign.stream], self.mine[assign.lane]
        assert line.spare
        assert account.state is State.WAITING
        assert line in self.crowd.eligible(self.now)
        assert not self.stopping
        assert (assign.start_offset, assign.attempt) == (account.place, account.attempt)
        assert assign.state == account.kept
        if self.leaving is None:
            handover_target = account.handover_target if account.moving else ""
            ranks = [self.crowd.rank(other, self.now, handover_target) for other in self.crowd.eligible(self.now)]
            assert self.crowd.rank(line, self.now, handover_target) == min(ranks)
        self.leases[assign.lease] = assign.lane
        account.state = State.STARTING
        account.held = Held(assign.lease, assign.stream, assign.start_offset, alive_at=self.now)
        account.until = self.now + self.limits.ready_timeout
        line.lane = assign.lane

    def _handed_over(self, stream: StreamId, seconds: float) -> None:
        """For balance: one at a time, only what stayed for a while, only to somebody who is better placed."""
        line = self.crowd.lines[stream]
        account = self._account_of(line)
        assert account is not None
        assert account.held is not None
        assert account.state is State.RUNNING
        assert not any(other.moving for other in self.mine.values())
        assert not any(other.state is State.WAITING for other in self.mine.values())
        assert not self.stopping
        assert seconds == self.limits.hand_over_drain
        assert self.now - account.held.ready_at >= self.limits.minimum_stay
        account.handover_target = self.table.lanes[self.leases[account.held.lease]].handover_target
        self.crowd.check_hand_over(line.process, account.handover_target, self.now, self.limits.minimum_stay)
        account.drain(self.now, seconds, "wait")
        account.moving = True

    def _deadline_missed(self, stream: StreamId, seconds: float) -> None:
        account = self._account_of(self.crowd.lines[stream])
        assert account is not None
        assert account.is_overdue(self.now)
        assert seconds == self.limits.hand_over_drain
        account.drain(self.now, seconds, "fail")

    def _rewound(self, rewind: Rewind) -> None:
        if self.in_callback:
            self.table.commands.append(rewind)
            self.mine[rewind.lane].behind = True
        elif rewind.lane in self.mine:
            self.mine[rewind.lane].behind = False
            self.mine[rewind.lane].reader.rewind(rewind.offset)
            self.table.rewound(rewind.lane)

    def leave_callback(self) -> None:
        """What was fetched inside comes from where the client still stood; the rewinds that waited make it void."""
        if self.in_callback:
            self.in_callback = False
            for account in self.mine.values():
                if account.state is not State.RESOLVING and account.place >= 0:
                    account.reader.fetch(account.log, 2)
            self.obey()

    def revoke_told(self, account: Account, reason: RevokeReason) -> None:
        """The stream that holds the partition is to be told that it is taken back."""
        if account.held is not None:
            self.told.append(("revoke", account.held.stream, reason))

    def drained(self, account: Account, reason: RevokeReason, seconds: float) -> None:
        """Somebody takes the partition back for good."""
        if account.state is not State.DRAINING:
            self.revoke_told(account, reason)
        account.drain(self.now, seconds, "release")

    # --- who knows whom -------------------------------------------------------------------------------------------

    def _gone(self, line: Line) -> None:
        """The table does not know the stream any more."""
        self.crowd.gone(line)
        if not self.crowd.known:
            self.empty_since = self.now

    def _fenced(self, account: Account) -> None:
        """The lease is dead, the stream lives on for a while."""
        assert account.held is not None
        line = self.crowd.lines[account.held.stream]
        line.lane = None
        line.fenced_until = self.now + self.limits.close_timeout

    def _process_of(self, account: Account) -> str:
        assert account.held is not None
        return self.crowd.lines[account.held.stream].process

    def _account_of(self, line: Line) -> Account | None:
        """The partition that the stream holds now."""
        account = self.mine.get(line.lane) if line.lane is not None and line.known else None
        return account if account is not None and account.held is not None else None

    def _line(self, pick: int) -> Line | None:
        lines = [line for line in self.crowd.known for _ in range(1 if line.lane is None else 3)]
        return lines[pick % len(lines)] if lines else None

    def _lease(self, pick: int) -> Lease:
        """A living lease rather than a dead one, sometimes one that never was."""
        living = [account.held.lease for account in self.mine.values() if account.held is not None]
        known = [*living * 3, *list(self.leases)[-2:], "nonsense"]
        return known[pick % len(known)]

    def _holder(self, lease: Lease) -> Account | None:
        return next((a for a in self.mine.values() if a.held is not None and a.held.lease == lease), None)

    @staticmethod
    def _spot(account: Account | None, spot: tuple[str, int] | None) -> int | None:
        """An offset that a lambda may speak of, as seen from what it knows."""
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
