"""What lambda processes do in the model test: some keep to the contract, others talk nonsense."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sidecar.partitions.vocabulary import (
    ClosedReason,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Pausing,
    Progress,
    State,
    StreamId,
)

from .account import Account, Held
from .rules_kafka import ANY
from .simulation import RECORD_BYTES
from .thread_part import Thread
from .world import MAX_STREAMS

PROCESS = st.sampled_from(["one", "two", "three"])
REASONS = st.sampled_from(list(ClosedReason))
# Which offset a lambda speaks of, as seen from what it knows: (from where, how far).
SPOT = st.one_of(
    st.none(), st.tuples(st.sampled_from(["place", "delivered", "delivered", "last"]), st.integers(-2, 3))
)
PROGRESS = st.tuples(SPOT, st.sampled_from([0, 0, 0, 1, 3, 1000]), st.sampled_from([0, 0, 10, 30, 10**9]))

STATE = st.sampled_from([None, None, b"", b"a", b"bcd", b"too large"])

Spot = tuple[str, int] | None


class LambdaRules(Thread):
    """See the module."""

    def in_work(self) -> list[tuple[Account, Held, list[int]]]:
        """Partitions whose lambdas have something to do, with the records that are not checkpointed."""
        found = []
        for account in self.mine.values():
            if account.held is not None and account.state in (State.RUNNING, State.PAUSED):
                left = [offset for offset in account.held.delivered if offset >= account.place]
                if left:
                    found.append((account, account.held, left))
        return found

    @rule(pick=ANY, part=st.floats(0.1, 1), beyond=st.integers(0, 3), stateful=st.booleans())
    def lambda_checkpoints(self, pick: int, part: float, beyond: int, *, stateful: bool) -> None:
        """A checkpoint as a good lambda sends it; its state, if it keeps one, is made from the offset."""
        if found := self.in_work():
            _, held, left = found[pick % len(found)]
            offset = left[round(part * (len(left) - 1))]
            self._checkpoint(
                held.lease,
                Progress(offset, beyond, beyond * RECORD_BYTES, state=b"%d" % offset if stateful else None),
            )

    @precondition(lambda self: self.in_work())
    @rule(pick=ANY, part=st.floats(0, 1), action=st.sampled_from([ErrorAction.RESTART] + [ErrorAction.CRITICAL] * 2))
    def lambda_fails(self, pick: int, part: float, action: ErrorAction) -> None:
        """About one of its records, as a good lambda says it."""
        found = self.in_work()
        account, held, left = found[pick % len(found)]
        # The same record again, by preference, while the dead letter of an earlier decision is still being written.
        again = [one.offset for one in self.writing if one.lane == self.leases[held.lease] and one.offset in left]
        offset = again[0] if again else left[round(part * (len(left) - 1))]
        answer = self.table.streams.error(held.lease, Failure(action, offset, message="bad"), None, self.now)
        self._failed(account, action, offset, answer)
        self.obey()

    @precondition(lambda self: self.in_work())
    @rule(pick=ANY, part=st.floats(0, 1), seconds=st.sampled_from([None, 2.0]))
    def lambda_pauses(self, pick: int, part: float, seconds: float | None) -> None:
        """A dependency is down: from one of its records on it is to come again."""
        found = self.in_work()
        account, held, left = found[pick % len(found)]
        self._pauses(held.stream, account, left[round(part * (len(left) - 1))], seconds)

    @precondition(lambda self: len(self.crowd.known) < MAX_STREAMS)
    @rule(process=PROCESS)
    def available(self, process: str) -> None:
        line = self.crowd.open(process, self.now)
        self.table.streams.available(line.id, process, 1000, self.now)
        self.obey()

    @rule(
        what=st.sampled_from(["ready", "dead", "closed", "closed", "broken"]),
        stream=ANY,
        pick=ANY,
        reason=REASONS,
        last=PROGRESS,
        state=STATE,
    )
    def something_breaks(
        self,
        what: str,
        stream: int,
        pick: int,
        reason: ClosedReason,
        last: tuple[Spot, int, int],
        state: bytes | None,
    ) -> None:
        """What ends a lease, or should not have been said: one rule, or little else would ever happen."""
        match what:
            case "ready":
                self.ready_out_of_place(stream, pick)
            case "dead":
                self.a_dead_stream_speaks(stream, pick)
            case "closed":
                self.closed(stream, reason, last, state)
            case _:
                self.broken(stream)

    def ready_out_of_place(self, stream: int, pick: int) -> None:
        line, lease = self._line(stream), self._lease(pick)
        if line is None:
            return
        account = self._account_of(line)
        self.table.streams.ready(line.id, lease, self.now)
        nonsense = False
        if account is not None and account.held is not None:
            right = account.held.lease == lease
            nonsense = not right or account.state not in (State.STARTING, State.DRAINING)
            if right and account.state is State.STARTING:
                self._is_ready(account)
        self._check_protocol(nonsense)
        self.obey()

    def _check_protocol(self, nonsense: bool) -> None:
        """What comes out of order ends the stream, and nothing else does."""
        ends = [command for command in self.table.commands if isinstance(command, EndStream)]
        assert [end.reason for end in ends] == [EndReason.PROTOCOL] * nonsense

    @rule(pick=ANY)
    def written(self, pick: int) -> None:
        busy = [line for line in self.crowd.lines.values() if line.unwritten]
        if not busy:
            return
        line = busy[pick % len(busy)]
        line.unwritten -= 1
        account = self._account_of(line)
        lane = None if account is None else line.lane
        assert self.table.streams.written(line.id) == lane
        if account is not None and account.held is not None and line.lane is not None:
            account.held.unwritten -= 1
            self._pump(line.lane)

    @rule(pick=ANY, progress=PROGRESS, state=STATE)
    def checkpoint(self, pick: int, progress: tuple[Spot, int, int], state: bytes | None) -> None:
        lease = self._lease(pick)
        spot, beyond, size = progress
        self._checkpoint(lease, Progress(self._spot(self._holder(lease), spot), beyond, size, state=state))

    @rule(pick=ANY, text=st.sampled_from(["", "43 %"]))
    def says(self, pick: int, text: str) -> None:
        """A sign of life, of a stream that has a partition or of one that has none."""
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        if account is not None and account.held is not None:
            account.held.alive_at = self.now
        self.table.streams.says(line.id, text, self.now)
        self.obey()

    # --- pauses ---------------------------------------------------------------------------------------------------

    @rule(pick=ANY, spot=SPOT, seconds=st.sampled_from([None, None, 0.1, 2.0, 8.0]))
    def pauses(self, pick: int, spot: Spot, seconds: float | None) -> None:
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        self._pauses(line.id, account, self._spot(account, spot), seconds)

    def _pauses(self, stream: StreamId, account: Account | None, offset: int | None, seconds: float | None) -> None:
        self.pauses_so_far += 1
        pausing = Pausing(self.pauses_so_far, offset, retry_after=seconds)
        self.table.streams.pause(stream, pausing, self.now)
        self._check_protocol(account is not None and account.state is State.STARTING)
        if account is not None and account.state in (State.RUNNING, State.PAUSED):
            account.pause(pausing.number, offset, None if seconds is None else self.now + seconds)
        self.obey()

    @precondition(lambda self: any(a.state is State.PAUSED for a in self.mine.values()))
    @rule(pick=ANY)
    def goes_on(self, pick: int) -> None:
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        self.table.streams.resume(line.id, self.now)
        if account is not None and account.state is State.PAUSED:
            self._goes_on(account)
        self.obey()

    # --- failures -------------------------------------------------------------------------------------------------

    @rule(pick=ANY, action=st.sampled_from(list(ErrorAction)), at=SPOT, last=PROGRESS, state=STATE)
    def error(
        self, pick: int, action: ErrorAction, at: Spot, last: tuple[Spot, int, int], state: bytes | None
    ) -> None:
        lease = self._lease(pick)
        account = self._holder(lease)
        offset = self._spot(account, at)
        said = Progress(self._spot(account, last[0]), last[1], last[2], state=state)
        answer = self.table.streams.error(lease, Failure(action, offset, message="away"), said, self.now)
        if account is None:
            assert answer == (ErrorOutcome.STALE_LEASE, 0.0)
        elif action is ErrorAction.REPORT:
            account.progressed(said, self.now)
            assert answer == (ErrorOutcome.REPORTED, 0.0)
        else:
            if offset is None or said.offset is None or said.offset < offset:
                account.progressed(said, self.now)
            self._failed(account, action, offset, answer)
        self.obey()

    def _failed(
        self, account: Account, action: ErrorAction, offset: int | None, answer: tuple[ErrorOutcome, float]
    ) -> None:
        starting = account.state is State.STARTING
        if starting:
            self.crowd.failed(self._process_of(account), self.now)
        self._fenced(account)
        if action is ErrorAction.CRITICAL and not starting and not account.leaves:
            outcome = account.critical(offset)
        else:
            outcome = account.failed(self.now, offset=offset)
        self._exits(outcome)
        assert answer[0] is outcome
        if account.state is State.BACKING_OFF:
            assert account.full_delay() / 2 <= answer[1] <= account.full_delay()
        else:
            assert answer[1] == 0.0

    def closed(self, pick: int, reason: ClosedReason, last: tuple[Spot, int, int], state: bytes | None) -> None:
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        said = Progress(self._spot(account, last[0]), last[1], last[2], state=state)
        self.leaving = line.process
        if reason is ClosedReason.STOPPED:
            self.crowd.ends(line.process, self.now)
        if account is not None:
            account.progressed(said, self.now)
            declined = reason is ClosedReason.DECLINED and account.state is State.STARTING
            if declined or (reason is ClosedReason.REVOKED and account.state is not State.DRAINING):
                self.crowd.failed(line.process, self.now, broke=True)
            if declined or reason in (ClosedReason.STOPPED, ClosedReason.REVOKED):
                self._exits(account.closes(self.now))
            else:
                self._exits(account.failed(self.now))
        self.table.streams.closed(line.id, reason, said, self.now)
        self._gone(line)
        self.obey()

    def broken(self, pick: int) -> None:
        line = self._line(pick)
        if line is None:
            return
        account = self._account_of(line)
        self.leaving = line.process
        if account is not None:
            self.crowd.failed(line.process, self.now, broke=True)
            self._exits(account.failed(self.now, broke=True))
        self.table.streams.lost(line.id, self.now)
        self._gone(line)
        self.obey()

    def a_dead_stream_speaks(self, pick: int, offset: int) -> None:
        dead = [*(line.id for line in self.crowd.lines.values() if not line.known), 10_000]
        stream = dead[pick % len(dead)]
        before = [*self.table.commands]  # rewinds that wait for the end of a callback
        self.table.streams.ready(stream, self._lease(pick), self.now)
        self.table.streams.pause(stream, Pausing(1, offset), self.now)
        self.table.streams.resume(stream, self.now)
        self.table.streams.says(stream, "still here", self.now)
        self.table.streams.closed(stream, ClosedReason.STOPPED, Progress(offset), self.now)
        self.table.streams.lost(stream, self.now)
        assert self.table.streams.written(stream) is None
        assert self.table.commands == before
