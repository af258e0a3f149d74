"""Why nothing moves, in plain sentences, from the sidecar's snapshot alone. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import tzinfo

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sdk_python.protocol import admin_pb2 as pb
from sidecar.causes import Cause
from sidecar.explain.cases import Case, Verdict, judge
from sidecar.explain.finding import Finding, Place, Urgency, most_urgent_first
from sidecar.explain.lambda_causes import CONNECTION, Trouble, membership, tell_troubles
from sidecar.explain.partition_causes import tell
from sidecar.explain.supervised import crashes
from sidecar.explain.words import Clock
from sidecar.redact import masked
from sidecar.visible import visible

__all__ = ["Cause", "Finding", "Place", "Urgency", "explain", "needs_a_person", "shown"]

_FOLLOWS_FROM_NO_KAFKA = frozenset({Cause.RESOLVING, Cause.BEHIND, Cause.NOTHING_TO_DO, Cause.NO_LEADER})
"""What is not said of a partition while Kafka cannot be reached: it follows from that, or is not known."""


def explain(status: pb.StatusResponse, zone: tzinfo | None = None) -> list[Finding]:
    """What stands still and why, the most urgent first; what is well comes last.

    Equal causes are one finding: 64 partitions that wait for a process are told in one sentence.

    Args:
        status: a sidecar's answer, of which each time is compared with ``status.now_ms``. It is not changed.
        zone: the time zone in which times are written; None: UTC, which the text then says.
    """
    status = shown(status)
    clock = Clock(status.now_ms, zone)
    found = [*_sidecar(status), *_problems(status, clock)]
    for of in status.lambdas:
        found += _lambda(of, status, clock)
    return most_urgent_first(found)


def needs_a_person(findings: Iterable[Finding]) -> bool:
    """Whether somebody should look at one of them."""
    return any(finding.needs_a_person for finding in findings)


def shown(status: pb.StatusResponse) -> pb.StatusResponse:
    """A copy in which every text can be shown in one line and has no password in a URL: most of them come from lambda
    processes."""
    copy = pb.StatusResponse()
    copy.CopyFrom(status)
    _make_visible(copy)
    return copy


def _make_visible(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                _make_visible(inner)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            if field.is_repeated:
                value[:] = [visible(masked(text)) for text in value]
            else:
                setattr(message, field.name, visible(masked(value)))


def _sidecar(status: pb.StatusResponse) -> Iterator[Finding]:
    if status.draining:
        text = "The sidecar was told to stop: it takes its partitions back, commits, and ends."
        yield Finding(Urgency.PASSES, Cause.SIDECAR_ENDS, (), (), (text,))


def _problems(status: pb.StatusResponse, clock: Clock) -> Iterator[Finding]:
    groups: defaultdict[tuple[object, ...], list[Trouble]] = defaultdict(list)
    for of in status.lambdas:
        without_leader = any(one.waits_for == pb.WAITS_FOR_LEADER for one in of.partitions)
        for problem in of.problems:
            trouble = Trouble(of, problem)
            if trouble.cause is Cause.NO_LEADER and without_leader:
                continue  # the partitions say it
            if trouble.cause is Cause.PROCESS_ENDS and of.supervised:
                continue  # `crashes` says it
            groups[_like(trouble)].append(trouble)
    for troubles in groups.values():
        yield tell_troubles(troubles, clock)


def _like(trouble: Trouble) -> tuple[object, ...]:
    """Problems with an equal key are one finding."""
    if trouble.cause in CONNECTION or trouble.cause is Cause.SIDECAR_FAULT:
        return trouble.cause, trouble.problem.text
    if trouble.places:
        return trouble.cause, trouble.of.name
    return trouble.cause, trouble.of.name, trouble.problem.kind


def _lambda(of: pb.Lambda, status: pb.StatusResponse, clock: Clock) -> Iterator[Finding]:
    blocked = any(problem.blocks for problem in of.problems)
    has_topic = not any(problem.cause == Cause.TOPIC_MISSING for problem in of.problems)
    if not of.partitions and not blocked and (has_topic or not of.processes):
        yield from membership(of, status.now_ms - status.started_at_ms, clock)
    yield from crashes(of, clock)
    processes = {process.process_id: process for process in of.processes}
    groups: defaultdict[Verdict, list[Case]] = defaultdict(list)
    for one in of.partitions:
        case = Case(of, one, processes.get(one.process_id), clock)
        verdict = judge(case)
        if not (blocked and not of.connected and verdict.cause in _FOLLOWS_FROM_NO_KAFKA):
            groups[verdict].append(case)
    for verdict, cases in groups.items():
        cases.sort(key=lambda case: (case.since_ms or clock.now_ms, case.place))
        told = tell(verdict.cause, cases)
        places = tuple(sorted(case.place for case in cases))
        yield Finding(verdict.urgency, verdict.cause, (of.name,), places, tuple(told.sentences), told.commands)
