"""What operators, the dead letters' writer and the clock do in the model test."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sidecar.partitions.vocabulary import OrderRefused, RevokeReason, State, TopicPartition

from .account import Account
from .rules_kafka import ANY, NUMBER, TP
from .thread_part import Thread
from .world import DRAIN


class OperatorRules(Thread):
    """See the module."""

    @rule(
        what=st.sampled_from(["resume", "resume", "pause", "seek"]),
        tp=TP,
        number=st.one_of(st.none(), NUMBER),
        part=st.floats(0, 1),
        yes=st.sampled_from([True, True, False]),
    )
    def operator_orders(self, what: str, tp: TopicPartition, number: int | None, part: float, yes: bool) -> None:
        """One rule, or the orders would be most of what happens."""
        number = None if number is None else number % self.limits.lanes
        match what:
            case "resume":
                self.resumed(tp, number, skip=yes)
            case "pause":
                self.paused(tp, number)
            case _:
                self.sought(tp, number, part, commit=yes)

    def _meant(self, tp: TopicPartition, number: int | None) -> list[Account]:
        return [a for lane, a in self.mine.items() if lane.partition == tp and number in (None, lane.number)]

    def resumed(self, tp: TopicPartition, number: int | None, *, skip: bool) -> None:
        stopped = (State.HALTED, State.PAUSED)
        if number is not None or self.limits.lanes == 1:
            tp, number = next(
                ((lane.partition, lane.number) for lane, a in self.mine.items() if a.state in stopped), (tp, number)
            )
        meant = self._meant(tp, number)
        still = [account for account in meant if account.state in stopped]
        if skip and len(meant) > 1:
            with pytest.raises(OrderRefused, match="name the lane"):
                self.table.operator.resume(tp, self.now, skip=skip)
            return
        if not still or (skip and still[0].failing is None):
            with pytest.raises(OrderRefused) as caught:
                self.table.operator.resume(tp, self.now, skip=skip, number=number)
            assert caught.value.kind == ("state" if meant else "unknown")
            return
        where, skipped = self.table.operator.resume(tp, self.now, skip=skip, number=number)
        if len(still) == 1:
            self._resumed(still[0], where, skipped, skip=skip)
        else:
            assert skipped is None
            for account in still:
                self._resumed(account, max(where, account.place), None, skip=False)
        self.obey()

    def _resumed(self, account: Account, where: int, skipped: int | None, *, skip: bool) -> None:
        if account.held is not None:
            if account.place <= where:
                account.check_next(max(where, account.following))
            assert skipped is None
            self._goes_on(account)
            return
        assert (where, skipped) == (account.place, account.failing if skip else None)
        if skip and account.failing is not None:
            account.skip.add(account.failing)
        account.failing = None
        account.attempt, account.failures = 1, 0
        account.end(State.WAITING)

    def paused(self, tp: TopicPartition, number: int | None) -> None:
        self.leave_callback()
        meant = self._meant(tp, number)
        going = [account for account in meant if account.state is not State.HALTED]
        if not going or any(account.state in (State.RESOLVING, State.DRAINING) for account in going):
            with pytest.raises(OrderRefused) as caught:
                self.table.operator.pause(tp, "", DRAIN, self.now, number=number)
            assert caught.value.kind == ("state" if meant else "unknown")
            return
        assert len(self.table.operator.pause(tp, "", DRAIN, self.now, number=number)) == len(going)
        for account in going:
            if account.held is None:
                account.end(State.PAUSED)
            else:
                self.revoke_told(account, RevokeReason.PAUSED)
                account.drain(self.now, DRAIN, "pause")
        self.obey()

    def sought(self, tp: TopicPartition, number: int | None, part: float, *, commit: bool) -> None:
        """Moved, in whatever state it is; the commit that follows at once may be refused."""
        self.leave_callback()
        meant = self._meant(tp, number)
        place = round(part * meant[0].log.end) if meant else 0
        if not meant or any(account.state is State.RESOLVING or account.leaves for account in meant):
            with pytest.raises(OrderRefused) as caught:
                self.table.operator.seek(tp, place, self.now, number=number)
            assert caught.value.kind == ("state" if meant else "unknown")
            return
        before, after = self.table.operator.seek(tp, place, self.now, number=number)
        assert before == min(account.place for account in meant)
        for account in meant:
            self._sought(account, place, after if account is meant[0] else None)
        self.mark(tp)
        # The client is still where it was when this is committed, and what it had fetched waits as before.
        self._commit([tp], refused=not commit)
        withheld = self.table.partitions[tp].to_commit() is None and self.table.partitions[tp].committed is None
        assert not commit or withheld or all(account.log.committed == place for account in meant)
        self.obey()

    def _sought(self, account: Account, place: int, after: State | None) -> None:
        halted = account.state is State.HALTED or (account.state is State.DRAINING and account.after == "halt")
        state = State.HALTED if halted else State.PAUSED if account.is_paused_by_operator else State.WAITING
        assert after in (None, state) or (state is State.WAITING and after is State.STARTING)
        if account.held is not None:
            self.revoke_told(account, RevokeReason.SEEK)
            self._fenced(account)
        account.end(state)
        account.moved(place)
        account.log.seek(place)

    @precondition(lambda self: self.writing)
    @rule(pick=ANY, error=st.sampled_from(["", "", "no room"]))
    def dead_letter_answered(self, pick: int, error: str) -> None:
        """Late, perhaps: the partition may be elsewhere by now, or the record decided upon anew."""
        one = self.writing.pop(pick % len(self.writing))
        if self.being_kept.get(one.lane) is one.letter:
            del self.being_kept[one.lane]
        account = self.mine.get(one.lane)
        self.table.records.dead_lettered(one.lane, one.offset, one.letter, error, DRAIN, self.now)
        if account is not None and account.dead.get(one.offset) is one.decision:
            del account.dead[one.offset]
            if not error:
                account.skip.add(one.offset)
            elif account.state is not State.HALTED:
                self._cannot_be_kept(account, one.offset)
        self.obey()
        if account is not None:
            self._pump(one.lane)

    def _cannot_be_kept(self, account: Account, offset: int) -> None:
        """Nothing is dropped: it halts there."""
        if account.held is not None and account.state is not State.DRAINING:
            self.revoke_told(account, RevokeReason.HALTED)
        if account.held is not None or account.state is not State.DRAINING:
            account.halt_at(self.now, DRAIN, offset)

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 0.5, 2.0, 8.0, 25.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.time_goes(seconds)
