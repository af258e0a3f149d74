"""The samples of the last minutes."""

from __future__ import annotations

from sidecar.operate.page.history import KEPT, History
from sidecar.status import PartitionStatus, SidecarStatus
from tests.unit.snapshots import lambda_status, partition_status, sidecar_status


def status(at: float, sent: int, *partitions: PartitionStatus) -> SidecarStatus:
    one = lambda_status(records_sent=sent, partitions=[*partitions])
    return sidecar_status({"deli": one}, taken_at=at, wall_clock=1_000.0)


def test_a_sample_sums_over_partitions() -> None:
    history = History()
    history.add(status(1.0, 100))
    partitions = [
        partition_status(0, committed=5, end=9, done_per_second=1.25),
        partition_status(1, committed=9, end=8, done_per_second=2.0),
        partition_status(2, committed=None, end=1000),
        partition_status(3, committed=5, end=None),
    ]
    history.add(status(6.0, 160, *partitions))
    assert history.document() == {
        "interval_ms": 5000,
        "kept": 180,
        "columns": ["at_ms", "lag", "sent", "done"],
        "lambdas": {"deli": [[1_001_000, 0, 0.0, 0.0], [1_006_000, 4, 12.0, 3.2]]},
    }


def test_only_the_last_quarter_of_an_hour_is_kept() -> None:
    history = History()
    for number in range(KEPT + 20):
        history.add(status(number * 5.0, number * 10))
    rows = history.document()["lambdas"]["deli"]
    assert len(rows) == KEPT
    assert rows[0] == [1_000_000 + 20 * 5_000, 0, 2.0, 0.0]


def test_two_samples_of_one_moment() -> None:
    history = History()
    for sent in (0, 10):
        history.add(status(5.0, sent))
    assert [row[2] for row in history.document()["lambdas"]["deli"]] == [0.0, 0.0]
