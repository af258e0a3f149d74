"""The costs that are fitted to measured points."""

from statistics import median

import pytest

from benchmarks.scaling.costs import Costs, arrivals, explained, fitted, line, load, two


def test_a_line_through_points_is_found() -> None:
    points = [{"x": x, "y": 3 + 2 * x} for x in (1, 5, 9)]
    assert line(points, "x", lambda point: point["y"]) == pytest.approx((3, 2))


def test_a_slope_below_zero_is_noise() -> None:
    points = [{"x": 1, "y": 5.0}, {"x": 2, "y": 3.0}]
    assert line(points, "x", lambda point: point["y"]) == (4.0, 0.0)


def test_two_factors_are_found() -> None:
    rows = [(first, second, 7 * first + 3 * second) for first, second in ((1, 1), (100, 400), (200, 12000))]
    assert two(rows) == pytest.approx((7, 3))


def test_no_factor_is_below_zero() -> None:
    assert two([(1, 1, 1), (1, 2, 0.5)])[1] == 0
    assert two([(1, 1, 1), (2, 1, 0.5)])[0] == 0


def test_records_arrive_together_at_high_rates_only() -> None:
    wakes, frames = arrivals([1.0, 1.0])
    assert wakes == pytest.approx(2, rel=0.01)
    assert frames == pytest.approx(2, rel=0.01)
    wakes, frames = arrivals([1e6, 1e6])
    assert wakes == pytest.approx(200)
    assert frames == pytest.approx(400)


def test_records_of_several_producers_arrive_apart() -> None:
    assert arrivals([1e6], producers=10)[0] == pytest.approx(2000)


@pytest.fixture(scope="module")
def costs() -> Costs:
    return fitted(load())


def test_the_measured_costs_are_plausible(costs: Costs) -> None:
    """A measurement that went wrong, on a machine without rest, must not get into the document."""
    for one in (costs.sidecar, costs.lambda_):
        assert 20 < one.mb < 200
        assert 0 < one.partition_mb < 0.2
        assert 0 < one.full_us(100) < 5
        assert one.full_us(1000) > one.full_us(100)
        assert one.wake_us + one.frame_us > 0
    assert 0 < costs.document_kb < 10
    assert costs.session_s * 0.4 < costs.dead_s < costs.session_s + 15


def test_the_costs_explain_what_was_measured() -> None:
    found = explained(load())
    assert median(found) == pytest.approx(1, abs=0.2)
    assert median(abs(ratio - 1) for ratio in found) < 0.2
