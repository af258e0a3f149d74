"""The table against a model, in any order of events.

Hypothesis plays Kafka (assign, revoke, lose, lost offsets, records with gaps), lambda processes that keep to the
contract or talk nonsense, the operator and the clock; the test itself plays the consumer thread: it fetches, holds
what is fetched, obeys every Rewind, sends what ``may_send`` allows, settles and commits. After each step the table is
compared with the account kept in ``simulation`` and with the invariants of the core's docstrings.

Runs 200 examples of 50 steps, always the same. A longer, random run:
``KAFKA_SIDECAR_MODEL_STEPS=300 python -m pytest tests/unit/partitions/test_table_model.py --timeout=0``
makes 2,000 examples of 300 steps each.
"""

import os

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.partitions.processes import QUARANTINE
from sidecar.partitions.vocabulary import (
    ClosedReason,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Progress,
    ResumeRefused,
    RevokeReason,
    State,
    TopicPartition,
)

from .simulation import RECORD_BYTES, Account, Line, Reader
from .world import DRAIN, LIMITS, TPS, World

STEPS = int(os.environ.get("KAFKA_SIDECAR_MODEL_STEPS", "0"))
MOST_STREAMS = 8

ANY = st.integers(0, 11)
TP = st.sampled_from(TPS)
PROCESS = st.sampled_from(["one", "two", "three"])
REASONS = st.sampled_from(list(ClosedReason))
# Which offset a lambda speaks of, as seen from what it knows: (from where, how far).
SPOT = st.one_of(
    st.none(), st.tuples(st.sampled_from(["place", "delivered", "delivered", "last"]), st.integers(-2, 3))
)
PROGRESS = st.tuples(SPOT, st.sampled_from([0, 0, 0, 1, 3, 1000]), st.sampled_from([0, 0, 10, 30, 10**9]))


