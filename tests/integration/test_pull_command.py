"""`mammofed-site data pull` and `pacs check` at the command line, against a real archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.catalog import Catalog
from shared.errors import PacsError
from tests.integration.orthanc import (
    OUR_TITLE,
    TITLE,
    Orthanc,
    filled_orthanc,
    free_port,
    needs_orthanc,
)

pytestmark = [needs_orthanc, pytest.mark.slow]
ARCHIVES = ("dicom", "web")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with filled_orthanc(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


@pytest.fixture
def home(orthanc: Orthanc, tmp_path: Path) -> Path:
    """A site whose settings name the archive in both ways, and one that does not answer."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "site.toml").write_text(
        f"""
        [pacs.dicom]
        ae_title = "{TITLE}"
        host = "127.0.0.1"
        port = {orthanc.dicom_port}
        calling_ae_title = "{OUR_TITLE}"

        [pacs.closed]
        ae_title = "{TITLE}"
        host = "127.0.0.1"
        port = {free_port()}

        [dicomweb.web]
        url = "{orthanc.url}"
        """
    )
    return folder


def site(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("mammofed-site"), *words, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def answer(home: Path, *words: str) -> Any:
    ended = site(home, *words, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_pull_brings_the_archives_mammograms_in_once(home: Path, orthanc: Orthanc, name: str) -> None:
    assert site(home, "pacs", "check", name).returncode == 0
    first = answer(home, "data", "pull", name)
    assert (first["studies"], first["new_studies"]) == (5, 5)
    assert (first["fetched"], first["added"], first["failed"], first["not_used"]) == (10, 10, 0, [])
    with Catalog.open(home) as catalog:
        counts = catalog.counts()
        assert (counts.examples, counts.patients, counts.labelled) == (10, 5, 0)
        assert catalog.verify(lambda _done, _all: None).damaged == ()
    again = answer(home, "data", "pull", name)
    assert (again["fetched"], again["added"]) == (0, 0)
    left = [path for path in (home / "incoming").rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []


def test_what_came_over_dicom_does_not_come_again_over_dicomweb(home: Path) -> None:
    assert answer(home, "data", "pull", "dicom", "--view", "CC")["added"] == 5
    over_web = answer(home, "data", "pull", "web")
    assert over_web["added"] == 5
    with Catalog.open(home) as catalog:
        assert catalog.counts().by_view == {"CC": 5, "MLO": 5}


def test_an_archive_that_does_not_answer_is_two_lines_and_an_exit_code(home: Path, orthanc: Orthanc) -> None:
    for words in (("pacs", "check", "closed"), ("data", "pull", "closed")):
        ended = site(home, *words)
        assert ended.returncode == PacsError.exit_code
        error, hint = ended.stderr.splitlines()
        assert error.startswith("Error: ")
        assert hint.startswith("  ")
    with Catalog.open(home) as catalog:
        assert catalog.counts().examples == 0


def test_no_patient_is_named_by_what_a_pull_says(home: Path, orthanc: Orthanc) -> None:
    ended = site(home, "data", "pull", "dicom")
    assert "5 studies found" in ended.stdout
    for image in orthanc.images:
        for secret in (image.patient_id, image.patient_name, image.accession_number):
            assert secret not in ended.stdout + ended.stderr
