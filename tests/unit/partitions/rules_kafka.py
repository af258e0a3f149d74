"""What Kafka does in the model test: records, rebalances, commits, lost offsets."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sidecar.partitions.vocabulary import Lane, RevokeReason, State, TopicPartition

from .account import Account
from .simulation import Reader
from .thread_part import Thread
from .world import DRAIN, TPS

ANY = st.integers(0, 11)
TP = st.sampled_from(TPS)


class KafkaRules(Thread):
    """See the module."""

    @rule(
        tp=TP,
        gaps=st.lists(st.sampled_from([0, 0, 0, 1, 4]), min_size=2, max_size=8),
        poison=st.sampled_from([""] * 12 + ["unreadable", "large", "large"]),
    )
    def records_are_written(self, tp: TopicPartition, gaps: list[int], poison: str) -> None:
        self.logs[tp].append(gaps, poison)

    @precondition(lambda self: len(self.mine) < len(TPS))
    @rule(pick=ANY)
    def assigned(self, pick: int) -> None:
        others = [tp for tp in TPS if tp not in self.mine]
        tp = others[pick % len(others)]
        self.mine[tp] = Account(self.limits, self.logs[tp], Reader(self.logs[tp].start()))
        self.table.assigned([tp], self.now)
        self.obey()

    @precondition(lambda self: self._unresolved())
    @rule()
    def resolved(self) -> None:
        tp = self._unresolved()[0]
        account = self.mine[tp]
        account.place = account.reader.position
        committed = account.log.committed is not None
        if committed:
            account.state = State.WAITING
        account.kept = account.log.state
        self.table.resolved(tp, account.place, self.now, committed=committed, state=account.kept)
        self.obey()

    @precondition(lambda self: self._placed())
    @rule()
    def place_is_committed(self) -> None:
        """Kafka has the first place of a partition: only now a lambda may get it."""
        self._commit(self._placed()[:1])

    @precondition(lambda self: self.mine)
    @rule(tp=TP, most=st.integers(1, 9))
    def fetched_and_sent(self, tp: TopicPartition, most: int) -> None:
        self.leave_callback()
        account = self.mine.get(tp)
        if account is not None and account.state is not State.RESOLVING:
            account.reader.fetch(account.log, most)
            self._pump(tp)
        self.table.records.buffered(Lane(tp), self.now)

    @rule(late=st.booleans())
    def committed(self, late: bool) -> None:
        """At the interval. The answer comes at once, or late: in between anything may happen."""
        self.leave_callback()
        self._commit([tp for tp in TPS if all(tp != one[0] for one in self.under_way)], late=late)

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
        self._release(list(self.mine))
        self.table._moves.draining_all = False  # a new start, in place of a new table
        self.stopping = False

    def revoked(self, tp: TopicPartition, reason: RevokeReason, seconds: float) -> None:
        self.table.revoke([tp], reason, seconds, self.now)
        if tp in self.mine:
            self.drained(self.mine[tp], reason, seconds)
        self.obey()

    @precondition(lambda self: any(self._released(account) for account in self.mine.values()))
    @rule()
    def released(self) -> None:
        self._release([tp for tp, account in self.mine.items() if self._released(account)])

    def lost(self, tp: TopicPartition) -> None:
        account = self._forget(tp)
        if account is not None and account.held is not None:
            self.revoke_told(account, RevokeReason.LOST)
            self._fenced(account)
        self.table.lost([tp], self.now)
        self.obey()

    def offset_lost(self, tp: TopicPartition, part: float, *, halts: bool) -> None:
        self.leave_callback()
        account = self.mine.get(tp)
        # Of a new partition and of one that leaves nobody asks.
        if account is None or account.state is State.RESOLVING or self._released(account):
            return
        leaves, still = account.leaves, account.is_paused_by_operator
        halts = halts or account.state is State.HALTED
        place = round(part * account.log.end)
        self.table.offset_lost(tp, place, self.now, "gone", halt=halts)
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
        self.obey()
