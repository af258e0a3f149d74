"""What is told about the processes that the sidecar itself runs, and that end again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdk_python.protocol import admin_pb2 as pb
from sidecar.causes import Cause
from sidecar.explain.finding import Finding, Urgency
from sidecar.explain.words import Clock, quoted, span

_ENDS_FOR_GOOD_FROM = 3
"""Ends in a row from which on it is not expected to help to start the process again."""


def crashes(of: pb.Lambda, clock: Clock) -> Iterator[Finding]:
    """One finding for all processes of a lambda that end soon after their start."""
    failing = sorted((one for one in of.supervised if one.failures), key=lambda one: -one.failures)
    if not failing:
        return
    worst = failing[0]
    if worst.failures == 1:
        urgency = Urgency.PASSES
    else:
        urgency = Urgency.ACT if worst.failures >= _ENDS_FOR_GOOD_FROM else Urgency.LOOK
    sentences = [_head(of, failing), *_last(worst, clock), _next(worst, clock)]
    sentences.append("All that it wrote is in the sidecar's log.")
    yield Finding(urgency, Cause.PROCESS_ENDS, (of.name,), (), tuple(filter(None, sentences)))


def _head(of: pb.Lambda, failing: Sequence[pb.Supervised]) -> str:
    worst = failing[0]
    which = f"process {worst.instance} ({worst.program})"
    often = f" soon after its start, {worst.failures:,} times in a row" if worst.failures > 1 else ""
    if len(failing) == 1:
        return f"The sidecar runs {which} for {of.name}, which ended{often}."
    ends = f"{len(failing)} of the {len(of.supervised)} processes that the sidecar runs for {of.name} ended"
    return f"{ends}. {which.capitalize()} ended{often}."


def _last(worst: pb.Supervised, clock: Clock) -> Iterator[str]:
    if not worst.last_exits:
        return
    last = worst.last_exits[-1]
    when = f"{span(clock.passed(last.at_ms))} ago, after {span(last.ran_ms)}"
    yield f"The last time was {when}: it {quoted(last.how)}."
    if last.last_line:
        yield f"Its last line on stderr: {quoted(last.last_line)}."


def _next(worst: pb.Supervised, clock: Clock) -> str:
    if worst.HasField("next_start_ms"):
        return f"It is started again in {span(worst.next_start_ms - clock.now_ms)}."
    return f"It runs again{clock.since(worst.since_ms)}."
