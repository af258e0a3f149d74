"""What is told about partitions that wait for something to pass, or move."""

from __future__ import annotations

from sidecar.explain.group import Group, Told, capital, process_of, says
from sidecar.explain.lambda_causes import who_starts
from sidecar.explain.words import many, quoted


def draining(group: Group) -> Told:
    return Told(
        [
            f"{group.name} {group['is|are']} being taken back.",
            f"{capital(process_of(group.first))} may finish what it has within a time limit, and gets nothing new.",
        ]
    )


def resolving(group: Group) -> Told:
    return Told(
        [
            f"{group.name} {group['has|have']} waited for an offset to start at{group.since}.",
            "The sidecar asks Kafka where to start, and commits that offset first.",
            "If this lasts, look at the brokers and at the sidecar's log.",
        ]
    )


def no_leader(group: Group) -> Told:
    return Told(
        [
            f"{group.name} cannot be read: no broker leads {group['it|them']}.",
            "It goes on as soon as one does. Look at the brokers that hold its replicas.",
        ]
    )


def no_process(group: Group) -> Told:
    name = group.first.of.name
    then = f"{who_starts(group.first.of)}: {group['it goes|they go']} on after the last checkpoint."
    head = f"{group.name} {group['has|have']} waited for a lambda process{group.since}: none serves {name}."
    return Told([head, group.which, group.ahead, then])


def no_spare_stream(group: Group) -> Told:
    of = group.first.of
    has = many(len(of.processes), "process", "processes")
    return Told(
        [
            f"{group.name} {group['has|have']} waited for a lambda process{group.since}.",
            f"{of.name} has {has}, and none of them offers another stream: it takes no more, or it fails.",
            "Look at their logs, or start another.",
        ]
    )


def starting(group: Group) -> Told:
    creates = f"{process_of(group.first)} creates {group['its lambda|their lambdas']}"
    return Told(
        [
            f"{group.name} {group['has|have']} been starting{group.since}: {creates}.",
            "If this lasts, its `create` waits for something: look at its log.",
        ]
    )


def corrupt_documents(group: Group) -> Told:
    one = group.partition
    latest = ", ".join(quoted(name) for name in reversed(one.skipping))
    which = "the latest: " if one.skipping_count > len(one.skipping) else ""
    skipped = many(one.skipped_records, "record")
    return Told(
        [
            f"{group.name} {group['runs|run']}, but {group['skips|skip']} the records of corrupt documents.",
            group.which,
            f"There {_is(one.skipping_count)} {many(one.skipping_count, 'corrupt document')} ({which}{latest}).",
            f"So far {skipped} {_is(one.skipped_records, 'was', 'were')} passed without being handled.",
            "They are skipped until the lambda restarts or the documents were idle.",
            "The log of its process says what is wrong with each.",
        ]
    )


def _is(count: int, one: str = "is", several: str = "are") -> str:
    return one if count == 1 else several


def behind(group: Group) -> Told:
    rate = sum(case.partition.done_per_second for case in group.cases)
    fast = f": {rate:,.0f} messages a second are processed" if rate >= 1 else ""
    return Told(
        [f"{group.name} {group['moves|move']}{fast}.", says(group.first) if group.is_one else "", group.ahead]
    )


def nothing_to_do(group: Group) -> Told:
    return Told([f"{group.name} {group['has|have']} nothing to do: all that Kafka has is processed."])


def other(group: Group) -> Told:
    return Told(
        [
            f"{group.name} {group['is|are']} in state {group.partition.state}, which this version does not know.",
            "The sidecar is newer: use its own version of this command.",
        ]
    )
