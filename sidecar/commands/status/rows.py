"""The partitions of all sidecars as rows of one table, with what each column shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.show import many
from sidecar.commands.status.selection import place_of, state_in_words, urgency_of
from sidecar.explain import Place, Urgency

OVERDUE_SOON_MS = 30_000
"""A lambda's deadline is shown when no more than this is left: before that it is no news."""

_WAITS_FOR_RESUME = (pb.PARTITION_STATE_HALTED, pb.PARTITION_STATE_PAUSED)


@dataclass(frozen=True, slots=True)
class Row:
    """One partition of one lambda of one sidecar, or one lane of it. All its texts can be shown in one line."""

    sidecar: str
    of: pb.Lambda
    partition: pb.Partition
    now_ms: int
    """The sidecar's time at its answer."""
    urgency: Urgency

    @property
    def place(self) -> Place:
        """The partition's name."""
        return place_of(self.partition)

    @property
    def lane(self) -> int | None:
        """The number of the lane; None: the partition has none."""
        return self.partition.lane if self.partition.lanes > 1 else None

    @property
    def target(self) -> str:
        """As commands name it: `LAMBDA/TOPIC/PARTITION[.LANE]`."""
        return f"{self.of.name}/{self.place}"

    @property
    def state(self) -> str:
        """The state in words."""
        return state_in_words(self.partition.state)

    @property
    def process(self) -> str:
        """The name of the process that has it; empty: none."""
        known = {one.process_id: one.instance for one in self.of.processes}
        return known.get(self.partition.process_id) or self.partition.process_id

    @property
    def lag(self) -> int | None:
        """How many offsets lie between the committed offset and the end of the log; None: not known."""
        one = self.partition
        return max(0, one.end - one.committed) if one.HasField("end") and one.HasField("committed") else None

    @property
    def age_ms(self) -> int | None:
        """How long ago the oldest outstanding record was sent to the lambda; None: none is outstanding."""
        one = self.partition
        return self.now_ms - one.oldest_outstanding_ms if one.HasField("oldest_outstanding_ms") else None

    @property
    def note(self) -> str:
        """What else is known."""
        return "; ".join(_notes(self))


def lag_of(rows: Iterable[Row]) -> int:
    """The sum of the known lags. Lanes of a partition share its log: the lag of the lowest is the partition's."""
    lags: dict[tuple[str, str, int], int] = {}
    for row in rows:
        at = row.of.name, row.place.topic, row.place.partition
        lags[at] = max(lags.get(at, 0), row.lag or 0)
    return sum(lags.values())


def rows_of(sidecar: str, status: pb.StatusResponse) -> list[Row]:
    """The rows of one sidecar's answer, whose texts can be shown (`sidecar.explain.shown`)."""
    urgencies = urgency_of(status)
    return [
        Row(sidecar, one, partition, status.now_ms, urgencies.get((one.name, place_of(partition)), Urgency.WELL))
        for one in status.lambdas
        for partition in one.partitions
    ]


class Column(NamedTuple):
    """A column of the table."""

    title: str
    cell: Callable[[Row], str]
    is_number: bool = False


def short_span(milliseconds: int) -> str:
    """A duration in a word: `40s`, `9m`."""
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _maybe(value: int | None) -> str:
    return "-" if value is None else str(value)


def _offset(field: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        return str(getattr(row.partition, field)) if row.partition.HasField(field) else "-"

    return cell


def _since(row: Row) -> str:
    since = row.partition.state_since_ms
    return short_span(row.now_ms - since) if since else "-"


def _age(row: Row) -> str:
    return "-" if row.age_ms is None else short_span(row.age_ms)


def _rate(row: Row) -> str:
    rate = row.partition.done_per_second
    return "-" if not rate else f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


SIDECAR = Column("SIDECAR", lambda row: row.sidecar)
"""Shown where there are several."""
STATE = Column("STATE", lambda row: row.state)
NOTE = Column("NOTE", lambda row: row.note)
"""The last column: it takes what room is left."""

_FIRST = (
    Column("LAMBDA", lambda row: row.of.name),
    Column("PARTITION", lambda row: str(row.place)),
    STATE,
    Column("SINCE", _since, is_number=True),
    Column("PROCESS", lambda row: row.process or "-"),
)
_CHECKPOINT = Column("CHECKPOINT", _offset("checkpoint"), is_number=True)
_END = Column("END", _offset("end"), is_number=True)
_LAST = (
    Column("LAG", lambda row: _maybe(row.lag), is_number=True),
    Column("OUTSTANDING", lambda row: str(row.partition.outstanding), is_number=True),
    Column("AGE", _age, is_number=True),
    Column("RATE", _rate, is_number=True),
)
COLUMNS = (*_FIRST, _CHECKPOINT, _END, *_LAST, NOTE)
WIDE_COLUMNS = (
    *_FIRST,
    Column("DELIVERED", _offset("delivered"), is_number=True),
    Column("HANDLED", _offset("handled"), is_number=True),
    _CHECKPOINT,
    Column("COMMITTED", _offset("committed"), is_number=True),
    _END,
    *_LAST,
    Column("BYTES", lambda row: str(row.partition.outstanding_bytes), is_number=True),
    Column("WAITING", lambda row: str(row.partition.waiting), is_number=True),
    Column("ATTEMPT", lambda row: str(row.partition.attempt), is_number=True),
    NOTE,
)


def _notes(row: Row) -> Iterator[str]:
    one, now_ms = row.partition, row.now_ms
    if one.reason:
        yield one.reason
    if one.HasField("failing_offset"):
        yield f"fails at offset {one.failing_offset}"
    if one.skipping_count:
        first = "the latest: " if one.skipping_count > len(one.skipping) else ""
        documents = many(one.skipping_count, "corrupt document", "corrupt documents")
        yield f"skips {documents} ({first}{', '.join(reversed(one.skipping))}), {one.skipped_records} records so far"
    if one.HasField("blocked_since_ms"):
        yield f"window full for {short_span(now_ms - one.blocked_since_ms)}"
    if one.HasField("stalled_since_ms"):
        yield f"no checkpoint for {short_span(now_ms - one.stalled_since_ms)}, {one.outstanding} unacknowledged"
    if one.progress:
        yield f"says {one.progress}"
    if one.HasField("overdue_at_ms") and one.overdue_at_ms - now_ms <= OVERDUE_SOON_MS:
        yield f"ended in {short_span(one.overdue_at_ms - now_ms)} without progress"
    if one.attempt > 1:
        yield f"attempt {one.attempt}"
    if one.HasField("next_retry_at_ms"):
        yield f"tried again in {short_span(one.next_retry_at_ms - now_ms)}"
    if one.HasField("resumes_at_ms"):
        yield f"goes on by itself in {short_span(one.resumes_at_ms - now_ms)}"
    elif one.state in _WAITS_FOR_RESUME:
        yield f"kafka-sidecar resume {row.target}"
