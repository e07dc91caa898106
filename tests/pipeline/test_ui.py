"""The Dagster UI as an operator sees it: the lineage page, and an asset with its picture, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dagster_server import dagster_server
from tests.mini_survey import Processed

#: One worker, so that the survey is processed once.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("processed")]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of a headless chromium."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 1600, "height": 1100})
        browser.close()


@pytest.fixture(scope="module")
def server(processed: Processed) -> Iterator[str]:
    """The UI of the processed survey."""
    with dagster_server(processed.workspace) as url:
        yield url


def test_lineage_shows_the_groups(page: Any, server: str) -> None:
    page.goto(f"{server}/asset-groups")
    for group in ("exposures", "msos"):
        page.get_by_text(group, exact=True).first.wait_for(timeout=60_000)


def test_an_asset_shows_its_figures_and_its_picture(page: Any, server: str) -> None:
    page.goto(f"{server}/assets/season_objects?view=partitions&partition=WFI01%7Cs01")
    for text in ("size_bytes", "scatter_over_noise_18_21"):
        page.get_by_text(text).first.wait_for(timeout=60_000)
    page.get_by_text("Show Markdown").first.click()
    picture = page.locator("img[src^='data:image/png;base64,']").first
    picture.wait_for(timeout=30_000)
    assert picture.evaluate("image => image.naturalWidth") > 200


def test_an_asset_shows_its_description_owner_and_kinds(page: Any, server: str) -> None:
    page.goto(f"{server}/assets/psf_photometry?view=overview")
    for text in ("Joint PSF fit of every catalogued star", "msos", "parquet"):
        page.get_by_text(text).first.wait_for(timeout=60_000)
