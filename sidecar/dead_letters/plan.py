"""What a replay writes, in which order, and what `purge` can delete. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from sidecar.dead_letters.choice import Choice
from sidecar.dead_letters.contents import Contents, Partition
from sidecar.dead_letters.letter import Letter, Place

MAX_BATCH_LETTERS = 2_000
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bounds of one transaction. All its records are in memory, and consumers see none of them before its end."""


class Step(NamedTuple):
    """One record to replay."""

    letter: Letter
    duplicates: tuple[Place, ...] = ()
    """Other letters of the same record, which are done with it: a sidecar that is killed writes some twice."""


class Target(NamedTuple):
    """Where a record is written."""

    topic: str
    partition: int
    """-1: by its key."""


class Cut(NamedTuple):
    """What `purge` does in one partition of a dead-letter topic."""

    before: int
    """All records below this offset are deleted."""
    letters: int
    """How many letters these are."""
    not_replayed: int
    """How many of them were never replayed."""
    staying: int
    """Letters that were chosen and stay, since something that was not chosen is before them."""


def replay_plan(contents: Contents, choice: Choice) -> list[Step]:
    """The steps for all chosen letters that were not replayed, in the order of their sources."""
    ordered = sorted(contents.open(), key=lambda letter: (letter.source, letter.place))
    steps: list[Step] = []
    for _, same in groupby(ordered, key=lambda one: one.source):
        for letters in _same_record(same):
            # Of several letters of a record, the last to fail says best why.
            latest = max(letters, key=lambda letter: letter.last_ms)
            if any(map(choice.has, letters)):
                steps.append(Step(latest, tuple(one.place for one in letters if one is not latest)))
    return steps


def target(letter: Letter, to: str | None, known: Mapping[str, int]) -> Target:
    """Where a letter's record is written: to its source, or to the topic ``to``.

    The partition is the source's, so that the order stays. A topic ``to`` may not have it: then the key decides.
    ``known`` has the number of partitions of all topics. Raises ``ValueError`` when there is no such place.
    """
    topic = to or letter.source.topic
    count = known.get(topic)
    if count is None:
        raise ValueError(f"there is no topic {topic}, or the user may not see it; --to names another one")
    if letter.source.partition < count:
        return Target(topic, letter.source.partition)
    if to is None:
        has = "1 partition" if count == 1 else f"{count} partitions"
        raise ValueError(
            f"{letter.place} comes from {letter.source}, and {topic} has {has} now; --to names another topic, where "
            "the key decides if a partition is missing"
        )
    return Target(topic, -1)


def batches(steps: Iterable[Step], per_second: float | None = None) -> Iterator[Sequence[Step]]:
    """The steps of each transaction. ``per_second``: a batch has no more than this, but at least one."""
    most = MAX_BATCH_LETTERS if per_second is None else max(1, min(MAX_BATCH_LETTERS, int(per_second)))
    batch: list[Step] = []
    size = 0
    for step in steps:
        if batch and (len(batch) >= most or size + step.letter.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(step)
        size += step.letter.size
    if batch:
        yield batch


def purge_plan(contents: Contents, choice: Choice, *, replayed_only: bool, everything: bool) -> dict[Partition, Cut]:
    """What to delete in each partition with chosen letters: Kafka can only delete a log from its beginning.

    Args:
        contents: what the topics hold.
        choice: the letters that the operator named.
        replayed_only: of these only the ones that were replayed.
        everything: also records that are no letters.
    """
    going: dict[Partition, list[Letter]] = {}
    kept: dict[Partition, int] = {}
    for letter in contents.letters.values():
        where = (letter.place.topic, letter.place.partition)
        if choice.has(letter) and not (replayed_only and contents.is_open(letter)):
            going.setdefault(where, []).append(letter)
        else:
            _lower(kept, letter.place)
    if not everything:
        for place in contents.others:
            _lower(kept, place)
    return {where: _cut(contents, letters, kept.get(where)) for where, letters in sorted(going.items())}


def _cut(contents: Contents, letters: Sequence[Letter], kept: int | None) -> Cut:
    topic, partition, _ = letters[0].place
    before = contents.ends[topic, partition] if kept is None else kept
    deleted = [letter for letter in letters if letter.place.offset < before]
    return Cut(before, len(deleted), sum(map(contents.is_open, deleted)), len(letters) - len(deleted))


def _lower(kept: dict[Partition, int], place: Place) -> None:
    where = (place.topic, place.partition)
    kept[where] = min(place.offset, kept.get(where, place.offset))


def _same_record(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """Letters of one source offset, by record: one lambda's letters in one topic with the same bytes.

    The bytes count, since a source that was made anew has its offsets again.
    """
    by_record: dict[tuple[str, str, str, bytes], list[Letter]] = {}
    for letter in letters:
        key = (letter.place.topic, letter.lambda_name, letter.group, letter.digest)
        by_record.setdefault(key, []).append(letter)
    yield from by_record.values()
