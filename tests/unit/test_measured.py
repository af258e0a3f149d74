"""Histograms, and the bounds that the contract names."""

import re
from pathlib import Path

import pytest

from sdk_python._handler_times import BOUNDS_S
from sidecar.measured import COMMIT_BOUNDS_S, DELAY_BOUNDS_S, HANDLER_BOUNDS_S, Histogram, Times

PROTO = Path(__file__).parents[2] / "proto/lambda.proto"
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def test_a_time_counts_up_to_its_bound_and_by_its_weight() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds, weight in ((0.1, 1), (0.2, 3), (1.0, 1), (5.0, 2)):
        histogram.add(seconds, weight)
    assert (histogram.now.bounds, histogram.now.counts) == ((0.1, 1.0), (1, 4, 2))
    assert histogram.now.total == pytest.approx(11.7)


def test_what_another_counted_is_added_and_a_snapshot_stays_as_it_was() -> None:
    histogram = Histogram((0.1,))
    histogram.add(0.5)
    before = histogram.now
    histogram.merge([2, 1], 3.0)
    assert before == Times((0.1,), (0, 1), 0.5)
    assert histogram.now == Times((0.1,), (2, 2), 3.5)
    with pytest.raises(ValueError, match="zip"):
        histogram.merge([1, 2, 3], 1.0)


@pytest.mark.parametrize("bounds", [HANDLER_BOUNDS_S, DELAY_BOUNDS_S, COMMIT_BOUNDS_S])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert [*bounds] == sorted({*bounds})


def test_the_bounds_of_handlers_are_those_of_the_contract_and_of_the_sdk() -> None:
    comment = re.sub(r"\n\s*// ", " ", PROTO.read_text())
    (told,) = re.findall(r"took at most ([\d\w, ]+), and longer", comment)
    bounds = [float(number) * UNITS[unit] for number, unit in re.findall(r"(\d+) (\w+)", told)]
    assert bounds == pytest.approx([*HANDLER_BOUNDS_S])
    assert BOUNDS_S == HANDLER_BOUNDS_S
