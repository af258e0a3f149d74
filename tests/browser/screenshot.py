"""Makes the documents' pictures of the page from a real run: ``python -m tests.browser.screenshot``."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser.chromium import chromium, missing_requirements
from tests.browser.scene import TOKEN, Scene
from tests.integration.harness import ROOT, Broker
from tests.servers.tansu import TansuServer

WIDE = (1180, 1500)
PHONE = (390, 844)


def main() -> None:
    """Run the shop for a while, and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=90, help="how long the run takes before the picture")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="instead: all views, in both themes, into FOLDER")
    chosen = parser.parse_args()
    missing = missing_requirements()
    if missing:
        parser.error(missing)
    with tempfile.TemporaryDirectory() as folder, TansuServer() as server:
        scene = Scene(Broker("embedded", server.address), Path(folder))
        try:
            scene.wait_until_running()
            with scene.orders_flow():
                time.sleep(chosen.seconds / 2)
                scene.go_wrong()
                time.sleep(chosen.seconds / 2)
                with chromium() as browser:
                    if chosen.all is None:
                        picture(browser, scene, ROOT / "docs")
                    else:
                        pictures(browser, scene, chosen.all)
        finally:
            scene.close()


def pictures(browser: Browser, scene: Scene, folder: Path) -> None:
    """Everything that should be looked at after a change."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        for name, size in (("wide", WIDE), ("phone", PHONE)):
            page = opened(browser, scene, theme, size)
            page.screenshot(path=folder / f"{theme}-{name}.png", full_page=True)
            page.get_by_role("button", name=f"{scene.prefix}parcels/1", exact=True).click()
            page.screenshot(path=folder / f"{theme}-{name}-drawer.png")
            page.get_by_role("button", name="Pause").or_(page.get_by_role("button", name="Resume")).first.click()
            page.screenshot(path=folder / f"{theme}-{name}-confirm.png")
            page.close()


def picture(browser: Browser, scene: Scene, folder: Path) -> None:
    """Those of the documents: the page down to the lambda with troubles, and a partition in the drawer."""
    page = opened(browser, scene, "light", WIDE)
    page.evaluate("scrollTo(0, 0)")  # the clicks have scrolled; a box is relative to what is seen
    box = page.get_by_role("region", name="shipping", exact=True).bounding_box()
    assert box is not None
    clip = {"x": 0, "y": 0, "width": WIDE[0], "height": box["y"] + box["height"] + 16}
    page.screenshot(path=folder / "page.png", full_page=True, clip=clip)  # type: ignore[arg-type]
    page = opened(browser, scene, "dark", (WIDE[0], 760))
    page.get_by_role("button", name=f"{scene.prefix}parcels/1", exact=True).click()
    page.screenshot(path=folder / "page-drawer.png")


def opened(browser: Browser, scene: Scene, theme: str, size: tuple[int, int]) -> Page:
    """The page with the token given, and the dead letters read."""
    page = browser.new_page(color_scheme=theme, viewport={"width": size[0], "height": size[1]})  # type: ignore[arg-type]
    page.goto(scene.url)
    page.get_by_text("live", exact=True).wait_for()
    page.get_by_role("button", name="Allow actions").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("dialog").get_by_role("button", name="Allow actions").click()
    page.get_by_role("button", name="Read the dead letters").click()
    page.get_by_role("table", name="Dead letters by cause").wait_for()
    return page


if __name__ == "__main__":
    main()
