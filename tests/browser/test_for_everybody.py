"""The page for all people and screens: axe finds nothing in either theme, nothing is cut off on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, running_shop
from tests.browser.scene import Scene
from tests.integration.harness import PATIENCE, Broker

expect.set_options(timeout=PATIENCE * 1000)

PHONE: Any = {"width": 390, "height": 844}
NARROW: Any = {"width": 320, "height": 640}
"""The width at which WCAG (1.4.10) asks that nothing needs to be scrolled sideways."""


@pytest.fixture(scope="module")
def scene(embedded: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A shop in which everything has gone wrong that can."""
    with running_shop(embedded, tmp_path_factory.mktemp("wrong")) as one:
        one.go_wrong()
        yield one


def views(page: Page, scene: Scene) -> Iterator[str]:
    """Everything that the page can show, one after the other."""
    page.get_by_role("button", name="Read the dead letters").click()
    table = page.get_by_role("table", name="Dead letters by cause")
    expect(table).to_be_visible()
    for one in page.locator("details summary").all():
        one.click()
    yield "the page"
    close = page.get_by_role("button", name="Close")
    for number in range(4):
        page.get_by_role("button", name=f"{scene.prefix}parcels/{number}", exact=True).click()
        yield f"the drawer of parcels/{number}"
        if number in (0, 1):
            page.get_by_role("button", name="Move to another offset").click()
            yield "the dialog that asks"
            page.get_by_role("button", name="Cancel").click()
        close.click()
    table.get_by_role("button", name="Show").first.click()
    expect(page.get_by_role("dialog", name="Dead letter")).to_be_visible()
    yield "a dead letter"
    close.click()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(scene: Scene, opened: Open, theme: str) -> None:
    page = opened(scene.url, color_scheme=theme)
    looked = 0
    for view in views(page, scene):
        found = Axe().run(page)
        assert found.violations_count == 0, f"{view}: {found.generate_report()}"
        looked += len(found.response["passes"])
    assert looked > 50, "axe has looked at something"


@pytest.mark.parametrize("size", [PHONE, NARROW])
def test_nothing_is_cut_off_on_a_phone(scene: Scene, opened: Open, size: Any) -> None:
    page = opened(scene.url, viewport=size, is_mobile=True, has_touch=True)
    wider = """() => [...document.querySelectorAll('dialog[open], body')].flatMap(
        (place) => [place, ...place.querySelectorAll('*')]
            .filter((one) => !one.closest('.unseen, .skip, svg') && one.checkVisibility())
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 || place.scrollWidth > innerWidth)
            .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`))"""
    for view in views(page, scene):
        assert page.evaluate(wider) == [], view


def test_states_are_words_and_not_colours_alone(scene: Scene, opened: Open) -> None:
    page = opened(scene.url, None)
    table = page.get_by_role("table", name="Partitions of shipping")
    rows = table.get_by_role("row").all_inner_texts()[1:]
    for number, state in ((1, "halted"), (3, "stalled"), (2, "paused"), (0, "running")):
        [row] = [one for one in rows if f"parcels/{number}" in one]
        assert state in row
    assert [f"parcels/{number}" in row for number, row in zip((1, 3, 2, 0), rows, strict=True)] == [True] * 4, rows
