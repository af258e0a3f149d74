"""Which rows `top` shows, in which order, and the lines above them."""

from __future__ import annotations

import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.asking import Answer, Answered
from sidecar.commands.status.rows import rows_of
from sidecar.commands.top.model import ORDERS, findings_of, rows_to_show, summary, troubles, visible_answers
from tests.unit.commands.status.scenes import FAILED, HERE, THERE, busy
from tests.unit.explain.scenes import HALTED, MINUTE, ago, lambda_, partition, process, status, unheld

ORDER = {order.name: order for order in ORDERS}
ANSWERS: list[Answer] = [
    Answered(
        HERE,
        status(
            lambda_(
                partition(1, end=8900, outstanding=2, oldest_outstanding_ms=ago(MINUTE)),
                partition(2, end=9900, outstanding=1, done_per_second=3.0),
                unheld(3, state=HALTED, reason="ValueError: no"),
                processes=[process()],
            )
        ),
    ),
    Answered(THERE, status(lambda_(partition(4, process_id="p9", end=8850, done_per_second=90.0)))),
]


def shown(order: str = "name", *, reverse: bool = False, text: str = "") -> list[int]:
    """The partitions of the rows."""
    return [row.partition.partition for row in rows_to_show(ANSWERS, ORDER[order], reverse, text)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("urgency", [3, 1, 2, 4]),
        ("name", [1, 2, 3, 4]),
        ("lag", [2, 1, 4, 3]),
        ("outstanding", [1, 2, 3, 4]),
        ("age", [1, 2, 3, 4]),
        ("rate", [4, 2, 1, 3]),
        ("state", [3, 1, 2, 4]),
        ("process", [3, 1, 2, 4]),
    ],
)
def test_orders(order: str, expected: list[int]) -> None:
    assert shown(order) == expected
    assert shown(order, reverse=True) == expected[::-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("ORDERS/2", [2]),
        ("halted", [3]),
        ("valueerror", [3]),
        ("billing-2", [1, 2]),
        ("10.0.0.4 running", [4]),
        ("nothing like it", []),
    ],
)
def test_the_filter_looks_into_every_text(text: str, expected: list[int]) -> None:
    assert shown(text=text) == expected


def test_the_lines_above_the_table() -> None:
    assert summary(ANSWERS) == "2 sidecars · 4 partitions · lag 1,211 · 93/s · 1 cause needs a person"
    alone: list[Answer] = [Answered(HERE, status(lambda_(partition(1))))]
    assert summary(alone) == f"{HERE.address}, version 0.1.0, up 2h · 1 partition · lag 0 · 0/s · all is well"
    assert troubles(alone) == ""
    lanes = [partition(1, lane=lane, lanes=2) for lane in range(2)]
    assert " · 2 lanes · " in summary([Answered(HERE, status(lambda_(*lanes, lanes=2)))])
    both = status(lambda_(*lanes, lanes=2), lambda_(partition(1), partition(2), name="other"))
    assert " · 2 partitions and 2 lanes · " in summary([Answered(HERE, both)])
    assert " · 0 partitions · " in summary([Answered(HERE, status())])
    assert troubles([Answered(HERE, busy()), FAILED]).splitlines() == [
        "scribe: missing topics: a",
        "scribe: no lambda process is connected",
        FAILED.reason,
    ]


def test_a_row_is_explained_with_what_concerns_its_lambda() -> None:
    answer = busy()
    answer.lambdas[0].problems.add(
        kind="group", cause="group-refused", text="refused", blocks=True, since_ms=ago(MINUTE)
    )
    answers: list[Answer] = [Answered(HERE, answer)]
    row = rows_of(HERE.address, answer)[1]
    assert [str(one.cause) for one in findings_of(row, answers, None)] == ["group-refused", "halted"]
    assert findings_of(row, [], None) == []


def test_texts_are_made_visible() -> None:
    evil = pb.StatusResponse(version="\x1b[2J")
    [one] = visible_answers([Answered(HERE, evil)])
    assert isinstance(one, Answered)
    assert one.status.version == "\\x1b[2J"
