"""Fixtures of the browser's tests: one browser, one broker and one shop for all, a page for each test."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser.chromium import chromium, missing_requirements
from tests.browser.scene import TOKEN, Scene
from tests.integration.conftest import embedded, kafka, need  # noqa: F401  # the fixtures: one broker of each kind
from tests.integration.harness import PATIENCE, Broker

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser(embedded: Broker) -> Iterator[Browser]:  # noqa: F811
    """A headless Chromium. While it is there, Playwright's event loop runs in this thread. So the broker, which is
    started with a loop of its own, comes first."""
    need(missing_requirements())
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def scene(embedded: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:  # noqa: F811
    """A shop on the embedded broker, in which nothing has gone wrong. A test leaves its partitions as they were."""
    with running_shop(embedded, tmp_path_factory.mktemp("shop")) as one:
        yield one


@contextmanager
def running_shop(broker: Broker, folder: Path) -> Iterator[Scene]:
    """A shop whose partitions all run."""
    with closing(Scene(broker, folder, f"{uuid.uuid4().hex[:6]}-")) as one:
        one.wait_until_running()
        yield one


@pytest.fixture
def opened(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """A function that opens the page of a sidecar. At the end no script may have failed, and nothing may have been
    refused by the page's own policy."""
    pages: list[Page] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A refusal of the API is a line in the console too, and is what some tests are about.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def open_(url: str, token: str | None = TOKEN, **context: object) -> Page:
        page = browser.new_page(**context)  # type: ignore[arg-type]  # the test's
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        pages.append(page)
        page.goto(url)
        page.get_by_text("live", exact=True).wait_for()
        if token is not None:
            give_token(page, token)
        return page

    yield open_
    for page in pages:
        page.close()
    assert complaints == []


def give_token(page: Page, token: str) -> None:
    """Give the token, as an operator does."""
    page.get_by_role("button", name="Allow actions").first.click()
    page.get_by_label("Token").fill(token)
    page.get_by_role("dialog").get_by_role("button", name="Allow actions").click()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a picture of the page of a failed test."""
    report = yield
    if report.when == "call" and report.failed:
        arguments = getattr(item, "funcargs", {})
        one = arguments.get("browser")
        for number, page in enumerate(one.contexts[-1].pages if one is not None and one.contexts else []):
            path = Path(".cache") / f"failed-{re.sub('[^a-z0-9]+', '-', item.name)}-{number}.png"
            page.screenshot(path=path, full_page=True)
            report.sections.append(("A picture of the page", str(path)))
        if isinstance(arguments.get("scene"), Scene):
            report.sections.append(("What the sidecar wrote", arguments["scene"].sidecar.text()[-5000:]))
    return report
