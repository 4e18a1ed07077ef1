"""Identifiers planted in every place of a mammogram: none survives in what the site writes or says."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from client.catalog import Catalog
from tests.e2e.leaks import forms_of, with_base64_opened
from tests.integration.canaries import Planted, plant

COMMAND = Path(sys.executable).with_name("mammofed-site")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("hospital"))


def run(home: Path, *arguments: str) -> bytes:
    """What a command says, on both streams, whatever its exit code."""
    done = subprocess.run(
        [str(COMMAND), *arguments, "--home", str(home)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "always"},
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A home after everything that one does with data, and all that the commands said."""
    home = tmp_path_factory.mktemp("site") / "home"
    source = str(planted.folder)
    said = [
        run(home, "data", "add", source),
        run(home, "data", "add", source, "--json"),
        run(home, "data", "masks", "add", f"{source}/masks", "--annotator", "reader-1"),
        run(home, "data", "masks", "add", str(planted.drawn), "--annotator", "reader-1", "--approved"),
        run(home, "data", "masks", "add", str(planted.drawn), "--annotator", "reader-1", "--json"),
        run(home, "data", "add", str(planted.packed[0])),
        run(home, "data", "add", str(planted.packed[1])),
        run(home, "data", "presegment", source, "--model", source, "--output", f"{home}-drafts"),
        run(home, "data", "report", "--page", str(home / "report.html")),
        run(home, "data", "report", "--json"),
        run(home, "data", "verify"),
        run(home, "check"),
        run(home, "data", "add", str(planted.images[0])),
        run(home, "segment", str(planted.images[0]), "--model", source),
    ]
    return home, b"\n".join(said)


def found(planted: Planted, content: bytes) -> dict[str, str]:
    """The canaries in some bytes, in any form that a text may take, with the places that they came from."""
    opened = with_base64_opened(content)
    return {
        place: canary
        for canary, place in planted.canaries.items()
        if any(form in opened for form in forms_of(canary))
    }


def test_the_canaries_are_in_the_source(planted: Planted) -> None:
    everything = b"".join(
        path.read_bytes() + str(path).encode()
        for place in (planted.folder, planted.drawn, *planted.packed)
        for path in (place, *place.rglob("*"))
        if path.is_file()
    )
    missing = set(planted.canaries.values()) - set(found(planted, everything))
    assert missing <= {"burned-in text"}


def test_the_images_come_in(planted: Planted, site: tuple[Path, bytes]) -> None:
    home, said = site
    assert b"6 added" in said
    assert b"2 masks added, 0 of images that are not here, 0 refused." in said
    assert b"Archive: 0 added, 6 already here." in said
    with Catalog.open(home) as catalog:
        assert (catalog.counts().examples, catalog.counts().labelled) == (6, 6)


def test_no_canary_survives_in_what_the_commands_say(planted: Planted, site: tuple[Path, bytes]) -> None:
    _, said = site
    assert found(planted, said) == {}
    assert b"Traceback" not in said


def test_no_canary_survives_in_any_file_of_the_home(planted: Planted, site: tuple[Path, bytes]) -> None:
    home, _ = site
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        assert found(planted, path.name.encode() + path.read_bytes()) == {}, path.name


def test_no_canary_survives_in_an_example_once_it_is_opened(
    planted: Planted, site: tuple[Path, bytes]
) -> None:
    home, _ = site
    with Catalog.open(home) as catalog:
        for example_id in _all(catalog):
            example = catalog.load(example_id)
            assert example.labels_HW is not None
            assert found(planted, example.image_HW.tobytes() + example.labels_HW.tobytes()) == {}


def test_burned_in_text_is_gone_and_changes_no_pixel_of_the_breast(
    planted: Planted, site: tuple[Path, bytes], tmp_path: Path
) -> None:
    home, _ = site
    run(tmp_path / "clean", "data", "add", str(planted.clean))
    pictures = []
    for each in (home, tmp_path / "clean"):
        with Catalog.open(each) as catalog:
            pictures.append({catalog.load(one).image_HW.tobytes() for one in _all(catalog)})
    assert len(pictures[0]) == 6
    assert pictures[0] == pictures[1]


def test_no_canary_survives_in_the_log_at_its_most_talkative(
    planted: Planted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from client.intake.importer import Importer

    with caplog.at_level(logging.DEBUG), Catalog.open(tmp_path) as catalog:
        importer = Importer(catalog=catalog, actor="local:test")
        report = importer.bring_in(planted.folder)
    said = caplog.text + repr(report) + "".join(repr(refusal) for refusal in report.refusals)
    assert found(planted, said.encode()) == {}


def _all(catalog: Catalog) -> list[str]:
    from client.catalog import Part

    return [example_id for part in Part for example_id in catalog.examples(part)]
