"""A real browser goes from the console's own process to a real provider, and comes back signed in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from server.single_sign_on import SingleSignOnSettings
from server.store.identities import Claim, Identity
from tests.integration.browsing import a_browser, opened
from tests.integration.running_console import running_console

SECRET = "single-sign-on.secret"
SUBJECT = "ada-at-the-hospital"


@pytest.mark.slow
def test_in_a_browser_a_person_signs_in_by_way_of_a_provider_on_another_site(tmp_path: Path) -> None:
    mock = pytest.importorskip("oidc_provider_mock", reason="the provider of the tests is not installed")
    with mock.run_server_in_thread() as provider, a_browser() as browser:
        issuer = f"http://localhost:{provider.server_port}"  # another site than https, as browsers see it
        settings = SingleSignOnSettings(
            issuer=issuer, client_id="mammofed", client_secret_file=SECRET, label="Hospital login"
        )
        with running_console(tmp_path / "home", single_sign_on=settings) as console:
            file = console.home.folder / SECRET
            file.touch(0o600)
            file.write_text("known to both\n")
            identity = Identity(issuer=issuer, claim=Claim.SUBJECT, value=SUBJECT)
            console.coordinator.identities.bind("ada", identity, actor="person:ada", at=time.time())

            page, complaints = opened(browser, console, scheme="light", width=1280)
            page.get_by_role("link", name="Sign in by Hospital login").click()
            page.locator("input[name=sub]").fill(SUBJECT)
            complaints.clear()  # of the provider's own page, whose style comes from elsewhere
            page.locator("input[name=sub]").press("Enter")

            page.get_by_role("heading", name="Federation").wait_for()
            assert page.get_by_role("link", name="ada").is_visible()
            page.get_by_role("link", name="Runs", exact=True).click()
            page.get_by_role("heading", name="Runs").wait_for()
            assert complaints == []
