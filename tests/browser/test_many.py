"""Thousands of partitions, and texts that mean harm: a real page and server, with a state that is made for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, expect

from sdk_python.protocol import admin_pb2 as pb
from tests.browser.conftest import Open
from tests.integration.harness import PATIENCE
from tests.unit.operate.page.lab import ANY_PORT, HALTED, RUNNING, TOKEN, Lab, config, status

expect.set_options(timeout=PATIENCE * 1000)

MANY = 5_000


@pytest.fixture
def token() -> str | None:
    """The sidecar's admin token."""
    return TOKEN


@pytest.fixture
def lab(token: str | None) -> Iterator[Lab]:
    """The page's server, in a thread with an event loop: the browser's own loop runs in this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the page's server")
    thread.start()

    async def begin() -> Lab:
        made = Lab(config(token), ANY_PORT)
        await made.start()
        return made

    one = asyncio.run_coroutine_threadsafe(begin(), loop).result(PATIENCE)
    yield one
    asyncio.run_coroutine_threadsafe(one.stop(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def partitions() -> list[pb.Partition]:
    """Partition 4321 is halted; all others run."""
    return [
        pb.Partition(
            topic="orders", partition=number, state=HALTED if number == 4321 else RUNNING, committed=5, end=9
        )
        for number in range(MANY)
    ]


def test_thousands_of_partitions(lab: Lab, opened: Open) -> None:
    lab.orders.state = status(*partitions())
    page = opened(lab.origin, None)
    rows = page.get_by_role("table", name="Partitions of deli").get_by_role("row")
    expect(rows).to_have_count(1 + 25)
    expect(rows.nth(1)).to_contain_text("orders/4321")
    expect(rows.nth(1)).to_contain_text("halted")
    page.get_by_role("button", name="Show 100 of 4,975 further partitions").click()
    expect(rows).to_have_count(1 + 125)
    page.get_by_label("Filter").fill("orders/2500")
    expect(page.locator("#matches")).to_have_text("1 of 5,000 match")
    expect(rows).to_have_count(2)
    assert page.evaluate("document.querySelectorAll('*').length") < 2_000


def test_redrawing_thousands_of_partitions_is_quick(lab: Lab, opened: Open) -> None:
    """A second's look must not keep the browser busy for a second."""
    lab.orders.state = status(*partitions())
    page = opened(lab.origin, None)
    took = page.evaluate(
        """() => {
            const began = performance.now();
            for (let time = 0; time < 5; time += 1) document.dispatchEvent(new Event('redraw'));
            return (performance.now() - began) / 5;
        }"""
    )
    assert took < 500, f"{took:.0f} ms"


EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_texts_from_lambdas_are_only_text(lab: Lab, opened: Open) -> None:
    one = pb.Partition(topic="orders", state=HALTED, reason=EVIL, process_id="p", skipping=[EVIL], skipping_count=1)
    one.last_error.text = EVIL
    process = pb.Process(process_id="p", instance=EVIL, client=EVIL, lambda_version=EVIL)
    problem = pb.Problem(kind=EVIL, text=EVIL, since_ms=1)
    lab.orders.state = status(one, processes=[process], problems=[problem])
    lab.findings = [
        {"urgency": "act", "cause": EVIL, "lambdas": ["deli"], "partitions": [], "text": EVIL, "commands": [EVIL]}
    ]
    page = opened(lab.origin, TOKEN)
    alerts: list[str] = []

    def note(dialog: Dialog) -> None:
        alerts.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    expect(page.get_by_text("onerror=alert(1)")).not_to_have_count(0)
    page.get_by_role("button", name="orders/0", exact=True).click()
    expect(page.get_by_role("dialog", name="orders/0 of deli")).to_contain_text(EVIL)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert alerts == []


def test_a_sidecar_that_goes_silent(lab: Lab, opened: Open) -> None:
    page = opened(lab.origin, None)
    lab.orders.answers.clear()
    expect(page.locator("#live")).to_contain_text("a consumer thread did not answer")
    lab.orders.answers.set()
    expect(page.locator("#live")).to_have_text("live")


@pytest.mark.parametrize("token", [None])
def test_without_an_admin_token_the_page_says_how_to_act(lab: Lab, opened: Open) -> None:
    page = opened(lab.origin, None)
    expect(page.get_by_role("button", name="Allow actions")).to_have_count(0)
    page.get_by_role("button", name="raw/0", exact=True).click()
    drawer = page.get_by_role("dialog", name="raw/0 of deli")
    expect(drawer).to_contain_text("set server.admin_token in its config")
    expect(drawer.get_by_role("button")).to_have_count(1)  # Close
