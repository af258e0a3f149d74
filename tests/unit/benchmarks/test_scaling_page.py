"""docs/scaling.md shows what the simulation says now, from the costs that are committed."""

import pytest

from benchmarks.report import between
from benchmarks.scaling.__main__ import BEGIN, END, PAGE
from benchmarks.scaling.costs import load
from benchmarks.scaling.report import generated
from benchmarks.scaling.scenarios import SCENARIOS


def test_the_page_is_up_to_date() -> None:
    """Else: ``python -m benchmarks.scaling --write``, and look whether the text around the tables still holds."""
    page = PAGE.read_text()
    assert page == between(page, BEGIN, END, generated(load()))


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_explains_each_fleet(name: str) -> None:
    assert f"**{name}**" in PAGE.read_text().partition(END)[2]


def test_the_simulation_is_near_to_the_real_runs() -> None:
    """The page says how far it may be off: a time less than a third, CPU time less than a factor of two."""
    for what, pair in load()["validated"].items():
        ratio = pair["measured"] / pair["simulated"]
        assert 1 / 2 < ratio < 2, what
        assert "seconds" not in what or 2 / 3 < ratio < 4 / 3, what
