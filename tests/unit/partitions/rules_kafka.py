"""What Kafka does in the model test: records, rebalances, commits, lost offsets."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sidecar.partitions.vocabulary import Lane, Place, RevokeReason, State, TopicPartition

from .account import Account
from .simulation import Reader, append
from .thread_part import Thread
from .world import DRAIN, TPS

ANY = st.integers(0, 11)
TP = st.sampled_from(TPS)
NUMBER = st.integers(0, 2)


class KafkaRules(Thread):
    """See the module."""

    @rule(
        tp=TP,
        gaps=st.lists(st.sampled_from([0, 0, 0, 1, 4]), min_size=2, max_size=8),
        poison=st.sampled_from([""] * 12 + ["unreadable", "large", "large"]),
    )
    def records_are_written(self, tp: TopicPartition, gaps: list[int], poison: str) -> None:
        if tp in self.tps:
            append([self.logs[lane] for lane in self._lanes_of(tp)], gaps, poison)

    @precondition(lambda self: len(self.mine) < len(self.lanes))
    @rule(pick=ANY, metadata=st.sampled_from([True, True, False]))
    def assigned(self, pick: int, metadata: bool = True) -> None:
        """Without the ``metadata`` of the commit, all lanes begin at the committed offset."""
        others = [tp for tp in self.tps if not self.accounts_of(tp)]
        tp = others[pick % len(others)]
        logs = [self.logs[lane] for lane in self._lanes_of(tp)]
        starts = [log.start() for log in logs]
        if not metadata:
            for log in logs:
                log.begin_at(min(starts))
            starts = [min(starts)] * len(starts)
        for lane, log, start in zip(self._lanes_of(tp), logs, starts, strict=True):
            self.mine[lane] = Account(self.limits, log, Reader(start))
        self.table.assigned([tp], self.now)
        self.obey()

    @precondition(lambda self: self._unresolved())
    @rule()
    def resolved(self) -> None:
        tp = self._unresolved()[0]
        accounts = self.accounts_of(tp)
        committed = accounts[0].log.committed is not None
        if not committed:  # a new group begins with all lanes at one offset
            lowest = min(account.reader.position for account in accounts)
            for account in accounts:
                account.reader.position = lowest
                account.log.seek(lowest)
        for account in accounts:
            account.place = account.reader.position
            account.kept = account.log.state
            if committed:
                account.state = State.WAITING
        places = [Place(account.place, account.kept) for account in accounts]
        self.mark(tp)
        self.table.resolved(tp, min(places).offset, self.now, committed=committed, places=places)
        self.obey()

    @precondition(lambda self: self._placed())
    @rule()
    def place_is_committed(self) -> None:
        """Kafka has the first place of a partition: only now a lambda may get it."""
        self._commit(self._placed()[:1])

    @precondition(lambda self: self.mine)
    @rule(pick=ANY, most=st.integers(1, 9))
    def fetched(self, pick: int, most: int) -> None:
        self.fetched_and_sent(self.lanes[pick % len(self.lanes)], most)

    def fetched_and_sent(self, lane: Lane, most: int) -> None:
        self.leave_callback()
        account = self.mine.get(lane)
        if account is not None and account.state is not State.RESOLVING and account.place >= 0:
            account.reader.fetch(account.log, most)
            self._pump(lane)
        self.table.records.buffered(lane, self.now)

    @rule(late=st.booleans())
    def committed(self, late: bool) -> None:
        """At the interval. The answer comes at once, or late: in between anything may happen."""
        self.leave_callback()
        self._commit([tp for tp in self.tps if all(tp != sent[0].tp for sent in self.under_way)], late=late)

    @precondition(lambda self: self.under_way)
    @rule()
    def commits_are_answered(self) -> None:
        self._answer_commits()

    @precondition(lambda self: self.mine)
    @rule(
        what=st.sampled_from(["callback", "callback", "revoked", "revoked", "lost", "gone", "halts", "stop"]),
        tp=TP,
        seconds=st.sampled_from([DRAIN, 0.5, 10.0]),
        part=st.floats(0, 1),
    )
    def something_changes(self, what: str, tp: TopicPartition, seconds: float, part: float) -> None:
        """What interrupts everything: one rule, or little else would ever happen."""
        match what:
            case "callback":
                self.in_callback = True  # until something happens that cannot happen inside one
            case "revoked":
                self.revoked(tp, RevokeReason.REBALANCE if part < 0.5 else RevokeReason.SHUTDOWN, seconds)
            case "lost":
                self.lost(tp)
            case "stop":
                self.stopped_and_started()
            case _:
                self.offset_lost(tp, part, halts=what == "halts")

    def stopped_and_started(self) -> None:
        """Everything is taken back, and the group joined anew."""
        self.leave_callback()
        self.stopping = True
        for account in self.mine.values():
            self.drained(account, RevokeReason.SHUTDOWN, DRAIN)
        self.table.revoke_all(RevokeReason.SHUTDOWN, DRAIN, self.now)
        self.obey()
        self.time_goes(DRAIN)
        self._release(self.our_tps())
        self.table._moves.draining_all = False  # a new start, in place of a new table
        self.stopping = False

    def revoked(self, tp: TopicPartition, reason: RevokeReason, seconds: float) -> None:
        self.table.revoke([tp], reason, seconds, self.now)
        for account in self.accounts_of(tp):
            self.drained(account, reason, seconds)
        self.obey()

    def _released_tps(self) -> list[TopicPartition]:
        return [tp for tp in self.our_tps() if all(map(self._released, self.accounts_of(tp)))]

    @precondition(lambda self: self._released_tps())
    @rule()
    def released(self) -> None:
        self._release(self._released_tps())

    def lost(self, tp: TopicPartition) -> None:
        for account in self._forget(tp):
            if account.held is not None:
                self.revoke_told(account, RevokeReason.LOST)
                self._fenced(account)
        self.table.lost([tp], self.now)
        self.obey()

    def offset_lost(self, tp: TopicPartition, part: float, *, halts: bool) -> None:
        self.leave_callback()
        accounts = self.accounts_of(tp)
        # Of a new partition and of one that leaves nobody asks.
        if not accounts or any(a.state is State.RESOLVING or self._released(a) for a in accounts):
            return
        place = round(part * accounts[0].log.end)
        from_start = part < 0.3
        self.table.offset_lost(tp, place, self.now, "gone", halt=halts, from_start=from_start)
        for account in accounts:
            self._lost(account, max(place, account.place) if from_start else place, halts=halts)
        self.mark(tp)
        self.obey()

    def _lost(self, account: Account, place: int, *, halts: bool) -> None:
        leaves, still = account.leaves, account.is_paused_by_operator
        halts = halts or account.state is State.HALTED
        if account.held is not None:
            self.revoke_told(account, RevokeReason.SEEK)
            self._fenced(account)
        account.reader.rewind(place)
        if leaves:
            account.held = account.until = None
        else:
            account.end(State.HALTED if halts else State.PAUSED if still else State.RESOLVING)
            account.moved(place)
            account.log.lose(place)
