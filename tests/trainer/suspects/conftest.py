"""A browser, for the tests of the page."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Returns a browser without a window; without one the tests are skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="install playwright to look at the review in a browser")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("install chromium to look at the review in a browser")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield browser
        browser.close()
