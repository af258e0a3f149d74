"""What is told about partitions that stand still: the lambda does not go on, or an operator has to let it."""

from __future__ import annotations

from sdk_python.protocol import admin_pb2 as pb
from sidecar.explain.cases import FAILS_AGAIN_FROM
from sidecar.explain.group import (
    Group,
    Told,
    capital,
    handled,
    no_checkpoint_since,
    overdue,
    process_of,
    says,
    silent,
)
from sidecar.explain.words import many, quoted, span


def window_full(group: Group) -> Told:
    first, one = group.first, group.partition
    if first.waits_beside:
        return _beside(group)
    pause = group.command("pause")
    began = f" since {group.clock.at(first.since_ms)}" if first.since_ms else ""
    counted = f"{many(one.outstanding, 'message')}{began}"
    head = f"{group.name} {group['is|are']} not moving: {group['its window is|their windows are']} full"
    return Told(
        [
            f"{head} ({counted})." if group.is_one else f"{head}.",
            "" if group.is_one else f"The first of them is {first.place} ({counted}).",
            no_checkpoint_since(first),
            handled(first),
            says(first),
            silent(first),
            group.ahead,
            overdue(first),
            f"Look at its log; `{pause}` stops it.",
        ],
        (pause,),
    )


def _beside(group: Group) -> Told:
    explain = f"kafka-sidecar explain {group.first.of.name}/{group.first.place.topic}/{group.first.place.partition}"
    return Told(
        [
            f"{group.name} {group['waits|wait']} for another lane: {quoted(group.partition.reason)}.",
            "What its lambda got is done. A lane may be only so far ahead of the lowest one of its partition.",
            f"`{explain}` tells what keeps that lane.",
        ],
        (explain,),
    )


def handler_blocks(group: Group) -> Told:
    first, one = group.first, group.partition
    pause = group.command("pause")
    oldest = one.oldest_outstanding_ms
    sent = f", the oldest of them sent {span(group.clock.passed(oldest))} ago" if oldest else ""
    has = f"{process_of(first)} has {many(one.outstanding, 'message')} of {'it' if group.is_one else first.place}"
    return Told(
        [
            f"{group.name} {group['is|are']} not moving: {group['a handler does|handlers do']} not return.",
            f"{capital(has)}{sent}.",
            no_checkpoint_since(first, "It"),
            handled(first),
            says(first),
            silent(first),
            overdue(first),
            f"It waits for something, or one message takes that long: look at its log; `{pause}` stops it.",
        ],
        (pause,),
    )


def no_checkpoint(group: Group) -> Told:
    first = group.first
    return Told(
        [
            f"{group.name} {group['is|are']} handled, but not checkpointed.",
            group.which,
            no_checkpoint_since(first),
            f"All that it got is handled, up to offset {group.partition.handled:,}.",
            says(first),
            "After a restart all of it is handled again.",
            overdue(first),
            "Does its lambda still wait for something that it saves, or does it never call checkpoint?",
        ]
    )


def halted(group: Group) -> Told:
    one = group.partition
    resume, skip = group.command("resume"), group.command("resume", " --skip")
    sentences = [*_halt(group), f"Mend the cause; then `{resume}` lets it go on."]
    if not one.HasField("failing_offset"):
        return Told(sentences, (resume,))
    return Told([*sentences, f"`{skip}` leaves offset {one.failing_offset:,} out."], (resume, skip))


def _halt(group: Group) -> list[str]:
    """What every halt says first."""
    one = group.partition
    at = f" at offset {one.failing_offset:,}" if one.HasField("failing_offset") else ""
    why = f": {quoted(one.reason)}" if one.reason else ""
    if group.is_one:
        return [f"{group.name} has been halted{at}{group.since}{why}.", group.ahead]
    return [
        f"{group.name} have been halted{group.since}.",
        f"The first of them is {group.first.place}{at}{why}.",
        group.ahead,
    ]


