"""The table against a model, in any order of events.

Hypothesis plays Kafka (assign, revoke, lose, lost offsets, records with gaps), lambda processes that keep to the
contract or talk nonsense, the operator, the writer of dead letters and the clock; the test itself plays the consumer
thread: it fetches, holds what is fetched, obeys every Rewind, sends what ``may_send`` allows, gives dead letters to
their writer, settles and commits. After each step the table is compared with the account kept in ``account`` and with
the invariants of the core's docstrings. What Kafka does is in ``rules_kafka``, what processes do in ``rules_lambda``,
the rest in ``rules_operator``.

Runs 100 examples of 50 steps, always the same. A longer, random run, which makes at least 1,000,000 steps in examples
of 100 and says how many:
``KAFKA_SIDECAR_MODEL_STEPS=100 python -m pytest -s tests/unit/partitions/test_table_model.py --timeout=0``
"""

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sidecar.partitions.vocabulary import ClosedReason, Lane, Policy, Progress, State
from tests.unit.long_run import settings_of, tell

from .rules_kafka import ANY, KafkaRules
from .rules_lambda import PROCESS, LambdaRules
from .rules_operator import OperatorRules
from .world import MAX_STREAMS

ALL_STEPS = 1_250_000
"""Of the long run; a fifth of it goes with examples that hypothesis gives up early."""

GAPS = st.lists(st.sampled_from([0, 0, 1, 4]), min_size=5, max_size=20)
POLICY = st.sampled_from([Policy.HALT, Policy.DEAD_LETTER, Policy.DEAD_LETTER, Policy.EXIT])


