"""What `top` shows of the sidecars' answers: which rows, in which order, and the line above them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.asking import Answer, Answered, Failed
from sidecar.commands.show import many, pieces
from sidecar.commands.status.rows import Row, lag_of, rows_of, short_span
from sidecar.commands.status.selection import Chosen, narrowed
from sidecar.explain import Finding, explain, shown


class Order(NamedTuple):
    """An order of the rows."""

    name: str
    key: Callable[[Row], Any]


def _name(row: Row) -> Any:
    return row.of.name, row.of.group, row.place, row.sidecar


ORDERS = (
    Order("urgency", lambda row: (-row.urgency, _name(row))),
    Order("name", _name),
    Order("lag", lambda row: (-(row.lag or 0), _name(row))),
    Order("outstanding", lambda row: (-row.partition.outstanding, _name(row))),
    Order("age", lambda row: (-(row.age_ms or 0), _name(row))),
    Order("rate", lambda row: (-row.partition.done_per_second, _name(row))),
    Order("state", lambda row: (row.state, _name(row))),
    Order("process", lambda row: (row.process, _name(row))),
)
"""The orders, in the order in which a key goes through them."""


def rows_to_show(answers: Iterable[Answer], order: Order, reverse: bool, text: str) -> list[Row]:
    """The rows that contain ``text`` in one of their texts, in this order. Upper and lower case are the same."""
    rows = [row for one in answers if isinstance(one, Answered) for row in rows_of(one.sidecar.address, one.status)]
    wanted = text.casefold().split()
    kept = [row for row in rows if all(word in _searched(row) for word in wanted)]
    return sorted(kept, key=order.key, reverse=reverse)


def _searched(row: Row) -> str:
    return f"{row.sidecar} {row.target} {row.state} {row.process} {row.note}".casefold()


def visible_answers(answers: Iterable[Answer]) -> list[Answer]:
    """The answers with texts that can be shown in one line."""
    return [one._replace(status=shown(one.status)) if isinstance(one, Answered) else one for one in answers]


def summary(answers: Sequence[Answer]) -> str:
    """Who answers, how much is to be done, how fast, and how many causes need a person."""
    answered = [one for one in answers if isinstance(one, Answered)]
    rows = [row for one in answered for row in rows_of(one.sidecar.address, one.status)]
    need = sum(finding.needs_a_person for one in answered for finding in explain(one.status))
    parts = [_who(answered)] if len(answers) == 1 else [many(len(answered), "sidecar", "sidecars")]
    parts += [
        _pieces(rows),
        f"lag {lag_of(rows):,}",
        f"{sum(row.partition.done_per_second for row in rows):,.0f}/s",
        many(need, "cause needs a person", "causes need a person") if need else "all is well",
    ]
    return " · ".join(parts)


def _pieces(rows: Sequence[Row]) -> str:
    """`4 partitions`, `32 lanes`, or both where only some lambdas have lanes."""
    lanes = sum(row.lane is not None for row in rows)
    counts = [pieces(count, split) for count, split in ((len(rows) - lanes, 1), (lanes, 2)) if count]
    return " and ".join(counts) or pieces(0, 1)


def _who(answered: Sequence[Answered]) -> str:
    [one] = answered
    up = short_span(one.status.now_ms - one.status.started_at_ms)
    return f"{one.sidecar.address}, version {one.status.version}, up {up}"


def troubles(answers: Iterable[Answer]) -> str:
    """Who does not answer, and which problems concern whole lambdas; a line each, empty: none."""
    lines = []
    for one in answers:
        if isinstance(one, Failed):
            lines.append(one.reason)
            continue
        lines += (f"{of.name}: {problem.text}" for of in one.status.lambdas for problem in of.problems)
        lines += (f"{of.name}: no lambda process is connected" for of in one.status.lambdas if not of.processes)
    return "\n".join(dict.fromkeys(lines))


def findings_of(row: Row, answers: Iterable[Answer], local: Any) -> list[Finding]:
    """What there is to say about the row's partition, and about its lambda as a whole; ``local``: the time zone."""
    chosen = Chosen(row.of.name, row.place.topic, row.place.partition, row.lane)
    status = next(
        (one.status for one in answers if isinstance(one, Answered) and one.sidecar.address == row.sidecar),
        pb.StatusResponse(),
    )
    return explain(narrowed(status, [chosen]), local)
