"""The output of `kafka-sidecar status` for people: problems first, then each lambda, then one table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.addresses import Member
from sidecar.commands.fleet.asking import Answer, Answered
from sidecar.commands.fleet.merged import unowned_lines
from sidecar.commands.show import many, pieces
from sidecar.commands.status.rows import (
    COLUMNS,
    NOTE,
    SIDECAR,
    STATE,
    WIDE_COLUMNS,
    Column,
    Row,
    rows_of,
    short_span,
)
from sidecar.explain import Urgency, explain, shown

COLOURS = {Urgency.ACT: "red", Urgency.LOOK: "yellow", Urgency.PASSES: "cyan", Urgency.WELL: "green"}
"""How a state is coloured. The words say the same."""

_LEAST_NOTE = 20
"""Columns of the terminal that a note gets, however narrow the terminal is."""


@dataclass(frozen=True, slots=True)
class View:
    """How the text is to look."""

    is_wide: bool = False
    """With all columns."""
    has_colour: bool = False
    columns: int | None = None
    """The terminal's width, at which notes are cut; None: nothing is cut."""


def status_text(answers: Sequence[Answer], view: View, members: Sequence[Member] = ()) -> str:
    """The answers as text. Each answered status has its time (``now_ms``); ``members``: of the group by which the
    sidecars were found."""
    several = len(answers) > 1
    answered = [one._replace(status=shown(one.status)) for one in answers if isinstance(one, Answered)]
    lines = [*_sidecars([*_in_order(answers, answered)], several, view)]
    for one in answered:
        where = f" at {one.sidecar.address}" if several else ""
        lines += (line for hosted in one.status.lambdas for line in _lambda(hosted, one.status.now_ms, where, view))
    free = [*unowned_lines([*_in_order(answers, answered)], members)] if several else []
    lines += ["", *(_coloured(line, Urgency.LOOK, view) for line in free)] if free else []
    rows = [row for one in answered for row in rows_of(one.sidecar.address, one.status)]
    if rows:
        rows.sort(key=lambda row: (row.of.name, row.of.group, row.place, row.sidecar))
        columns = WIDE_COLUMNS if view.is_wide else COLUMNS
        lines += ["", *_table((SIDECAR, *columns) if several else columns, rows, view)]
    need = sum(finding.needs_a_person for one in answered for finding in explain(one.status))
    if need:
        needs = many(need, "cause needs a person", "causes need a person")
        lines += ["", f"{needs}: kafka-sidecar explain says what is wrong and what helps"]
    return "\n".join(lines)


def _in_order(answers: Sequence[Answer], answered: Sequence[Answered]) -> Iterator[Answer]:
    by_sidecar = {one.sidecar: one for one in answered}
    for one in answers:
        yield by_sidecar.get(one.sidecar, one)


def _sidecars(answers: Sequence[Answer], several: bool, view: View) -> Iterator[str]:
    for one in answers:
        if not isinstance(one, Answered):
            yield _coloured(f"problem: {one.reason}", Urgency.ACT, view)
            continue
        status = one.status
        where = f"{one.sidecar.address}: " if several else ""
        up = short_span(status.now_ms - status.started_at_ms)
        ends = "; it was told to stop" if status.draining else ""
        yield f"{where}kafka-sidecar {status.version}, up {up}, Kafka at {status.bootstrap_servers}{ends}"
    for one in answers:
        for hosted in one.status.lambdas if isinstance(one, Answered) else ():
            where = f" at {one.sidecar.address}" if several else ""
            for problem in hosted.problems:
                lasts = short_span(one.status.now_ms - problem.since_ms)  # type: ignore[union-attr]
                urgency = Urgency.ACT if problem.blocks else Urgency.LOOK
                yield _coloured(f"problem of {hosted.name}{where}: {problem.text} (for {lasts})", urgency, view)


def _lambda(one: pb.Lambda, now_ms: int, where: str, view: View) -> Iterator[str]:
    connected = "connected" if one.connected else "not connected to Kafka"
    joined = "in the group" if one.joined else "not in the group"
    counted = "".join(
        f"; {many(count, *words)}"
        for count, *words in (
            (one.dead_letters, "dead letter", "dead letters"),
            (one.hand_overs, "hand-over", "hand-overs"),
            (one.reports, "reported error", "reported errors"),
            (one.skipped_records, "skipped record", "skipped records"),
        )
        if count
    )
    yield ""
    yield f"{one.name}{where}: {', '.join(one.topics)} in group {one.group}; {connected}, {joined}{counted}"
    if not one.processes:
        yield _coloured("  no lambda process is connected", Urgency.LOOK, view)
    for process in one.processes:
        pid = f", pid {process.pid}" if process.pid else ""
        version = f", lambda version {process.lambda_version}" if process.lambda_version else ""
        identity = f", as {process.identity}" if process.identity else ""
        silent = now_ms - process.last_seen_ms if process.last_seen_ms else 0
        heard = f", last heard of {short_span(silent)} ago" if silent > 60_000 else ""
        held = pieces(process.partitions, one.lanes)
        rate = f", {process.done_per_second:,.0f} records/s" if process.done_per_second >= 1 else ""
        spare = ", could take another" if process.spare else ""
        name = process.instance or process.process_id
        yield f"  process {name}{pid} ({process.client}){version}{identity}: {held}{rate}{spare}{heard}"


def _table(columns: Sequence[Column], rows: Sequence[Row], view: View) -> Iterator[str]:
    cells = [[column.cell(row) for column in columns] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    if view.columns is not None:
        others = sum(widths[:-1]) + 2 * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(_LEAST_NOTE, view.columns - others))

    def line(texts: Sequence[str], row: Row | None) -> str:
        parts = []
        for text, column, width in zip(texts, columns, widths, strict=True):
            cut = _cut(text, width) if column is NOTE else text
            padded = cut.rjust(width) if column.is_number else cut.ljust(width)
            parts.append(_coloured(padded, row.urgency, view) if row and column is STATE else padded)
        return "  ".join(parts).rstrip()

    yield line(titles, None)
    yield from (line(texts, row) for texts, row in zip(cells, rows, strict=True))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _coloured(text: str, urgency: Urgency, view: View) -> str:
    return click.style(text, fg=COLOURS[urgency], bold=urgency is Urgency.ACT or None) if view.has_colour else text