class TableMachine(KafkaRules, LambdaRules, OperatorRules, RuleBasedStateMachine):
    """See the module."""

    steps = 0
    """Of all examples."""

    def __init__(self) -> None:
        KafkaRules.__init__(self)
        RuleBasedStateMachine.__init__(self)

    # --- most of the time things go well ----------------------------------------------------------------------------

    @initialize(
        gaps=st.lists(GAPS, min_size=3, max_size=3),
        processes=st.lists(PROCESS, max_size=5),
        going=st.sampled_from([3, 3, 2, 0]),
        policy=POLICY,
        max_restarts=st.sampled_from([None, None, None, 0, 2]),
        deadline=st.sampled_from([None, 20.0, 3.0]),
        lanes=st.sampled_from([1, 1, 2, 3]),
    )
    def begun(
        self,
        gaps: list[list[int]],
        processes: list[str],
        going: int,
        policy: Policy,
        max_restarts: int | None,
        deadline: float | None,
        lanes: int,
    ) -> None:
        self.set_up(policy, max_restarts, deadline, lanes)
        for tp, some in zip(self.tps, gaps[: len(self.tps)], strict=True):
            self.records_are_written(tp, some, "")
            self.assigned(0)
            self.resolved()
        self._commit(self._placed())
        for process in processes:
            self.available(process)
        for _ in range(going):
            self.lambdas_work(3, "two")

    @rule(most=st.integers(1, 9), process=PROCESS)
    def lambdas_work(self, most: int, process: str) -> None:
        """The next good step of each partition: assigned, offered, ready, or fed."""
        for lane in self.lanes:
            account = self.mine.get(lane)
            if account is None:
                self.assigned(0)
                self.resolved()
            elif account.state is State.RESOLVING and account.place >= 0:
                self._commit([lane.partition])
            elif account.state is State.WAITING and len(self.crowd.known) < MAX_STREAMS:
                self.available(process)
            elif account.state is State.STARTING:
                self._ready(account)
            elif account.state is State.RUNNING:
                self.fetched_and_sent(lane, most)
                if account.held is not None:
                    self._written(account)
            elif account.state in (State.HALTED, State.PAUSED) and most > 5:
                self.resumed(lane.partition, lane.number, skip=account.failing is not None)

    @rule(most=st.integers(1, 9), process=PROCESS, pick=ANY, part=st.floats(0.5, 1))
    def lambdas_work_and_save(self, most: int, process: str, pick: int, part: float) -> None:
        """The same, and what came is done."""
        self.lambdas_work(most, process)
        self.lambda_checkpoints(pick, part, 0, stateful=True)

    @rule(process=PROCESS)
    def a_quiet_while(self, process: str) -> None:
        """All goes well for long enough that one who came later is given a share."""
        if len(self.crowd.known) < MAX_STREAMS:
            self.available(process)
        for _ in range(2):
            self.lambdas_work(3, process)
            self.time_goes(self.limits.minimum_stay)

    # --- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def partitions_are_as_expected(self) -> None:
        TableMachine.steps += 1
        assert self.table.lanes.keys() == self.mine.keys()
        assert [*self.table.partitions] == self.our_tps()
        for lane, account in self.mine.items():
            partition = self.table.lanes[lane]
            assert partition.state is account.state
            assert (partition.offsets.resume_at, partition.trouble.attempt) == (account.place, account.attempt)
            assert account.state is State.RESOLVING or partition.offsets.state == account.kept
            assert (partition.skip, {*partition.dead}) == (account.skip, {*account.dead})
            assert partition.trouble.failing_offset == account.failing
            assert partition.is_paused_by_operator == account.is_paused_by_operator
            held = account.held
            assert (partition.lease, partition.holding and partition.holding.stream) == (
                (held.lease, held.stream) if held else (None, None)
            )
            if partition.state in (State.STARTING, State.RUNNING):
                assert held is not None
            if account.state is not State.RESOLVING:
                account.log.check_done(partition.offsets.resume_at)
            if held is not None:
                assert partition.held.in_flight == held.unwritten <= self.limits.frames_in_flight
                assert partition.window.records == account.unprocessed
                assert partition.window.outstanding == account.outstanding
                assert partition.next_offset >= account.following
            account.check_room(self.table.records.may_send(lane))

    @invariant()
    def every_state_that_ends_by_itself_has_its_time(self) -> None:
        due = self.table.next_due(self.now)
        for lane, account in self.mine.items():
            partition = self.table.lanes[lane]
            if account.state is State.BACKING_OFF:
                assert partition.due is not None
            else:
                assert partition.due == account.until
            if partition.due is not None:
                assert self.now < partition.due
                assert due is not None
                assert due <= partition.due
        for line in self.crowd.known:
            if line.fenced_until is not None:
                assert due is not None
                assert due <= line.fenced_until

    @invariant()
    def leases_live_where_they_belong(self) -> None:
        living = {account.held.lease: lane for lane, account in self.mine.items() if account.held is not None}
        for lease in self.leases:
            assert self.table.streams.lane_of(lease) == living.get(lease)
        streams = [account.held.stream for account in self.mine.values() if account.held is not None]
        assert len(streams) == len(set(streams))
        assert self.table.held() == bool(living)

    @invariant()
    def processes_are_as_expected(self) -> None:
        known = self.crowd.known
        expected = {
            process: (
                self.crowd.held(process),
                any(line.process == process and line.spare for line in known),
            )
            for process in {line.process for line in known}
        }
        assert {process: (count, spare) for process, count, spare in self.table.processes} == expected
        since = self.empty_since
        wanted = bool(known) or (since is not None and self.now - since < self.limits.leave_group_after)
        assert self.table.wants_group(self.now) == wanted

    @invariant()
    def nothing_waits_while_a_stream_could_take_it(self) -> None:
        if any(account.state is State.WAITING for account in self.mine.values()):
            assert not [*self.crowd.eligible(self.now)]
        self.sound = True

    # --- in the end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """When all faults stop and the lambdas behave, everything is delivered and checkpointed."""
        if not self.sound:
            return
        self.leave_callback()
        self.stopped_and_started()
        for line in self.crowd.known:
            self.leaving = line.process
            self.table.streams.closed(line.id, ClosedReason.STOPPED, None, self.now)
            self._gone(line)
            self.obey()
        for _ in self.tps:
            self.assigned(0)
            self.resolved()
        for _ in self.lanes:
            self.available("well")
        for _ in range(200):
            if all(log.committed == log.end or not log.end for log in self.logs.values()):
                break
            for lane in self.lanes:
                self._behave(lane)
            self._answer_commits()
            self.committed(late=False)
            self.partitions_are_as_expected()
        for log in self.logs.values():
            assert log.committed in (log.end, None if log.end == log.base else log.end)
            assert log.done.issuperset(log.between(log.base, log.end))

    def _behave(self, lane: Lane) -> None:
        """One round of a lambda that does what it should, and of a writer that answers."""
        account = self.mine[lane]
        self.fetched_and_sent(lane, 9)
        while self.writing:
            self.dead_letter_answered(0, "")
        if account.state is State.HALTED:
            self.resumed(lane.partition, lane.number, skip=account.failing is not None)
            return
        if account.held is None:
            return
        if account.state is State.STARTING:
            self._ready(account)
        self._written(account)
        line = self.crowd.lines[account.held.stream]
        said = Progress(account.held.delivered[-1] if account.held.delivered else None)
        if account.state is State.DRAINING:
            account.progressed(said, self.now)
            account.closes(self.now)
            self.leaving = line.process
            self.table.streams.closed(line.id, ClosedReason.REVOKED, said, self.now)
            self._gone(line)
            self.obey()
            self.available("well")
        else:
            self._checkpoint(account.held.lease, said)


TestTableModel = TableMachine.TestCase
TestTableModel.settings = settings_of(100, ALL_STEPS)


@pytest.fixture(autouse=True, scope="module")
def _told() -> Iterator[None]:
    yield
    tell(TableMachine.steps)
