"""Real clicks on the page of a real sidecar: what an operator sees, and what the sidecar does then."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open
from tests.browser.scene import Scene
from tests.integration.harness import PATIENCE, wait_for

expect.set_options(timeout=PATIENCE * 1000)


def section(page: Page, name: str) -> Locator:
    """The section of a lambda."""
    return page.get_by_role("region", name=name, exact=True)


def row(page: Page, scene: Scene, name: str, topic: str, partition: int) -> Locator:
    """The row of a partition."""
    return section(page, name).get_by_role("row").filter(has_text=f"{scene.prefix}{topic}/{partition}")


def open_row(page: Page, scene: Scene, name: str, topic: str, partition: int) -> Locator:
    """Open the drawer of a partition, and return it."""
    row(page, scene, name, topic, partition).get_by_role("button").click()
    drawer = page.get_by_role("dialog", name=f"{scene.prefix}{topic}/{partition} of {name}", exact=True)
    expect(drawer).to_be_visible()
    return drawer


def confirm(page: Page) -> Locator:
    """The dialog that asks."""
    return page.locator("#confirm")


def test_the_page_is_live(scene: Scene, opened: Open) -> None:
    """What happens in the sidecar is there without a reload."""
    page = opened(scene.url, None)
    expect(page.get_by_text("running")).not_to_have_count(0)
    expect(page.get_by_text("Nothing: all is well.")).to_be_visible()
    page.evaluate("window.still = true")
    one = row(page, scene, "shipping", "parcels", 1)
    expect(one).to_contain_text("running")
    [where] = scene.produce("parcels", 1, "priceless", first=7)
    expect(one).to_contain_text("halted")
    expect(one).to_contain_text("order 7 has no amount")
    expect(page.locator("#announced")).to_contain_text(f"{where.topic}/1 of shipping is halted")
    needs = page.get_by_role("region", name="Needs a person")
    expect(needs).to_contain_text(f"{where.topic}/1 has been halted at offset {where.offset}")
    needs.get_by_role("button", name=f"Open {where.topic}/1").click()
    drawer = page.get_by_role("dialog", name=f"{where.topic}/1 of shipping")
    expect(drawer.locator("code").first).to_have_text(f"kafka-sidecar resume shipping/{where.topic}/1")
    page.keyboard.press("Escape")
    expect(section(page, "shipping").locator(".counters")).to_contain_text("1 halted")
    assert page.evaluate("window.still"), "the page was not loaded anew"
    page.close()
    skip_it(scene, opened, where.offset)


def skip_it(scene: Scene, opened: Open, offset: int) -> None:
    page = opened(scene.url)
    drawer = open_row(page, scene, "shipping", "parcels", 1)
    drawer.get_by_role("button", name=f"Leave out offset {offset}").click()
    expect(confirm(page)).to_contain_text("is not processed by shipping, now or later")
    confirm(page).get_by_role("button", name="Leave it out, and resume").click()
    expect(drawer.get_by_role("status")).to_contain_text(f"leaving out offset {offset}")
    expect(drawer).to_contain_text("running")
    assert scene.wait_for("running", "shipping", "parcels", 1)["committed"] > offset - 1


def test_pause_and_resume(scene: Scene, opened: Open) -> None:
    page = opened(scene.url)
    drawer = open_row(page, scene, "statistics", "orders", 2)
    drawer.get_by_role("button", name="Pause").click()
    confirm(page).get_by_label("Reason").fill("<b>stock</b> taking")
    confirm(page).get_by_role("button", name="Pause").click()
    expect(drawer.get_by_role("status")).to_contain_text("It stands still.")
    expect(drawer).to_contain_text("<b>stock</b> taking")
    said = scene.wait_for("paused", "statistics", "orders", 2)
    assert said["reason"] == "<b>stock</b> taking"
    drawer.get_by_role("button", name="Resume").click()
    confirm(page).get_by_role("button", name="Resume").click()
    expect(drawer.get_by_role("status")).to_contain_text("It goes on from offset")
    scene.wait_for("running", "statistics", "orders", 2)


def test_no_is_no(scene: Scene, opened: Open) -> None:
    page = opened(scene.url)
    drawer = open_row(page, scene, "statistics", "orders", 1)
    drawer.get_by_role("button", name="Pause").click()
    confirm(page).get_by_role("button", name="Cancel").click()
    drawer.get_by_role("button", name="Pause").click()
    page.keyboard.press("Escape")
    expect(confirm(page)).to_be_hidden()
    expect(drawer).to_be_visible()
    assert not scene.sidecar.log("an order was given on the page", order="pause", partition=1)
    assert scene.state("statistics", "orders", 1) == "running"


def test_seek(scene: Scene, opened: Open) -> None:
    scene.produce("orders", 0, *["well"] * 10)
    wait_for(lambda: scene.partition("statistics", "orders", 0).get("committed") == 10, "ten to be done")
    page = opened(scene.url)
    drawer = open_row(page, scene, "statistics", "orders", 0)
    drawer.get_by_role("button", name="Move to another offset").click()
    confirm(page).get_by_label("Offset", exact=True).fill("99")
    confirm(page).get_by_role("button", name="Move").click()
    expect(confirm(page).get_by_role("alert")).to_contain_text("99")
    confirm(page).get_by_label("To").select_option("earliest")
    expect(confirm(page).get_by_label("Offset", exact=True)).to_be_hidden()
    confirm(page).get_by_role("button", name="Move").click()
    expect(drawer.get_by_role("status")).to_contain_text("It was at 10, so about 10 records are processed again.")
    wait_for(lambda: scene.partition("statistics", "orders", 0).get("committed") == 10, "the ten to be done again")


def test_a_wrong_token(scene: Scene, opened: Open) -> None:
    page = opened(scene.url, "guessed")
    expect(confirm(page).get_by_role("alert")).to_contain_text("the token is wrong")
    confirm(page).get_by_role("button", name="Cancel").click()
    drawer = open_row(page, scene, "statistics", "orders", 1)
    expect(drawer.get_by_role("button", name="Allow actions")).to_be_visible()
    expect(drawer.get_by_role("button", name="Pause")).to_have_count(0)
    assert scene.sidecar.log("a wrong operators' token was given to the page")


def test_the_token_is_forgotten(scene: Scene, opened: Open) -> None:
    page = opened(scene.url)
    page.reload()
    page.get_by_role("button", name="Forget the token").click()
    drawer = open_row(page, scene, "statistics", "orders", 1)
    expect(drawer.get_by_role("button", name="Pause")).to_have_count(0)
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]


def test_a_token_that_has_changed_meanwhile(scene: Scene, opened: Open) -> None:
    page = opened(scene.url)
    page.evaluate("sessionStorage.setItem('kafka-sidecar-token', 'of yesterday')")
    drawer = open_row(page, scene, "statistics", "orders", 1)
    drawer.get_by_role("button", name="Pause").click()
    confirm(page).get_by_role("button", name="Pause").click()
    expect(confirm(page).get_by_role("alert")).to_contain_text("the token is wrong")


def test_by_keyboard_alone(scene: Scene, opened: Open) -> None:
    """From the top of the page to a paused partition and back, without a mouse."""
    page = opened(scene.url, None)

    def focused() -> str:
        text: str = page.evaluate(
            "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
        )
        return text

    def tab_to(text: str) -> None:
        for _ in range(80):
            if focused() == text:
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{text} cannot be reached by Tab")

    tab_to("Allow actions")
    page.keyboard.press("Enter")
    page.keyboard.type("letmein-0123456789")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Forget the token")).to_be_focused()
    name = f"{scene.prefix}parcels/0"
    tab_to(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=f"{name} of shipping")).to_be_visible()
    tab_to("Pause …")
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    assert scene.wait_for("paused", "shipping", "parcels", 0)["reason"] == "by keyboard"
    tab_to("Resume …")
    page.keyboard.press("Enter")
    cancel = confirm(page).get_by_role("button", name="Cancel")
    expect(cancel).to_be_focused()  # so a second Enter must not act
    page.keyboard.press("Enter")
    expect(confirm(page)).to_be_hidden()
    assert scene.state("shipping", "parcels", 0) == "paused"
    page.keyboard.press("Enter")
    expect(cancel).to_be_focused()
    tab_to("Resume")
    page.keyboard.press("Space")
    scene.wait_for("running", "shipping", "parcels", 0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused() == name, "the focus is back where it was"


def test_the_filter(scene: Scene, opened: Open) -> None:
    page = opened(scene.url, None)
    matches = page.locator("#matches")
    expect(matches).to_have_text("10 partitions")
    page.get_by_label("Filter").fill("parcels/3")
    expect(matches).to_have_text("1 of 10 match")
    expect(row(page, scene, "shipping", "parcels", 3)).to_be_visible()
    expect(row(page, scene, "shipping", "parcels", 0)).to_have_count(0)
    page.get_by_label("Filter").fill("")
    page.get_by_label("State").select_option("paused")
    expect(matches).to_have_text("0 of 10 match")


def test_the_last_minutes_as_pictures_and_as_a_table(scene: Scene, opened: Open) -> None:
    page = opened(scene.url, None)
    place = section(page, "billing")
    for name, numbers in (("Lag", r"records \d+"), ("Records a second", r"sent [\d.]+, done [\d.]+")):
        picture = place.get_by_role("img", name=name)
        expect(picture).to_have_attribute("aria-labelledby", re.compile("lambda-billing-"))
        told = picture.locator("desc").text_content() or ""
        assert re.fullmatch(rf"Now: {numbers}\. At most [\d.]+ in the last \d+ (s|min)\.", told), told
    place.get_by_text("The last minutes as a table").click()
    rows = place.locator("details table").get_by_role("row")
    expect(rows.nth(1)).to_contain_text(re.compile(r"\d\d:\d\d:\d\d"))
