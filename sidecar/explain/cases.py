"""Which cause holds each partition, as far as the sidecar knows. The first that fits is the one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sdk_python.protocol import admin_pb2 as pb
from sidecar.causes import Cause
from sidecar.explain.finding import Place, Urgency
from sidecar.explain.words import Clock

PASSES_WITHIN_MS = 10_000
"""What has lasted no longer is no reason to call anybody: a process is deployed anew, a partition is handed over."""

SLOW_AFTER_MS = 30_000
"""What has lasted longer is not as it should be, although it may pass: as with the sidecar's own reports."""

FAILS_AGAIN_FROM = 3
"""The attempt from which on somebody should look at a partition that is tried again and again."""

FAILS_FOR_GOOD_FROM = 6
"""The attempt from which on it is not expected to help to try again."""

TOLD_FOR_MS = 3_600_000
"""How long a loss of messages is told although the partition moves."""

_HALTS = {
    pb.FAILURE_KIND_DEAD_LETTER: Cause.DEAD_LETTER_FAILED,
    pb.FAILURE_KIND_OFFSET_LOST: Cause.OFFSET_LOST,
    pb.FAILURE_KIND_UNDELIVERABLE: Cause.UNDELIVERABLE,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A partition, with what is around it."""

    of: pb.Lambda
    partition: pb.Partition
    process: pb.Process | None
    """The process that has it."""
    clock: Clock

    @property
    def place(self) -> Place:
        """Its name."""
        one = self.partition
        return Place(one.topic, one.partition, one.lane if one.lanes > 1 else -1)

    @property
    def waits_beside(self) -> bool:
        """All that its lambda got is done: it waits for another lane of its partition."""
        return self.partition.lanes > 1 and not self.partition.outstanding and bool(self.partition.reason)

    @property
    def target(self) -> str:
        """As commands name it."""
        return f"{self.of.name}/{self.place}"

    @property
    def lag(self) -> int | None:
        """How many offsets Kafka is ahead of what is processed; None: not known."""
        one = self.partition
        done = [one.committed] if one.HasField("committed") else []
        done += [one.checkpoint + 1] if one.HasField("checkpoint") else []
        return max(0, one.end - max(done)) if done and one.HasField("end") else None

    @property
    def since_ms(self) -> int:
        """When it began to be as it is; 0: not known."""
        one = self.partition
        return one.blocked_since_ms or one.stalled_since_ms or one.state_since_ms

    @property
    def all_handled(self) -> bool:
        """All handlers of what was delivered have returned."""
        one = self.partition
        return one.HasField("handled") and one.HasField("delivered") and one.handled >= one.delivered

    def lasts(self, milliseconds: int) -> bool:
        """Whether its state has lasted that long. False where the time is not known."""
        return self.partition.state_since_ms > 0 and self.clock.passed(self.partition.state_since_ms) >= milliseconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """The cause that holds a partition."""

    cause: Cause
    urgency: Urgency
    like: str = ""
    """Partitions of one lambda with the same cause, urgency and ``like`` are told together."""


def judge(case: Case) -> Verdict:
    """The cause that holds a partition, or that it is well."""
    state = case.partition.state
    judged = _JUDGES.get(state)
    return Verdict(Cause.OTHER, Urgency.PASSES, str(state)) if judged is None else judged(case)


def _alike(text: str) -> str:
    """Texts that differ in numbers only, such as offsets, have one cause."""
    return re.sub(r"\d+", "0", text)


def _if_lasting(case: Case, milliseconds: int, urgency: Urgency) -> Urgency:
    return urgency if case.lasts(milliseconds) else Urgency.PASSES


def _halted(case: Case) -> Verdict:
    one = case.partition
    kind = one.last_error.kind if one.HasField("last_error") else pb.FAILURE_KIND_UNSPECIFIED
    return Verdict(_HALTS.get(kind, Cause.HALTED), Urgency.ACT, _alike(one.reason))


def _paused(case: Case) -> Verdict:
    one = case.partition
    if not one.process_id:
        return Verdict(Cause.PAUSED_BY_OPERATOR, Urgency.LOOK, one.reason)
    urgency = Urgency.PASSES if one.HasField("resumes_at_ms") else Urgency.LOOK
    return Verdict(Cause.PAUSED_BY_LAMBDA, urgency, _alike(one.reason))


def _failing(case: Case) -> Verdict:
    attempt = case.partition.attempt
    if attempt >= FAILS_FOR_GOOD_FROM:
        urgency = Urgency.ACT
    else:
        urgency = Urgency.LOOK if attempt >= FAILS_AGAIN_FROM else Urgency.PASSES
    missed = case.partition.last_error.kind == pb.FAILURE_KIND_DEADLINE
    return Verdict(Cause.DEADLINE if missed else Cause.BACKING_OFF, urgency, _alike(case.partition.reason))


def _again(case: Case) -> Verdict | None:
    """Between two failures, a partition that fails again and again runs for a moment: that is not well.

    Where nothing is left to process, the failures were of its process, which had the records of others too.
    """
    one = case.partition
    caught_up = one.waits_for == pb.WAITS_FOR_RECORDS and case.lag == 0
    return _failing(case) if one.attempt >= FAILS_AGAIN_FROM and not caught_up else None


def _resolving(case: Case) -> Verdict:
    if case.partition.waits_for == pb.WAITS_FOR_LEADER:
        return Verdict(Cause.NO_LEADER, Urgency.ACT)
    return Verdict(Cause.RESOLVING, _if_lasting(case, SLOW_AFTER_MS, Urgency.LOOK))


def _waiting(case: Case) -> Verdict:
    if not case.of.processes:
        return Verdict(Cause.NO_PROCESS, _if_lasting(case, PASSES_WITHIN_MS, Urgency.ACT))
    return _again(case) or Verdict(Cause.NO_SPARE_STREAM, _if_lasting(case, PASSES_WITHIN_MS, Urgency.LOOK))


def _starting(case: Case) -> Verdict:
    return _again(case) or Verdict(Cause.STARTING, _if_lasting(case, SLOW_AFTER_MS, Urgency.LOOK))


def _running(case: Case) -> Verdict:
    one = case.partition
    if one.waits_for == pb.WAITS_FOR_LEADER:
        return Verdict(Cause.NO_LEADER, Urgency.ACT)
    if one.waits_for == pb.WAITS_FOR_DEAD_LETTER:
        return Verdict(Cause.DEAD_LETTER_WAITS, Urgency.PASSES)
    return _unmoved(case) or _again(case) or _moving(case)


def _unmoved(case: Case) -> Verdict | None:
    """What keeps a running partition from moving; None: nothing, as far as the sidecar knows."""
    one = case.partition
    stalled = one.HasField("stalled_since_ms")
    if one.HasField("blocked_since_ms"):
        lasts = case.clock.passed(one.blocked_since_ms) >= SLOW_AFTER_MS
        urgency = Urgency.ACT if stalled else Urgency.LOOK if lasts else Urgency.PASSES
        return Verdict(Cause.WINDOW_FULL, urgency, one.reason if case.waits_beside else one.process_id)
    if stalled and case.all_handled:
        return Verdict(Cause.NO_CHECKPOINT, Urgency.ACT, one.process_id)
    if stalled or _hangs(case):
        return Verdict(Cause.HANDLER_BLOCKS, Urgency.ACT if stalled else Urgency.LOOK, one.process_id)
    return None


def _moving(case: Case) -> Verdict:
    one = case.partition
    lost = one.last_error if one.last_error.kind == pb.FAILURE_KIND_OFFSET_LOST else None
    if lost is not None and case.clock.passed(lost.at_ms) < TOLD_FOR_MS:
        return Verdict(Cause.OFFSET_LOST, Urgency.LOOK)
    if one.skipping_count:
        return Verdict(Cause.CORRUPT_DOCUMENTS, Urgency.LOOK)
    works = one.outstanding or one.waiting or case.lag
    return Verdict(Cause.BEHIND if works else Cause.NOTHING_TO_DO, Urgency.WELL)


def _hangs(case: Case) -> bool:
    """Records are under way, and no handler has returned for long.

    A lambda reports at least once a second how far its handlers are. So, if it keeps earlier records without a
    checkpoint, one that came in this second looks for a moment as if its handler hung.
    """
    one = case.partition
    if not one.outstanding or case.all_handled or not one.HasField("progress_at_ms"):
        return False
    return case.clock.passed(max(one.handled_at_ms, one.progress_at_ms)) >= SLOW_AFTER_MS


_JUDGES: dict[int, Callable[[Case], Verdict]] = {
    pb.PARTITION_STATE_HALTED: _halted,
    pb.PARTITION_STATE_PAUSED: _paused,
    pb.PARTITION_STATE_BACKING_OFF: _failing,
    pb.PARTITION_STATE_DRAINING: lambda _: Verdict(Cause.DRAINING, Urgency.PASSES),
    pb.PARTITION_STATE_RESOLVING: _resolving,
    pb.PARTITION_STATE_WAITING: _waiting,
    pb.PARTITION_STATE_STARTING: _starting,
    pb.PARTITION_STATE_RUNNING: _running,
}
