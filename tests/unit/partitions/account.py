"""What is expected of one lane of a partition in the model test.

Written from the design's words, not from the table's code, and kept in the plainest form there is: lists of offsets,
sets of what is done.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Literal

from sidecar.partitions.partition import WELL_AFTER_S
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ErrorOutcome,
    Lease,
    Limits,
    Policy,
    Progress,
    State,
    StreamId,
)

from .simulation import RECORD_BYTES, Log, Reader

After = Literal["release", "halt", "pause", "wait", "fail"]
"""What is to become of a partition when its drain is over."""


class Letter:
    """One decision that a record becomes a dead letter; the same offset may be decided upon again."""


@dataclass
class Held:
    """A lease as its lambda sees it."""

    lease: Lease
    stream: StreamId
    start: int
    delivered: list[int] = field(default_factory=list)
    """What counts as delivered: a pause with an offset makes void what came from there on."""
    reach: int | None = None
    """The last offset that counts as delivered: of a record, or of the checkpoint when all beyond it is void."""
    furthest: int | None = None
    """The last record that was ever sent, void or not."""
    checkpoint: int | None = None
    beyond: int = 0
    beyond_bytes: int = 0
    unwritten: int = 0
    pausing: int | None = None
    """The number of its pause."""
    ready_at: float = 0.0
    alive_at: float = 0.0
    """The last sign of progress, or when records began to be outstanding."""


@dataclass
class Account:
    """What is expected of one lane while its partition is ours."""

    limits: Limits
    log: Log
    reader: Reader
    state: State = State.RESOLVING
    place: int = -1
    checkpoint: int | None = None
    """The last one that moved the place."""
    held: Held | None = None
    failures: int = 0
    attempt: int = 1
    until: float | None = None
    """The end of a back-off at the latest, of a pause, or the deadline of a start or a drain."""
    after: After = "release"
    failing: int | None = None
    skip: set[int] = field(default_factory=set)
    dead: dict[int, Letter] = field(default_factory=dict)
    moving: bool = False
    """It changes its process for balance: from its Revoke to the Ready of its next lease, or its failure."""
    handover_target: str = ""
    """The process that it moves to."""
    kept: bytes = b""
    """The state that belongs to the place."""
    durable: int | None = None
    """The last checkpoint of which its lambda was told, or could have been, that Kafka has it."""
    moves: int = 0
    """How often the place was set anew."""
    behind: bool = False
    """A rewind waits for the end of a callback."""
    mark: int | None = None
    """The lowest place of the partition's lanes when it was last computed; None: it has one lane."""

    # --- the window ---------------------------------------------------------------------------------------------

    @property
    def unprocessed(self) -> int:
        """Records that were sent and lie at or above the place."""
        assert self.held is not None
        return len(self.held.delivered) - bisect_left(self.held.delivered, self.place)

    @property
    def outstanding(self) -> int:
        return 0 if self.held is None else self.unprocessed - self.held.beyond

    def check_room(self, room: int) -> None:
        """The window: records, bytes and span; always one when nothing is outstanding."""
        held, limits = self.held, self.limits
        runs = self.state is State.RUNNING and not self.behind
        if not runs or held is None or held.unwritten >= limits.frames_in_flight:
            assert room == 0
        elif held.reach is not None and held.reach - self.span_start >= limits.window_span:
            assert room == (self.mark is None and self.outstanding == 0)
        elif self.outstanding == 0:
            assert room == max(1, limits.window_messages)
        elif self.unprocessed * RECORD_BYTES - held.beyond_bytes >= limits.window_bytes:
            assert room == 0
        else:
            assert room == max(0, limits.window_messages - self.outstanding)

    @property
    def low(self) -> int:
        """Everything below is done under this lease: the last checkpoint of the lease, or its start."""
        assert self.held is not None
        return self.held.start if self.held.checkpoint is None else self.held.checkpoint + 1

    @property
    def span_start(self) -> int:
        """Where the span is measured from."""
        return self.low if self.mark is None else self.mark

    # --- progress -----------------------------------------------------------------------------------------------

    def expected(self, progress: Progress) -> CheckpointOutcome:
        """What a checkpoint under the living lease must be answered with."""
        held = self.held
        assert held is not None
        if self.is_too_large(progress):
            return CheckpointOutcome.STATE_TOO_LARGE
        accepted = CheckpointOutcome.ACCEPTED_DRAINING if self.state is State.DRAINING else CheckpointOutcome.ACCEPTED
        offset = progress.offset
        if offset is None or offset == self.checkpoint or offset + 1 == self.place:
            return accepted
        if offset < self.place:
            return CheckpointOutcome.IGNORED_LOWER
        if held.reach is None or offset > held.reach:
            return CheckpointOutcome.BEYOND_DELIVERED
        return accepted

    def progressed(self, progress: Progress, now: float) -> None:
        """It was accepted, or not: ``expected`` told."""
        held, offset = self.held, progress.offset
        assert held is not None
        if self.is_too_large(progress):
            return
        before = self.outstanding, self.checkpoint
        self._progressed(progress, held, offset)
        if self.outstanding < before[0] or self.checkpoint != before[1]:
            held.alive_at = now

    def _progressed(self, progress: Progress, held: Held, offset: int | None) -> None:
        if offset is not None and offset != self.checkpoint and offset + 1 != self.place:
            if offset < self.place or held.reach is None or offset > held.reach:
                return
            self.log.done.update(held.delivered[: bisect_right(held.delivered, offset)])
            self.place, self.checkpoint, held.checkpoint = offset + 1, offset, offset
            self.kept = self.kept if progress.state is None else progress.state
            self.left_out(self.place)
            self.attempt, self.failures = 1, 0
        held.beyond = min(progress.completed_beyond, self.unprocessed)
        held.beyond_bytes = min(progress.completed_beyond_bytes, self.unprocessed * RECORD_BYTES)

    def is_too_large(self, progress: Progress) -> bool:
        """Its state is, so nothing of it counts."""
        return progress.state is not None and len(progress.state) > self.limits.max_state_bytes

    def left_out(self, place: int) -> None:
        """What was left out below the place is behind us."""
        self.log.done.update(offset for offset in self.skip if offset < place)
        self.skip = {offset for offset in self.skip if offset >= place}

    def settled(self, position: int) -> None:
        """Over gaps. A dead letter that is passed was for no record of ours: the lambda named an offset at random."""
        self.place = max(self.place, position)
        self.left_out(self.place)
        self.dead = {offset: letter for offset, letter in self.dead.items() if offset >= self.place}

    def moved(self, place: int) -> None:
        """The place is another, and what was known of the old one means nothing."""
        self.place, self.checkpoint, self.failing = place, None, None
        self.kept, self.durable = b"", None
        self.moves += 1
        self.skip.clear()
        self.dead.clear()
        self.attempt, self.failures = 1, 0

    def is_overdue(self, now: float) -> bool:
        """Its lambda has had records for the whole deadline, and has neither finished any nor said that it works."""
        deadline, held = self.limits.deadline, self.held
        if deadline is None or held is None or self.state is not State.RUNNING or not self.outstanding:
            return False
        return held.alive_at + deadline <= now  # the same sum as the core makes: a difference may round the other way

    def sent(self, records: list[int], now: float) -> None:
        """Each lease sees a gapless run of visible records, but for those left out, and none that is to be kept."""
        held = self.held
        assert held is not None
        assert held.pausing is None
        # A place beyond what was delivered passes only what is settled; that is judged elsewhere.
        first = max(self.place, self.following)
        run = [offset for offset in self.log.between(first, records[-1] + 1) if offset not in self.skip]
        assert records == run, f"sent {records} where {run} comes next"
        assert not self.log.poison.intersection(records)
        assert not self.dead or records[-1] < min(self.dead)
        held.alive_at = held.alive_at if self.outstanding else now
        held.delivered += records
        held.reach = records[-1]
        held.furthest = max(held.furthest or 0, records[-1])
        held.unwritten += 1

    @property
    def following(self) -> int:
        """What comes next under this lease has this offset, or a higher one."""
        assert self.held is not None
        return self.held.delivered[-1] + 1 if self.held.delivered else self.held.start

    def check_next(self, offset: int) -> None:
        """The lambda is told that it goes on here: nothing that it should get lies before, nothing it has after."""
        assert offset >= max(self.place, self.following)
        between = self.log.between(max(self.place, self.following), offset)
        assert self.skip.issuperset(between)

    # --- pauses -------------------------------------------------------------------------------------------------

    def pause(self, number: int, offset: int | None, until: float | None) -> None:
        """By the lambda; again from ``offset`` on afterwards, as near to it as place and delivery allow."""
        held = self.held
        assert held is not None
        self.state, held.pausing, self.until = State.PAUSED, number, until
        if offset is None:
            return
        offset = max(offset, self.place)
        if held.reach is not None and offset <= held.reach:
            before = self.unprocessed
            held.delivered = [one for one in held.delivered if one < offset]
            beyond = [one for one in held.delivered if one >= self.low]
            held.reach = beyond[-1] if beyond else held.checkpoint
            # Which of them were completed is not known: what is void may have been.
            void = before - self.unprocessed
            held.beyond = max(0, held.beyond - void)
            held.beyond_bytes = max(0, held.beyond_bytes - void * RECORD_BYTES)

    def go_on(self, now: float) -> int:
        """The lambda's pause is over. Returns its number."""
        assert self.held is not None
        self.held.alive_at = now
        assert self.held.pausing is not None
        number, self.held.pausing = self.held.pausing, None
        self.state, self.until = State.RUNNING, None
        return number

    @property
    def is_paused_by_operator(self) -> bool:
        """An operator paused it, or is about to."""
        if self.state is State.DRAINING:
            return self.after == "pause"
        return self.state is State.PAUSED and self.held is None

    @property
    def leaves(self) -> bool:
        """It is about to be somebody else's."""
        return self.state is State.DRAINING and self.after == "release"

    # --- the end of a lease -------------------------------------------------------------------------------------

    def end(self, state: State) -> None:
        """Nobody holds it."""
        self.held = self.until = None
        self.state = state
        if state in (State.HALTED, State.PAUSED, State.DRAINING):
            self.moving = False

    @property
    def fails(self) -> bool:
        """However its drain ends, that is a failure."""
        return self.state is State.DRAINING and self.after == "fail"

    def closes(self, now: float) -> ErrorOutcome:
        """It gives the partition back as it should."""
        if self.fails:
            return self.failed(now)
        self.orderly()
        return ErrorOutcome.RESTARTING

    def orderly(self) -> None:
        if self.state is not State.DRAINING:
            self.moving = False
        self.end(self._after_drain() or State.WAITING)

    def failed(self, now: float, *, broke: bool = False, offset: int | None = None) -> ErrorOutcome:
        """The lambda failed, about ``offset`` if it said so."""
        after = self._after_drain()
        if after is not None:
            self.end(after)
            return ErrorOutcome.RESTARTING
        self.moving = False
        fails = self.fails
        held, ready = self.held, fails or self.state in (State.RUNNING, State.PAUSED)
        if held is not None and ready and now - held.ready_at >= WELL_AFTER_S and self.unprocessed == 0:
            self.attempt, self.failures = 1, 0
        if self.limits.max_restarts is not None and self.failures >= self.limits.max_restarts:
            return self.critical(offset)
        self.failures += 1
        self.attempt += 1
        if broke and self.failures == 1 and not fails:
            self.end(State.WAITING)
        else:
            self.end(State.BACKING_OFF)
            self.until = now + self.full_delay()
        return ErrorOutcome.RESTARTING

    def full_delay(self) -> float:
        return min(self.limits.backoff_most, self.limits.backoff_first * 2.0 ** (self.failures - 1))

    def critical(self, offset: int | None) -> ErrorOutcome:
        """The policy decides."""
        held, policy = self.held, self.limits.policy
        assert held is not None
        if policy is Policy.DEAD_LETTER and offset is not None and held.furthest is not None:  # noqa: SIM102
            if self.place <= offset <= held.furthest:
                self.dead[offset] = Letter()
                self.attempt, self.failures = 1, 0
                if self.state is State.DRAINING and self.after in ("halt", "fail"):
                    self.after, self.failing = "wait", None  # what halts it comes after this record, and is met again
                self.orderly()
                return ErrorOutcome.DEAD_LETTERED
        self.end(State.HALTED)
        self.failing = offset
        return ErrorOutcome.EXITING if policy is Policy.EXIT else ErrorOutcome.HALTED

    def drain(self, now: float, seconds: float, after: After) -> None:
        deadline = now + seconds
        if self.state is State.DRAINING and self.until is not None:
            deadline = min(deadline, self.until)
        self.state, self.after = State.DRAINING, after
        if self.held is None:
            self.until = None
        else:
            self.until, self.held.pausing = deadline, None

    def halt_at(self, now: float, seconds: float, offset: int) -> bool:
        """What comes next can neither be delivered nor kept. Returns whether its lambda is told to give it back."""
        if self.state is State.DRAINING:
            if self.after != "release":
                self.after, self.failing = "halt", offset
            return False
        self.failing = offset
        if self.held is None:
            if self.state is not State.HALTED:
                self.end(State.HALTED)
            return False
        self.drain(now, seconds, "halt")
        return True

    def _after_drain(self) -> State | None:
        if self.state is not State.DRAINING or self.fails:
            return None
        ends = {"halt": State.HALTED, "pause": State.PAUSED, "wait": State.WAITING, "release": State.DRAINING}
        return ends[self.after]
