"""The site's firewall matrix and its sheet for IT, from the configuration as it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.home import SiteHome
from client.network import firewall_matrix
from client.workplace import Workplace
from shared.errors import HomeError
from tests.unit.client.participation.conftest import MinimalCoordinator

SETTINGS = """\
device = "cpu"
[pacs.main]
ae_title = "ARCHIVE"
host = "192.0.2.20"
port = 11112
[dicomweb.web]
url = "https://192.0.2.21/dicom-web"
[proxy]
url = "http://192.0.2.3:3128"
"""


def test_a_site_that_has_not_joined_does_not_know_where_the_coordinator_is(home: SiteHome) -> None:
    home.folder.mkdir()

    with pytest.raises(HomeError):
        next(firewall_matrix(home))


def test_the_matrix_follows_membership_proxy_and_archives(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    home.settings_file.write_text(SETTINGS)
    addresses = {"fleet_address": "192.0.2.1:443", "transfer_address": "[2001:db8::1]:8445"}
    home.write_membership(replace(home.membership(), **addresses))

    rules = [(each.destination, each.port) for each in firewall_matrix(home)]

    assert rules == [
        ("192.0.2.3", "3128"),
        ("192.0.2.1", "443"),
        ("192.0.2.3", "3128"),
        ("2001:db8::1", "8445"),
        ("192.0.2.20", "11112"),
        ("192.0.2.21", "443"),
    ]


def test_the_sheet_is_two_printed_pages_and_holds_no_secret(
    workplace: Workplace, home: SiteHome, tmp_path: Path
) -> None:
    page = tmp_path / "sheet.html"

    done = CliRunner().invoke(app, ["it-sheet", str(page), "--home", str(home.folder), "--json"])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rules"]
    assert len(told["points"]) > 10
    text = page.read_text()
    assert all(rule["destination"] in text for rule in told["rules"])
    assert str(home.folder) not in text
    assert "<script" not in text
    assert "<code>mammofed-site check</code>" in text
    assert "`" not in text
    chromium, pdfinfo = shutil.which("chromium"), shutil.which("pdfinfo")
    if chromium is None or pdfinfo is None:
        pytest.skip("chromium and pdfinfo count the pages; they are not installed")
    pdf = tmp_path / "sheet.pdf"
    print_to = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--print-to-pdf={pdf}"]
    subprocess.run([chromium, *print_to, page.as_uri()], capture_output=True, check=True, timeout=120)
    counted = subprocess.run([pdfinfo, str(pdf)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Pages:\s+(\d+)", counted)
    assert found is not None
    assert found[1] == "2"