class TableMachine(World, RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        World.__init__(self)
        RuleBasedStateMachine.__init__(self)

    # --- most of the time things go well ----------------------------------------------------------------------------

    @initialize(
        gaps=st.lists(st.lists(st.sampled_from([0, 0, 1, 4]), min_size=5, max_size=20), min_size=3, max_size=3),
        processes=st.lists(PROCESS, max_size=5),
        going=st.sampled_from([3, 3, 2, 0]),
    )
    def begun(self, gaps: list[list[int]], processes: list[str], going: int) -> None:
        for tp, some in zip(TPS, gaps, strict=True):
            self.logs[tp].append(some, poison=False)
            self.assigned(0)
            self.resolved()
        for process in processes:
            self.available(process)
        for _ in range(going):
            self.lambdas_work(3, "two")

    @rule(most=st.integers(1, 9), process=PROCESS)
    def lambdas_work(self, most: int, process: str) -> None:
        """The next good step of each partition: assigned, offered, ready, or fed."""
        for tp in TPS:
            account = self.mine.get(tp)
            if account is None:
                self.assigned(0)
                self.resolved()
            elif account.state is State.WAITING and sum(line.known for line in self.lines.values()) < MOST_STREAMS:
                self.available(process)
            elif account.state is State.STARTING:
                self._ready(account)
            elif account.state is State.RUNNING:
                self.fetched_and_sent(tp, most)
                if account.held is not None:
                    self._written(account)

    @precondition(lambda self: any(a.state is State.RUNNING for a in self.mine.values()))
    @rule(pick=ANY, part=st.floats(0.1, 1), beyond=st.integers(0, 3))
    def lambda_checkpoints(self, pick: int, part: float, beyond: int) -> None:
        """A checkpoint as a good lambda sends it."""
        running = [account for account in self.mine.values() if account.state is State.RUNNING]
        account = running[pick % len(running)]
        assert account.held is not None
        left = [offset for offset in account.held.delivered if offset >= account.place]
        if left:
            offset = left[round(part * (len(left) - 1))]
            self._checkpoint(account.held.lease, Progress(offset, beyond, beyond * RECORD_BYTES))

    # --- Kafka ----------------------------------------------------------------------------------------------------

    @rule(tp=TP, gaps=st.lists(st.sampled_from([0, 0, 0, 1, 4]), min_size=2, max_size=8), poison=st.integers(0, 15))
    def records_are_written(self, tp: TopicPartition, gaps: list[int], poison: int) -> None:
        self.logs[tp].append(gaps, poison=poison == 0)

    @precondition(lambda self: len(self.mine) < len(TPS))
    @rule(pick=ANY)
    def assigned(self, pick: int) -> None:
        others = [tp for tp in TPS if tp not in self.mine]
        tp = others[pick % len(others)]
        log = self.logs[tp]
        place = log.base if log.committed is None else log.committed
        self.mine[tp] = Account(LIMITS, log, Reader(place))
        self.table.assigned([tp])
        self.obey()

    @precondition(lambda self: self._unresolved())
    @rule()
    def resolved(self) -> None:
        tp = self._unresolved()[0]
        account = self.mine[tp]
        account.place = account.reader.position
        account.state = State.WAITING
        self.table.resolved(tp, account.place, self.now, committed=account.log.committed is not None)
        self.obey()

    @precondition(lambda self: self.mine)
    @rule(tp=TP, most=st.integers(1, 9))
    def fetched_and_sent(self, tp: TopicPartition, most: int) -> None:
        account = self.mine.get(tp)
        if account is not None and account.state is not State.RESOLVING:
            account.reader.fetch(account.log, most)
            self._pump(tp)
        self.table.block(tp, self.now)

    @rule()
    def committed(self) -> None:
        self._commit(TPS)

    @precondition(lambda self: self.mine)
    @rule(
        tp=TP,
        reason=st.sampled_from([RevokeReason.REBALANCE, RevokeReason.SHUTDOWN, RevokeReason.HAND_OVER]),
        seconds=st.sampled_from([DRAIN, 0.5, 10.0]),
    )
    def revoked(self, tp: TopicPartition, reason: RevokeReason, seconds: float) -> None:
        self.table.revoke([tp], reason, seconds, self.now)
        if tp in self.mine:
            self.mine[tp].drain(self.now, seconds, halts=False)
        self.obey()

    @precondition(lambda self: any(self._released(account) for account in self.mine.values()))
    @rule()
    def released(self) -> None:
        self._release([tp for tp, account in self.mine.items() if self._released(account)])

    @precondition(lambda self: self.mine)
    @rule(tp=TP)
    def lost(self, tp: TopicPartition) -> None:
        account = self.mine.pop(tp, None)
        if account is not None and account.held is not None:
            self._fenced(account)
        self.table.lost([tp], self.now)
        self.obey()

    @precondition(lambda self: self.mine)
    @rule(tp=TP, part=st.floats(0, 1), halts=st.sampled_from([False, False, True]))
    def offset_lost(self, tp: TopicPartition, part: float, halts: bool) -> None:
        account = self.mine.get(tp)
        # Of a new partition and of one that leaves nobody asks.
        if account is None or account.state is State.RESOLVING or self._released(account):
            return
        leaves = account.state is State.DRAINING and not account.halts
        place = round(part * account.log.end)
        self.table.offset_lost(tp, place, self.now, "gone", halt=halts)
        if account.held is not None:
            self._fenced(account)
            account.held = None
        account.until = None
        account.reader.rewind(place)
        if not leaves:
            halts = halts or account.state is State.HALTED
            account.state = State.HALTED if halts else State.WAITING
            account.halts = False
            account.moved(place)
        self.obey()

    # --- lambda processes -----------------------------------------------------------------------------------------

    @precondition(lambda self: sum(line.known for line in self.lines.values()) < MOST_STREAMS)
    @rule(process=PROCESS)
    def available(self, process: str) -> None:
        self.opened += 1
        self.lines[self.opened] = Line(self.opened, process)
        self.table.available(self.opened, process, 1000, self.now)
        self.obey()

    @rule(stream=ANY, pick=ANY)
    def ready_out_of_place(self, stream: int, pick: int) -> None:
        line, lease = self._line(stream), self._lease(pick)
        if line is None:
            return
        account = self._account_of(line)
        self.table.ready(line.id, lease)
        nonsense = False
        if account is not None and account.held is not None:
            right = account.held.lease == lease
            nonsense = not right or account.state is State.RUNNING
            if right and account.state is State.STARTING:
                account.state, account.until = State.RUNNING, None
        ends = [command for command in self.table.commands if isinstance(command, EndStream)]
        assert [end.reason for end in ends] == [EndReason.PROTOCOL] * nonsense
        self.obey()

    @rule(pick=ANY)
    def written(self, pick: int) -> None:
        busy = [line for line in self.lines.values() if line.unwritten]
        if not busy:
            return
        line = busy[pick % len(busy)]
        line.unwritten -= 1
        account = self._account_of(line)
        assert self.table.written(line.id) == (line.tp if account is not None else None)
        if account is not None and account.held is not None and line.tp is not None:
            account.held.unwritten -= 1
            self._pump(line.tp)

    @rule(pick=ANY, progress=PROGRESS)
    def checkpoint(self, pick: int, progress: tuple[tuple[str, int] | None, int, int]) -> None:
        lease = self._lease(pick)
        spot, beyond, size = progress
        self._checkpoint(lease, Progress(self._spot(self._holder(lease), spot), beyond, size))

    @rule(pick=ANY, action=st.sampled_from(list(ErrorAction)), at=SPOT, last=PROGRESS)
    def error(
        self,
        pick: int,
        action: ErrorAction,
        at: tuple[str, int] | None,
        last: tuple[tuple[str, int] | None, int, int],
    ) -> None:
        lease = self._lease(pick)
        account = self._holder(lease)
        offset, said = self._spot(account, at), Progress(self._spot(account, last[0]), last[1], last[2])
        answer = self.table.error(lease, Failure(action, offset, message="away"), said, self.now)
        if account is None:
            assert answer == (ErrorOutcome.STALE_LEASE, 0.0)
        elif action is ErrorAction.REPORT:
            account.progressed(said)
            assert answer == (ErrorOutcome.REPORTED, 0.0)
        else:
            if offset is None or said.offset is None or said.offset < offset:
                account.progressed(said)
            self._failed(account, action, offset, answer)
        self.obey()

    def _failed(
        self, account: Account, action: ErrorAction, offset: int | None, answer: tuple[ErrorOutcome, float]
    ) -> None:
        assert account.held is not None
        process = self.lines[account.held.stream].process
        state = account.state
        self._fenced(account)
        if action is ErrorAction.CRITICAL and state is State.RUNNING:
            account.critical(offset)
            assert answer == (ErrorOutcome.HALTED, 0.0)
            return
        if state is State.STARTING:
            self.failed_at[process] = self.now
        account.failed(self.now)
        assert answer[0] is ErrorOutcome.RESTARTING
        if account.state is State.BACKING_OFF:
            assert account.full_delay() / 2 <= answer[1] <= account.full_delay()
        else:
            assert answer[1] == 0.0

    @rule(pick=ANY, reason=REASONS, last=PROGRESS)
    def closed(self, pick: int, reason: ClosedReason, last: tuple[tuple[str, int] | None, int, int]) -> None:
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        said = Progress(self._spot(account, last[0]), last[1], last[2])
        self.leaving = line.process
        if reason is ClosedReason.STOPPED:
            self.ending.add(line.process)
        if account is not None:
            account.progressed(said)
            starting = account.state is State.STARTING
            if reason in (ClosedReason.STOPPED, ClosedReason.REVOKED) or (
                reason is ClosedReason.DECLINED and starting
            ):
                account.orderly()
                if reason is not ClosedReason.STOPPED:
                    self.failed_at[line.process] = self.now
                    self.quarantined[line.process] = self.now + QUARANTINE
            else:
                account.failed(self.now)
        self.table.closed(line.id, reason, said, self.now)
        self._gone(line)
        self.obey()

    @rule(pick=ANY)
    def broken(self, pick: int) -> None:
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        self.leaving = line.process
        if account is not None:
            self.failed_at[line.process] = self.now
            self.quarantined[line.process] = self.now + QUARANTINE
            account.failed(self.now, broke=True)
        self.table.stream_lost(line.id, self.now)
        self._gone(line)
        self.obey()

    @rule(pick=ANY, offset=st.integers(0, 50))
    def a_dead_stream_speaks(self, pick: int, offset: int) -> None:
        dead = [*(line.id for line in self.lines.values() if not line.known), 10_000]
        stream = dead[pick % len(dead)]
        self.table.ready(stream, self._lease(pick))
        self.table.closed(stream, ClosedReason.STOPPED, Progress(offset), self.now)
        self.table.stream_lost(stream, self.now)
        assert self.table.written(stream) is None
        assert self.table.commands == []

    # --- the operator, the clock ----------------------------------------------------------------------------------

    @rule(tp=TP, skip=st.booleans())
    def resumed(self, tp: TopicPartition, skip: bool) -> None:
        tp = next((tp for tp, account in self.mine.items() if account.state is State.HALTED), tp)
        account = self.mine.get(tp)
        possible = account is not None and account.state is State.HALTED and (account.failing is not None or not skip)
        if account is None or not possible:
            with pytest.raises(ResumeRefused) as refused:
                self.table.resume(tp, self.now, skip=skip)
            assert refused.value.known == (account is not None)
            return
        answer = self.table.resume(tp, self.now, skip=skip)
        assert answer == (account.place, account.failing if skip else None)
        if skip and account.failing is not None:
            account.skip.add(account.failing)
        account.failing = None
        account.state, account.attempt, account.failures, account.halts = State.WAITING, 1, 0, False
        self.obey()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 0.5, 2.0, 8.0, 25.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for tp, account in self.mine.items():
            if account.state is State.BACKING_OFF and account.until is not None:
                due = self.table.partitions[tp].due
                assert due is not None
                assert account.until - account.full_delay() / 2 <= due <= account.until
                account.until = due  # jitter makes it shorter
        for account in self.mine.values():
            if account.until is not None and account.until <= self.now:
                self._overdue(account)
        for line in self.lines.values():
            if line.fenced_until is not None and line.fenced_until <= self.now:
                line.fenced_until = self.now
        self.leaving = "time"
        self.table.tick(self.now)
        self.obey()
        waits = self.table.next_due(self.now)
        assert waits is None or waits > self.now

    @rule()
    def stopped_and_started(self) -> None:
        """Everything is taken back, and the group joined anew."""
        self.stopping = True
        self.table.revoke_all(RevokeReason.SHUTDOWN, DRAIN, self.now)
        for account in self.mine.values():
            account.drain(self.now, DRAIN, halts=False)
        self.obey()
        self.available("three")
        self.time_passes(DRAIN)
        self._release(list(self.mine))
        self.table.accept_again()
        self.stopping = False

    # --- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def partitions_are_as_expected(self) -> None:
        assert self.table.partitions.keys() == self.mine.keys()
        for tp, account in self.mine.items():
            partition = self.table.partitions[tp]
            assert partition.state is account.state
            assert (partition.resume_at, partition.attempt) == (account.place, account.attempt)
            assert partition.skip == account.skip
            held = account.held
            assert (partition.lease, partition.stream) == ((held.lease, held.stream) if held else (None, None))
            if partition.state in (State.STARTING, State.RUNNING):
                assert held is not None
            if account.state is not State.RESOLVING:
                account.log.check_done(partition.resume_at)
            if held is not None:
                assert partition.in_flight == held.unwritten <= LIMITS.frames_in_flight
                assert partition.window.records == account.unprocessed
                assert partition.window.outstanding == account.outstanding
                assert partition.window.delivered == (held.delivered[-1] if held.delivered else None)
            timed = held is not None and account.state is not State.RUNNING
            assert (partition.due is not None) == (timed or account.state is State.BACKING_OFF)
            assert partition.due is None or self.now < partition.due
            account.check_room(self.table.may_send(tp))

    @invariant()
    def leases_live_where_they_belong(self) -> None:
        living = {account.held.lease: tp for tp, account in self.mine.items() if account.held is not None}
        for lease in self.leases:
            assert self.table.partition_of_lease(lease) == living.get(lease)
        streams = [account.held.stream for account in self.mine.values() if account.held is not None]
        assert len(streams) == len(set(streams))
        assert self.table.held() == bool(living)

    @invariant()
    def processes_are_as_expected(self) -> None:
        known = [line for line in self.lines.values() if line.known]
        expected = {
            process: (
                sum(1 for line in known if line.process == process and line.tp is not None),
                any(line.process == process and line.tp is None and line.fenced_until is None for line in known),
            )
            for process in {line.process for line in known}
        }
        assert {process: (count, spare) for process, count, spare in self.table.processes} == expected
        since = self.empty_since
        wanted = bool(known) or (since is not None and self.now - since < LIMITS.leave_group_after)
        assert self.table.wants_group(self.now) == wanted

    @invariant()
    def nothing_waits_while_a_stream_could_take_it(self) -> None:
        if any(account.state is State.WAITING for account in self.mine.values()):
            assert not self._eligible()
        self.sound = True

    # --- in the end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """When all faults stop and the lambdas behave, everything is delivered and checkpointed."""
        if not self.sound:
            return
        self.stopped_and_started()
        for line in [line for line in self.lines.values() if line.known]:
            self.leaving = line.process
            self.table.closed(line.id, ClosedReason.STOPPED, None, self.now)
            self._gone(line)
            self.obey()
        for _ in TPS:
            self.assigned(0)
            self.resolved()
            self.available("well")
        for _ in range(200):
            if all(log.committed == log.end or not log.end for log in self.logs.values()):
                break
            for tp in TPS:
                self._behave(tp)
            self.committed()
            self.partitions_are_as_expected()
        for log in self.logs.values():
            assert log.committed in (log.end, None if log.end == log.base else log.end)
            assert log.done.issuperset(log.between(log.base, log.end))

    def _behave(self, tp: TopicPartition) -> None:
        """One round of a lambda that does what it should."""
        account = self.mine[tp]
        self.fetched_and_sent(tp, 9)
        if account.state is State.HALTED:
            self.resumed(tp, skip=account.failing is not None)
            return
        if account.held is None:
            return
        if account.state is State.STARTING:
            self._ready(account)
        self._written(account)
        line = self.lines[account.held.stream]
        said = Progress(account.held.delivered[-1] if account.held.delivered else None)
        if account.state is State.DRAINING:
            account.progressed(said)
            account.orderly()
            self.leaving = line.process
            self.table.closed(line.id, ClosedReason.REVOKED, said, self.now)
            self._gone(line)
            self.obey()
            self.available("well")
        else:
            self._checkpoint(account.held.lease, said)


TestTableModel = TableMachine.TestCase
TestTableModel.settings = settings(
    max_examples=2_000 if STEPS else 200,
    stateful_step_count=STEPS or 50,
    derandomize=not STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
