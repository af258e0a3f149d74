"""Invariants of a history. Pure: each check raises ``AssertionError`` with the first breach.

`produced` has the (partition, offset) of each record of a topic that a consumer of committed records sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from tests.integration.history import Event

RecordId = tuple[int, int]
"""Partition and offset."""


def record_ids(events: Iterable[Event]) -> list[RecordId]:
    """The handled messages, in the order of their handling."""
    return [(event.partition, event.offset) for event in events if event.kind == "handled"]


def all_handled(produced: Iterable[RecordId], events: Iterable[Event], left_out: Iterable[RecordId] = ()) -> None:
    """Each record was handled at least once; records that do not exist, or were left out, never."""
    wanted, got = set(produced) - set(left_out), set(record_ids(events))
    assert not wanted - got, f"{len(wanted - got)} never handled, the first {min(wanted - got)}"
    assert not got - wanted, f"{len(got - wanted)} should not have been handled, the first {min(got - wanted)}"


def all_handled_once(
    produced: Iterable[RecordId], events: Sequence[Event], left_out: Iterable[RecordId] = ()
) -> None:
    """Each record was handled exactly once."""
    all_handled(produced, events, left_out)
    none_twice(events)


def none_twice(events: Iterable[Event]) -> None:
    """No record was handled twice."""
    twice = {record: count for record, count in Counter(record_ids(events)).items() if count > 1}
    assert not twice, f"{len(twice)} handled more than once, the first {min(twice)}: {twice[min(twice)]} times"


def gapless_leases(produced: Iterable[RecordId], events: Sequence[Event], left_out: Iterable[RecordId] = ()) -> None:
    """Each lambda got its partition's records in order and without a gap, from its start offset on."""
    records: dict[int, list[int]] = {}
    for partition, offset in sorted(set(produced) - set(left_out)):
        records.setdefault(partition, []).append(offset)
    starts = {event.lease: event for event in events if event.kind == "created"}
    runs: dict[str, list[int]] = {}
    for event in events:
        if event.kind == "handled":
            runs.setdefault(event.lease, []).append(event.offset)
    for lease, run in runs.items():
        created = starts[lease]
        start = created.start if created.start is not None else run[0]
        expected = [offset for offset in records.get(created.partition, []) if offset >= start][: len(run)]
        where = next((index for index, pair in enumerate(zip(run, expected, strict=False)) if pair[0] != pair[1]), 0)
        assert run == expected, (
            f"{lease} of partition {created.partition}, start {start}: message {where} was "
            f"{run[where : where + 3]}... and not {expected[where : where + 3]}..."
        )


def leases_go_on(events: Iterable[Event], *, killed: Collection[str] = (), exactly: bool = False) -> None:
    """No lambda starts after the offset that follows its partition's last checkpoint, or while another one lives.

    A lambda whose process was ``killed`` never records that it closed. ``exactly``: each lambda starts right after
    the last checkpoint; otherwise a checkpoint may have been lost with its process, or have come too late.
    """
    done: dict[int, int] = {}  # the next offset to process, by partition
    alive: dict[int, str] = {}
    for event in events:
        if event.kind == "created":
            start = event.start or 0
            # The first lambda begins where the config says.
            ceiling = done.setdefault(event.partition, start)
            assert start <= ceiling, f"{event.lease} starts at {start}, but all is only done below {ceiling}"
            assert not exactly or start == ceiling, f"{event.lease} starts at {start} and not at {ceiling}"
            assert event.partition not in alive, f"{event.lease} made while {alive[event.partition]} is not closed"
            if event.process not in killed:
                alive[event.partition] = event.lease
        elif event.kind == "checkpointed":
            done[event.partition] = max(done[event.partition], event.offset + 1)
        elif event.kind == "closed" and alive.get(event.partition) == event.lease:
            del alive[event.partition]


def in_order(events: Iterable[Event]) -> None:
    """All lambdas together handled each partition's records in order, none of them twice."""
    last: dict[int, Event] = {}
    for event in events:
        if event.kind == "handled":
            before = last.get(event.partition)
            if before is not None and before.offset >= event.offset:
                after = f"came after {before.offset} ({before.lease})"
                raise AssertionError(f"partition {event.partition}: {event.offset} ({event.lease}) {after}")
            last[event.partition] = event


def longest_gap(events: Iterable[Event]) -> float:
    """The longest time in seconds between one handled message and the next."""
    times = [event.at for event in events if event.kind == "handled"]
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def caught_up(committed: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    """Whether every partition's committed offset is its end offset; an empty partition needs none."""
    return all(committed.get(partition, 0) == end for partition, end in ends.items())