def undeliverable(group: Group) -> Told:
    resume, skip = group.command("resume"), group.command("resume", " --skip")
    return Told(
        [
            *_halt(group),
            "No lambda can get this record.",
            f"`{skip}` leaves it out; if what refused it has changed, such as a limit, `{resume}` tries it again.",
        ],
        (resume, skip),
    )


def dead_letter_failed(group: Group) -> Told:
    resume = group.command("resume")
    return Told(
        [
            *_halt(group),
            "Nothing is lost: the record is still in its topic.",
            "Look at the dead-letter topic, its rights and its max.message.bytes.",
            f"Then `{resume}` gives the record to the lambda again.",
        ],
        (resume,),
    )


def offset_lost(group: Group) -> Told:
    one = group.partition
    if one.state != pb.PARTITION_STATE_HALTED:
        lost = f"{group.name} {group['has|have']} lost {group['its offset|their offsets']}"
        return Told(
            [
                f"{lost} at {group.clock.at(one.last_error.at_ms)}, and {group['goes|go']} on at another.",
                group.which,
                f"{capital(quoted(one.last_error.text))}.",
                "Messages were left out, or come again: the sidecar's log has both offsets.",
            ]
        )
    resume, seek = group.command("resume"), group.command("seek", " --to latest")
    return Told(
        [
            *_halt(group),
            "What the log no longer has cannot be processed.",
            f"`{resume}` goes on at the first record that it still has; `{seek}` leaves all of that out too.",
        ],
        (resume, seek),
    )


def dead_letter_waits(group: Group) -> Told:
    return Told(
        [
            f"{group.name} {group['waits|wait']} until a record is written as a dead letter.",
            "Nothing after that record is sent before. If it cannot be written, the partition halts and says why.",
        ]
    )


def backing_off(group: Group) -> Told:
    pause = group.command("pause")
    log = f"The log has the error with its stack; `{pause}` stops it until the cause is mended."
    return Told([*_failing(group), log], (pause,))


def deadline(group: Group) -> Told:
    return Told(
        [
            *_failing(group),
            "Its handler hangs, or one message takes longer than the lambda's `deadline`.",
            "Let it report its progress (`context.progress`), or raise the deadline.",
        ]
    )


def _failing(group: Group) -> list[str]:
    """What is said of everything that fails and is tried again."""
    one = group.partition
    failure = one.reason or (one.last_error.text if one.HasField("last_error") else "")
    retry = one.next_retry_at_ms
    often = "again and again" if one.attempt >= FAILS_AGAIN_FROM else "and is tried again"
    last = f", last at {group.clock.at(one.last_error.at_ms)}" if one.last_error.at_ms else ""
    return [
        f"{group.name} {group['fails|fail']} {often}{last}.",
        group.which,
        f"Attempt {one.attempt - 1:,} ended with: {quoted(failure)}." if failure else "",
        f"Nothing after offset {one.checkpoint:,} is processed yet." if one.HasField("checkpoint") else "",
        group.ahead,
        f"It is tried again in {span(retry - group.clock.now_ms)}." if retry else "It is tried again by itself.",
    ]


def paused_by_operator(group: Group) -> Told:
    one, resume = group.partition, group.command("resume")
    why = f": {quoted(one.reason)}" if one.reason else ""
    return Told(
        [
            f"{group.name} {group['has|have']} been paused by an operator{group.since}{why}.",
            group.which,
            group.ahead,
            f"`{resume}` lets it go on.",
        ],
        (resume,),
    )


def paused_by_lambda(group: Group) -> Told:
    one, resume = group.partition, group.command("resume")
    why = f": {quoted(one.reason)}" if one.reason else ""
    if one.HasField("resumes_at_ms"):
        soon = span(one.resumes_at_ms - group.clock.now_ms)
        then = f"It goes on by itself in {soon}; `{resume}` ends the pause now."
    else:
        then = f"It goes on when its lambda says so; `{resume}` ends the pause now."
    head = f"{group.name} {group['has|have']} been paused by {group['its lambda|their lambdas']}{group.since}{why}."
    return Told([head, group.which, group.ahead, then], (resume,))
