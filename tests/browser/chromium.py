"""The machine's own Chromium, driven by Playwright, whose own download of a browser is not needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing_requirements() -> str | None:
    """What this machine lacks, or None."""
    if _path() is None:
        return "Chromium is missing: install it (Debian: apt-get install chromium)"
    return None


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    # Chromium's own sandbox needs rights that root in a container does not have.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_path(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def _path() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)
