"""The consumer thread's part in the model test, and what several rules do."""

from sidecar.partitions.assignment import Assignment
from sidecar.partitions.table import PROGRESS_CHECK_INTERVAL_S
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    Committed,
    ErrorOutcome,
    Hung,
    Lane,
    Lease,
    Place,
    Policy,
    Progress,
    RevokeReason,
    State,
    TopicPartition,
)

from .account import Account, Held, Letter
from .simulation import RECORD_BYTES
from .world import DRAIN, MAX_PER_FRAME, UnderWay, World, Writing


class Thread(World):
    """What waits is sent or kept, what is done is committed."""

    # --- the consumer thread's part -----------------------------------------------------------------------------

    def _pump(self, lane: Lane) -> None:
        """Send what may go."""
        account = self.mine[lane]
        while account.reader.waiting and not self.in_callback:
            room = self.table.records.may_send(lane)
            account.check_room(room)
            if room == 0 or not self._send_frame(lane, account, room):
                return

    def _send_frame(self, lane: Lane, account: Account, room: int) -> bool:
        """One frame, or what else is to be done with the first that waits. Returns whether there may be another."""
        reader, log = account.reader, account.log
        reader.waiting = waiting = [offset for offset in reader.waiting if offset not in account.skip]
        before = self._before_the_dead(lane, account)
        if not waiting or not before:
            return False
        if waiting[0] in log.poison:
            return self._undeliverable(lane, account, waiting[0])
        frame = waiting[: min(room, MAX_PER_FRAME, before)]
        frame = frame[: next((i for i, offset in enumerate(frame) if offset in log.poison), len(frame))]
        del waiting[: len(frame)]
        consecutive = frame[-1] - frame[0] + 1 == len(frame)
        offsets = None if consecutive else frame
        self.table.records.sent(lane, frame[0], frame[-1], len(frame), RECORD_BYTES * len(frame), offsets, self.now)
        account.sent(frame, self.now)
        assert account.held is not None
        self.crowd.lines[account.held.stream].unwritten += 1
        return True

    def _before_the_dead(self, lane: Lane, account: Account) -> int:
        """How many come before the first that is to be kept. When that is next, its writer gets it: once."""
        waiting = account.reader.waiting
        while account.dead and waiting:
            offset = min(account.dead)
            count = sum(1 for one in waiting if one < offset)
            if count:
                return count
            if waiting[0] == offset:
                letter = self.table.lanes[lane].dead[offset]
                if self.being_kept.get(lane) is not letter:
                    self.being_kept[lane] = letter
                    self.writing.append(Writing(lane, offset, letter, account.dead[offset]))
                return 0
            self.table.records.no_such_record(lane, offset, DRAIN, self.now)
            del account.dead[offset]
            self.revoke_told(account, RevokeReason.HALTED)
            assert account.halt_at(self.now, DRAIN, offset)
            self.obey()
            return 0
        return len(waiting)

    def _undeliverable(self, lane: Lane, account: Account, bad: int) -> bool:
        readable = bad in account.log.readable
        kept = readable and self.limits.policy is Policy.DEAD_LETTER
        if not kept:
            account.reader.waiting.clear()
        assert self.table.records.undeliverable(lane, bad, "too large", DRAIN, self.now, readable=readable) == kept
        if kept:
            account.dead[bad] = Letter()
            return True
        self.revoke_told(account, RevokeReason.HALTED)
        assert account.halt_at(self.now, DRAIN, bad)
        if self.limits.policy is Policy.EXIT:
            self.told.append(("exit",))
        self.obey()
        return False

    def _release(self, tps: list[TopicPartition]) -> None:
        """The end of a drain: commit, forget."""
        assert not self.table.held(tps)
        self._commit(tps)
        self.table.forget(tps)
        for tp in tps:
            self._forget(tp)
        self.obey()

    def _forget(self, tp: TopicPartition) -> list[Account]:
        """The partition is not ours any more. What is being written is answered all the same."""
        gone = self.accounts_of(tp)
        for lane in self._lanes_of(tp):
            self.being_kept.pop(lane, None)
            self.mine.pop(lane, None)
        return gone

    def _commit(self, tps: list[TopicPartition], *, refused: bool = False, late: bool = False) -> None:
        for tp in tps:
            accounts = self.accounts_of(tp)
            if not accounts:
                continue
            partition = self.table.partitions[tp]
            self._settle(partition, accounts)
            self.mark(tp)
            offset = partition.to_commit()
            if offset is None or refused:
                continue
            assert offset == min(account.place for account in accounts)
            commitments = partition.commitments
            assert [one.place for one in commitments] == [Place(a.place, a.kept) for a in accounts]
            sent: list[UnderWay] = []
            for account, one in zip(accounts, commitments, strict=True):
                account.log.commit(account.place, account.kept)
                sent.append(UnderWay(tp, account, account.moves, account.place, account.checkpoint, one))
            self.under_way.append(sent)
            if not late:
                self._answer_commits(len(self.under_way) - 1)
        self.obey()

    def _answer_commits(self, first: int = 0) -> None:
        """Kafka's answers come, from this one on. What was moved meanwhile is not what was committed."""
        answered, self.under_way[first:] = self.under_way[first:], []
        for sent in answered:
            tp = sent[0].tp
            for lane, one in zip(self._lanes_of(tp), sent, strict=True):
                account = one.account
                if self.mine.get(lane) is not account or account.moves != one.moves:
                    continue
                if account.state is State.RESOLVING and one.place == account.place:
                    account.state = State.WAITING
                if one.checkpoint is not None and (account.durable is None or one.checkpoint > account.durable):
                    account.durable = one.checkpoint
                    if account.held is not None:
                        self.told.append(Committed(account.held.stream, one.checkpoint))
            self.table.committed(tp, [one.commitment for one in sent], self.now)
            self.obey()

    @staticmethod
    def _settle(partition: Assignment, accounts: list[Account]) -> None:
        """What was fetched and waits bounds where a lane is, or else where the client is, once that is known."""
        before = partition.places
        partition.settle(
            [
                one.reader.waiting[0] if one.reader.waiting else one.reader.position if one.reader.valid else -1
                for one in accounts
            ]
        )
        for account, was, now in zip(accounts, before, partition.places, strict=True):
            if now != was:  # whether it may is judged below, by what is done
                account.settled(now)

    # --- what several rules do ------------------------------------------------------------------------------------

    def _ready(self, account: Account) -> None:
        assert account.held is not None
        self.table.streams.ready(account.held.stream, account.held.lease, self.now)
        self._is_ready(account)
        self.obey()
        assert self.crowd.lines[account.held.stream].known

    def _is_ready(self, account: Account) -> None:
        assert account.held is not None
        account.state, account.until, account.moving = State.RUNNING, None, False
        account.held.ready_at = self.now
        self.crowd.health[self._process_of(account)].failures = 0

    def _written(self, account: Account) -> None:
        assert account.held is not None
        line = self.crowd.lines[account.held.stream]
        while line.unwritten:
            line.unwritten -= 1
            assert line.lane is not None
            assert self.table.streams.written(line.id) == line.lane
            account.held.unwritten -= 1

    def _checkpoint(self, lease: Lease, said: Progress) -> None:
        account = self._holder(lease)
        outcome, delivered = self.table.streams.checkpoint(lease, said, self.now)
        if account is None or account.held is None:
            assert (outcome, delivered) == (CheckpointOutcome.STALE_LEASE, None)
            return
        assert outcome is account.expected(said)
        if outcome is CheckpointOutcome.BEYOND_DELIVERED:
            self._check_delivered(account.held, delivered)
        account.progressed(said, self.now)
        self._pump(self.leases[lease])

    @staticmethod
    def _check_delivered(held: Held, said: int | None) -> None:
        """What was delivered and counts, in a gap behind it at most; absent when nothing was."""
        if held.delivered:
            assert said is not None
            assert held.delivered[-1] <= said == held.reach
        else:
            assert said == held.checkpoint

    def _goes_on(self, account: Account) -> None:
        """The lambda's pause is over."""
        assert account.held is not None
        self.told.append(("resumed", account.held.stream, account.go_on(self.now)))

    def _exits(self, outcome: ErrorOutcome) -> None:
        """Where the policy says so, the sidecar is asked to end."""
        if outcome is ErrorOutcome.EXITING:
            self.told.append(("exit",))

    def time_goes(self, seconds: float) -> None:
        """The clock, and the table hears of it."""
        self.now += seconds
        for lane, account in self.mine.items():
            if account.state is State.BACKING_OFF and account.until is not None:
                due = self.table.lanes[lane].due
                assert due is not None
                assert account.until - account.full_delay() / 2 <= due <= account.until
                account.until = due  # jitter makes it shorter
        for account in self.mine.values():
            if account.until is not None and account.until <= self.now:
                self._overdue(account)
        for line in self.crowd.lines.values():
            if line.fenced_until is not None and line.fenced_until <= self.now:
                line.fenced_until = self.now
        self.leaving = "time"
        self.table.tick(self.now)
        self.obey()
        waits = self.table.next_due(self.now)
        assert waits is None or waits > self.now
        for account in self.mine.values():  # they are looked for once a second, and at each long wait
            assert not account.is_overdue(self.now - PROGRESS_CHECK_INTERVAL_S)

    def _overdue(self, account: Account) -> None:
        if account.state is State.BACKING_OFF:
            account.state, account.until = State.WAITING, None
        elif account.state is State.PAUSED:
            self._goes_on(account)
        elif account.state is State.STARTING:
            self.crowd.failed(self._process_of(account), self.now)
            self._exits(account.failed(self.now))
        elif account.fails:
            assert account.held is not None
            self.told.append(Hung(account.held.stream))
            self.crowd.failed(self._process_of(account), self.now)
            self._exits(account.failed(self.now))
        else:
            account.orderly()

    def _unresolved(self) -> list[TopicPartition]:
        return [tp for tp in self.our_tps() if any(account.place < 0 for account in self.accounts_of(tp))]

    def _placed(self) -> list[TopicPartition]:
        """Where they start is known, and not committed yet."""
        return [
            tp
            for tp in self.our_tps()
            if any(account.state is State.RESOLVING and account.place >= 0 for account in self.accounts_of(tp))
        ]

    @staticmethod
    def _released(account: Account) -> bool:
        return account.leaves and account.held is None
