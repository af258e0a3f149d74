"""Partitions that are told together, and the sentences that several causes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.explain.cases import SLOW_AFTER_MS, Case
from sidecar.explain.words import Clock, many, partitions, quoted, span


class Told(NamedTuple):
    """The sentences of one cause, empty ones among them, and the commands in them."""

    sentences: list[str]
    commands: tuple[str, ...] = ()


class Group:
    """Partitions that are told together."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.first = cases[0]
        self.partition = self.first.partition
        self.clock: Clock = self.first.clock
        self.is_one = len(cases) == 1
        self.cases = cases
        self.name = partitions(sorted(case.place for case in cases))

    def __getitem__(self, words: str) -> str:
        """One of two words: `group["is|are"]`."""
        return words.split("|")[not self.is_one]

    @property
    def since(self) -> str:
        """`` since 14:02:11 (9 minutes)``; of the first, if there are several."""
        since = self.clock.since(self.first.since_ms)
        return since if self.is_one or not since else f", the first of them{since}"

    @property
    def ahead(self) -> str:
        """How far Kafka is ahead of all of them."""
        lags: dict[tuple[str, int], int] = {}
        for case in self.cases:  # lanes of a partition share its log: the lag of the lowest is the partition's
            at = case.place.topic, case.place.partition
            lags[at] = max(lags.get(at, 0), case.lag or 0)
        lag = sum(lags.values())
        return f"Kafka is {many(lag, 'message')} ahead." if lag else ""

    @property
    def which(self) -> str:
        """Says whose details follow, where there are several."""
        return "" if self.is_one else f"The first of them is {self.first.place}."

    def command(self, name: str, options: str = "") -> str:
        return f"kafka-sidecar {name} {self.first.target}{options}"


def process_of(case: Case) -> str:
    """`the process billing-2 (pid 4711)`."""
    process = case.process
    if process is None:
        return f"the process {case.partition.process_id}" if case.partition.process_id else "its process"
    return f"the process {process.instance or process.process_id}{f' (pid {process.pid})' if process.pid else ''}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def no_checkpoint_since(case: Case, who: str = "") -> str:
    """``who``: instead of the process's name."""
    one = case.partition
    who = who or capital(process_of(case))
    since = one.progress_at_ms or one.stalled_since_ms
    lasts = f", for {span(case.clock.passed(since))}" if since else ""
    if not one.HasField("checkpoint"):
        return f"{who} has not checkpointed yet{lasts}."
    return f"{who} has not checkpointed since offset {one.checkpoint:,}{lasts}."


def handled(case: Case) -> str:
    """How far the handlers are: it tells a handler that hangs from a checkpoint that is missing."""
    one = case.partition
    if case.all_handled:
        return f"All that it got is handled, up to offset {one.handled:,}: only the checkpoint is missing."
    if one.HasField("handled") and (not one.HasField("checkpoint") or one.handled > one.checkpoint):
        at = f", at {case.clock.at(one.handled_at_ms)}" if one.handled_at_ms else ""
        return f"The last handler of which it reports that it returned is that of offset {one.handled:,}{at}."
    if one.HasField("handled") or one.HasField("checkpoint"):
        return ""
    return "It reports of no handler that it has returned."


def silent(case: Case) -> str:
    """Said of a process that has sent nothing for long, which a blocked event loop or a stopped process explains."""
    process = case.process
    if process is None or not process.last_seen_ms:
        return ""
    silence = case.clock.passed(process.last_seen_ms)
    return f"The process was last heard of {span(silence)} ago." if silence >= SLOW_AFTER_MS else ""


def says(case: Case) -> str:
    """What its lambda last said of its progress."""
    return f"It last said: {quoted(case.partition.progress)}." if case.partition.progress else ""


def overdue(case: Case) -> str:
    """When the sidecar ends the lambda, if it has a deadline."""
    one = case.partition
    if not one.HasField("overdue_at_ms"):
        return ""
    soon = span(max(0, one.overdue_at_ms - case.clock.now_ms))
    return f"The sidecar ends this lambda in {soon}, unless it checkpoints or reports progress."
