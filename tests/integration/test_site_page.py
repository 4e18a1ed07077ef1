"""The running site's page in a real browser: the form for what is known beside the images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from client.catalog import Catalog
from client.followup.clinical import ClinicalInputs
from client.home import SiteHome
from client.page.links import mint
from client.page.listening import listening
from shared.files import hold_folder
from tests.integration.browsing import PATIENCE_MS, a_browser
from tests.integration.test_console import check_looks

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
PATIENT = "100156-789A"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SiteHome]:
    """A site's home whose page is served, with suggestions switched on."""
    home = SiteHome(tmp_path / "home")
    with Catalog.open(home.folder):
        home.settings_file.write_text("[follow_up]\n")
    with hold_folder(home.folder), listening(home):
        yield home


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_in_a_browser_wrong_fields_are_marked_and_what_is_right_is_kept_and_cleared(
    home: SiteHome, chromium: Browser, scheme: str, width: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(mint(home, actor="local:it"))
    page.get_by_label("Patient identifier").fill(PATIENT)
    page.get_by_label("Age").fill("fifty")
    page.get_by_label("Biopsies").fill("1.5")
    page.get_by_label("A mother, sister or daughter").select_option("yes")

    page.get_by_label("Biopsies").press("Enter")

    page.get_by_text("it is not a whole number").wait_for()
    assert page.get_by_text("it is not a number").is_visible()
    assert page.get_by_label("Age").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Age").evaluate("each => each === document.activeElement")
    check_looks(page, width)

    page.get_by_label("Age").fill("50")
    page.get_by_label("Biopsies").fill("1")
    page.get_by_role("button", name="Keep").click()

    page.get_by_text("in the place of what was known of her").wait_for()
    assert page.get_by_label("Patient identifier").input_value() == ""
    assert page.locator("[aria-invalid=true]").count() == 0
    assert complaints == []
    with Catalog.open(home.folder) as catalog:
        known = catalog.clinical.find(catalog.pseudonyms().patient(PATIENT))
    assert known == ClinicalInputs(age=50, family_history=True, biopsies=1)
    assert PATIENT not in caplog.text
