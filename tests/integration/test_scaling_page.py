"""docs/scaling.md shows what the simulation says now, from the costs that are committed. It takes some seconds."""

from benchmarks.report import between
from benchmarks.scaling.__main__ import BEGIN, END, PAGE
from benchmarks.scaling.costs import load
from benchmarks.scaling.report import generated


def test_the_page_is_up_to_date() -> None:
    """Else: ``python -m benchmarks.scaling --write``, and look whether the text around the tables still holds."""
    page = PAGE.read_text()
    assert page == between(page, BEGIN, END, generated(load()))
