"""The samples of the last minutes."""

from __future__ import annotations

from sdk_python.protocol import admin_pb2 as pb
from sidecar.operate.page.history import KEPT, History


def status(sent: int, *partitions: pb.Partition) -> pb.StatusResponse:
    return pb.StatusResponse(lambdas=[pb.Lambda(name="deli", records_sent=sent, partitions=partitions)])


def test_a_sample_sums_over_partitions() -> None:
    history = History()
    history.add(status(100), 1_000)
    history.add(
        status(
            160,
            pb.Partition(committed=5, end=9, done_per_second=1.25),
            pb.Partition(committed=9, end=8, done_per_second=2),
            pb.Partition(end=1000),
        ),
        6_000,
    )
    assert history.document() == {
        "interval_ms": 5000,
        "kept": 180,
        "columns": ["at_ms", "lag", "sent", "done"],
        "lambdas": {"deli": [[1_000, 0, 0.0, 0.0], [6_000, 4, 12.0, 3.2]]},
    }


def test_only_the_last_quarter_of_an_hour_is_kept() -> None:
    history = History()
    for number in range(KEPT + 20):
        history.add(status(number * 10), number * 5_000)
    rows = history.document()["lambdas"]["deli"]
    assert len(rows) == KEPT
    assert rows[0] == [20 * 5_000, 0, 2.0, 0.0]


def test_two_samples_of_one_moment_and_a_clock_that_was_set_back() -> None:
    history = History()
    for at_ms, sent in ((5_000, 0), (5_000, 10), (4_000, 20)):
        history.add(status(sent), at_ms)
    assert [row[2] for row in history.document()["lambdas"]["deli"]] == [0.0, 0.0, 0.0]
