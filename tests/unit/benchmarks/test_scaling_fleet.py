"""The simulation of fleets: what it must say of cases whose answer is known."""

import random
from dataclasses import replace
from statistics import mean

import pytest
from hypothesis import given, strategies as st

from benchmarks.scaling.costs import Cost, Costs
from benchmarks.scaling.fleet import Event, Fleet, poisson, shared, simulate, spread
from benchmarks.scaling.scenarios import usage

COST = Cost(
    mb=50,
    partition_mb=0.01,
    behind_mb=0.5,
    cores=0.01,
    partition_cores=0,
    wake_us=100,
    frame_us=50,
    record_us=0.5,
    byte_us=0.005,
)
COSTS = Costs(
    sidecar=COST,
    lambda_=COST,
    document_kb=1,
    document_us=2,
    open_ms=4,
    takeover_ms=3,
    join_s=7,
    session_s=6,
    dead_s=6,
)
MILLISECOND = replace(Fleet(partitions=10, rate=500), handler_us=999)
"""A process of it handles 1,000 records of 100 bytes a second."""


def test_a_fleet_with_room_has_no_lag() -> None:
    lag = simulate(MILLISECOND, COSTS, 30)
    assert lag.records == [0.0] * 30
    assert lag.ages_s == [0.0] * 10


def test_a_fleet_that_is_too_small_falls_behind_by_what_it_cannot_handle() -> None:
    lag = simulate(replace(MILLISECOND, rate=1500), COSTS, 100)
    assert lag.records[-1] == pytest.approx(500 * 100, rel=0.05)
    assert lag.oldest_s[-1] == pytest.approx(100 / 3, rel=0.1)
    assert lag.caught_up(0) is None


def test_a_backlog_is_gone_after_backlog_divided_by_the_spare_rate() -> None:
    # 60 s of 500 records wait; 1,000 a second are handled, and 500 a second come.
    lag = simulate(MILLISECOND, COSTS, 300, Event(at=10, seconds=60))
    assert lag.oldest_s[69] == 59
    assert lag.caught_up(70) == pytest.approx(60, abs=3)


def test_the_age_is_that_of_the_oldest_record_and_not_of_the_backlog() -> None:
    # One partition with one record a second, which stands still for 20 s.
    lag = simulate(Fleet(partitions=1, rate=1), COSTS, 40, Event(at=10, seconds=20), seed=3)
    assert lag.oldest_s[29] <= 19
    assert lag.oldest_s[29] >= 15
    assert lag.oldest_s[30] == 0


def test_one_hot_partition_is_not_handled_faster_by_more_processes() -> None:
    hot = replace(MILLISECOND, rate=3000, skew=2.0)
    some, more = (simulate(replace(hot, sidecars=n), COSTS, 60) for n in (4, 10))
    assert more.records[-1] == pytest.approx(some.records[-1], rel=0.3)
    assert max(more.ages_s) > 10


def test_a_window_bounds_a_partition_whose_records_are_saved_slowly() -> None:
    fleet = Fleet(partitions=1, rate=1500, handler_us=1, save_ms=100, window=100)
    assert fleet.partition_rate() == 1000
    assert simulate(fleet, COSTS, 50).records[-1] == pytest.approx(500 * 50, rel=0.05)
    assert simulate(replace(fleet, window=200), COSTS, 50).records[-1] == 0


def test_a_sidecar_bounds_what_its_processes_get() -> None:
    fleet = Fleet(partitions=8, rate=1_500_000, handler_us=0, processes=4)
    assert fleet.sidecar_rate(COSTS) == pytest.approx(1e6)
    assert simulate(fleet, COSTS, 10).records[-1] == pytest.approx(500_000 * 10, rel=0.05)


def test_the_partitions_of_a_dead_sidecar_stand_still_and_then_belong_to_the_others() -> None:
    fleet = replace(MILLISECOND, sidecars=2)
    lag = simulate(fleet, COSTS, 200, Event(at=10, seconds=45, sidecar=0))
    assert lag.records[9] == 0
    # 250 records a second wait; the other sidecar has no lag meanwhile.
    assert lag.records[54] == pytest.approx(250 * 45, rel=0.05)
    assert lag.oldest_s[54] == 44
    # Then the other one handles 1,000 a second, of which 500 come.
    assert lag.caught_up(55) == pytest.approx(22, abs=3)


def test_without_its_dead_sidecar_a_fleet_may_be_too_small() -> None:
    fleet = replace(MILLISECOND, sidecars=2, rate=1500)
    lag = simulate(fleet, COSTS, 200, Event(at=10, seconds=10, sidecar=1))
    assert lag.caught_up(10) is None


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    fleet = replace(MILLISECOND, rate=995, skew=0.5)
    first, second = (simulate(fleet, COSTS, 50, seed=7) for _ in range(2))
    assert first == second
    assert simulate(fleet, COSTS, 50, seed=8).records != first.records


def test_it_takes_a_known_assignment_and_a_known_backlog() -> None:
    fleet = Fleet(partitions=3, rate=0, handler_us=999, processes=2)
    lag = simulate(fleet, COSTS, 20, places=[(0, 0), (0, 1), (0, 1)], backlog=[2000, 3000, 3000])
    assert lag.records[0] == 8000 - 2000
    assert [records > 0 for records in lag.records[:7]] == [True, True, True, True, True, False, False]


@given(st.floats(0, 1e6), st.lists(st.floats(0, 1e5), max_size=20))
def test_a_capacity_is_divided_without_a_rest_and_nobody_gets_more_than_he_wants(
    capacity: float, wanted: list[float]
) -> None:
    given_ = shared(capacity, wanted)
    assert all(got <= one for got, one in zip(given_, wanted, strict=True))
    assert sum(given_) == pytest.approx(min(capacity, sum(wanted)), abs=1e-6)
    least = [got for got, one in zip(given_, wanted, strict=True) if got < one]
    assert all(got >= max(given_) - 1e-6 for got in least)


def test_partitions_are_dealt_out_to_sidecars_and_there_to_processes() -> None:
    assert spread(range(5), [0, 2], 2) == [(0, 0), (2, 0), (0, 1), (2, 1), (0, 0)]


@pytest.mark.parametrize("expected", [0.0, 0.3, 5.0, 200.0])
def test_arrivals_have_the_mean_that_is_wanted(expected: float) -> None:
    drawn = random.Random(1)
    assert mean(poisson(drawn, expected) for _ in range(4000)) == pytest.approx(expected, rel=0.1)


def test_rates_follow_the_law_and_add_up() -> None:
    rates = sorted(Fleet(partitions=4, rate=2500, skew=1.0).rates(), reverse=True)
    assert rates == pytest.approx([1200, 600, 400, 300])


def test_usage_is_that_of_each_process_and_never_above_a_core() -> None:
    used = usage(replace(MILLISECOND, sidecars=2, processes=2, rate=1000), COSTS)
    assert sorted(used.sidecars) == [0, 1]
    assert sorted(used.processes) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert used.capacity == pytest.approx(0.3)  # three of ten partitions
    assert usage(replace(MILLISECOND, rate=9000), COSTS).processes == {(0, 0): 1.0}
