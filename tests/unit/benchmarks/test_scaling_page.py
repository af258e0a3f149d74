"""docs/scaling.md says something about each fleet, and how far the simulation may be off."""

import pytest

from benchmarks.scaling.__main__ import END, PAGE
from benchmarks.scaling.costs import load
from benchmarks.scaling.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_explains_each_fleet(name: str) -> None:
    assert f"**{name}**" in PAGE.read_text().partition(END)[2]


def test_the_simulation_is_near_to_the_real_runs() -> None:
    """The page says how far it may be off: a time less than a third, CPU time less than a factor of two."""
    for what, pair in load()["validated"].items():
        ratio = pair["measured"] / pair["simulated"]
        assert 1 / 2 < ratio < 2, what
        assert "seconds" not in what or 2 / 3 < ratio < 4 / 3, what
