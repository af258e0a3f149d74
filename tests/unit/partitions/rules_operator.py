"""What operators, the dead letters' writer and the clock do in the model test."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sidecar.partitions.vocabulary import Lane, OrderRefused, RefusalKind, RevokeReason, State, TopicPartition

from .account import Account
from .rules_kafka import ANY, TP
from .thread_part import Thread
from .world import DRAIN


def refused(account: Account | None) -> RefusalKind:
    """What kind a refusal is of, by whether the partition is ours."""
    return "unknown" if account is None else "state"


class OperatorRules(Thread):
    """See the module."""

    @rule(
        what=st.sampled_from(["resume", "resume", "pause", "seek"]),
        tp=TP,
        part=st.floats(0, 1),
        yes=st.sampled_from([True, True, False]),
    )
    def operator_orders(self, what: str, tp: TopicPartition, part: float, yes: bool) -> None:
        """One rule, or the orders would be most of what happens."""
        match what:
            case "resume":
                self.resumed(tp, skip=yes)
            case "pause":
                self.paused(tp)
            case _:
                self.sought(tp, part, commit=yes)

    def resumed(self, tp: TopicPartition, *, skip: bool) -> None:
        stopped = (State.HALTED, State.PAUSED)
        tp = next((tp for tp, account in self.mine.items() if account.state in stopped), tp)
        account = self.mine.get(tp)
        possible = account is not None and account.state in stopped and (account.failing is not None or not skip)
        if account is None or not possible:
            with pytest.raises(OrderRefused) as caught:
                self.table.operator.resume(tp, self.now, skip=skip)
            assert caught.value.kind == refused(account)
            return
        where, skipped = self.table.operator.resume(tp, self.now, skip=skip)
        if account.held is not None:
            account.check_next(where)
            assert skipped is None
            self._goes_on(account)
            self.obey()
            return
        assert (where, skipped) == (account.place, account.failing if skip else None)
        if skip and account.failing is not None:
            account.skip.add(account.failing)
        account.failing = None
        account.attempt, account.failures = 1, 0
        account.end(State.WAITING)
        self.obey()

    def paused(self, tp: TopicPartition) -> None:
        self.leave_callback()
        account = self.mine.get(tp)
        if account is None or account.state in (State.HALTED, State.RESOLVING, State.DRAINING):
            with pytest.raises(OrderRefused) as caught:
                self.table.operator.pause(tp, "", DRAIN, self.now)
            assert caught.value.kind == refused(account)
            return
        self.table.operator.pause(tp, "", DRAIN, self.now)
        if account.held is None:
            account.end(State.PAUSED)
        else:
            self.revoke_told(account, RevokeReason.PAUSED)
            account.drain(self.now, DRAIN, "pause")
        self.obey()

    def sought(self, tp: TopicPartition, part: float, *, commit: bool) -> None:
        """Moved, in whatever state it is; the commit that follows at once may be refused."""
        self.leave_callback()
        account = self.mine.get(tp)
        place = round(part * self.logs[tp].end)
        if account is None or account.state is State.RESOLVING or account.leaves:
            with pytest.raises(OrderRefused) as caught:
                self.table.operator.seek(tp, place, self.now)
            assert caught.value.kind == refused(account)
            return
        halted = account.state is State.HALTED or (account.state is State.DRAINING and account.after == "halt")
        state = State.HALTED if halted else State.PAUSED if account.is_paused_by_operator else State.WAITING
        before, after = self.table.operator.seek(tp, place, self.now)
        assert before == account.place
        assert after is state or (state is State.WAITING and after is State.STARTING)
        if account.held is not None:
            self.revoke_told(account, RevokeReason.SEEK)
            self._fenced(account)
        account.end(state)
        account.moved(place)
        account.log.seek(place)
        # The client is still where it was when this is committed, and what it had fetched waits as before.
        self._commit([tp], refused=not commit)
        assert not commit or account.log.committed == place
        self.obey()

    @precondition(lambda self: self.writing)
    @rule(pick=ANY, error=st.sampled_from(["", "", "no room"]))
    def dead_letter_answered(self, pick: int, error: str) -> None:
        """Late, perhaps: the partition may be elsewhere by now, or the record decided upon anew."""
        one = self.writing.pop(pick % len(self.writing))
        if self.being_kept.get(one.tp) is one.letter:
            del self.being_kept[one.tp]
        account = self.mine.get(one.tp)
        self.table.records.dead_lettered(Lane(one.tp), one.offset, one.letter, error, DRAIN, self.now)
        if account is not None and account.dead.get(one.offset) is one.decision:
            del account.dead[one.offset]
            if not error:
                account.skip.add(one.offset)
            elif account.state is not State.HALTED:
                self._cannot_be_kept(account, one.offset)
        self.obey()
        if account is not None:
            self._pump(one.tp)

    def _cannot_be_kept(self, account: Account, offset: int) -> None:
        """Nothing is dropped: it halts there."""
        if account.held is not None and account.state is not State.DRAINING:
            self.revoke_told(account, RevokeReason.HALTED)
        if account.held is not None or account.state is not State.DRAINING:
            account.halt_at(self.now, DRAIN, offset)

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 0.5, 2.0, 8.0, 25.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.time_goes(seconds)
