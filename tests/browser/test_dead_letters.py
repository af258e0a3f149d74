"""Dead letters on the page: seen, shown, and replayed into their source."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, running_shop
from tests.browser.scene import Scene
from tests.integration.harness import PATIENCE, Broker, wait_for
from tests.servers.topics import end_offsets, read_all

expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A shop on each of the two brokers, with three dead letters of two causes."""
    broker: Broker = request.getfixturevalue(request.param)
    with running_shop(broker, tmp_path_factory.mktemp("letters")) as scene:
        scene.produce("orders", 1, "priceless", "unknown", "priceless", "well", first=501)
        wait_for(lambda: scene.dead_letters() == 3, "three dead letters")
        yield scene


def read(page: Page) -> None:
    page.get_by_role("button", name="Read the dead letters").click()
    expect(page.get_by_role("table", name="Dead letters by cause").get_by_role("row")).to_have_count(3)


def test_show_and_replay(shop: Scene, opened: Open) -> None:
    page = opened(shop.url)
    read(page)
    table = page.get_by_role("table", name="Dead letters by cause")
    priceless = table.get_by_role("row").filter(has_text="has no amount")
    expect(priceless).to_contain_text("2 of 2")
    priceless.get_by_role("button", name="Show").click()
    letter = page.get_by_role("dialog", name="Dead letter")
    expect(letter).to_contain_text("order 503 has no amount")
    expect(letter.get_by_role("region", name="Value")).to_contain_text('"is": "priceless"')
    expect(letter.get_by_role("region", name="Stack")).to_contain_text("ValueError")
    letter.get_by_role("button", name="Close").click()
    priceless.get_by_role("button", name="Replay").click()
    question = page.locator("#confirm")
    expect(question).to_contain_text("Replay 2 dead letters?")
    expect(question).to_contain_text("All groups that consume")
    question.get_by_role("button", name="Replay").click()
    expect(page.locator("#replay").get_by_role("status")).to_contain_text("Replayed 2 of 2")
    records = [one for one in read_all(shop.broker.address, f"{shop.prefix}orders") if one.partition == 1]
    replayed = [one for one in records if any(name == "__kafka_sidecar.replay" for name, _ in one.headers or ())]
    assert [(one.value or b"")[:14] for one in replayed] == [b'{"order": 501,', b'{"order": 503,']
    # They fail again, for nobody has mended the cause: two new letters. The two old ones are replayed.
    wait_for(lambda: shop.dead_letters() == 5, "the records to fail again")
    page.get_by_role("button", name="Read again").click()
    expect(table.get_by_role("row").filter(has_text="has no amount")).to_contain_text("2 of 4")


def test_without_the_token_nothing_is_read(shop: Scene, opened: Open) -> None:
    page = opened(shop.url, None)
    expect(page.locator("#letters-note")).to_contain_text("3 dead letters written since the sidecar started")
    expect(page.get_by_role("button", name="Read the dead letters")).to_be_hidden()


def test_cancel_replays_nothing(shop: Scene, opened: Open) -> None:
    before = end_offsets(shop.broker.address, f"{shop.prefix}orders")
    page = opened(shop.url)
    read(page)
    page.get_by_role("button", name="Replay").first.click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    expect(page.locator("#confirm")).to_be_hidden()
    assert not shop.sidecar.log("replaying dead letters")
    assert end_offsets(shop.broker.address, f"{shop.prefix}orders") == before
