"""`mammofed-site segment` on what is unlike its model's training images: one clear line and no number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.familiarity import phantoms
from bench.outliers import CHANGES, DRAWINGS, Grey
from bench.published_model import join, publish
from client import cli
from client.home import SiteHome
from client.imaging.appearance import appearance_of
from client.imaging.mammogram import Mammogram
from client.imaging.preparation import prepare
from shared.appearance import describe
from shared.errors import UndecodableError, UnfamiliarError
from shared.reference import DensityLimits, Reference
from shared.trust.keys import SigningKey

PER_VENDOR = 40
SPACING_MM = 1.0


@pytest.fixture(scope="module")
def mammograms() -> list[Grey]:
    return [image_HW for _, image_HW in phantoms(PER_VENDOR, SPACING_MM)]


@dataclass(frozen=True)
class Site:
    """A site that has downloaded a model which knows what mammograms look like."""

    home: SiteHome
    model: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mammograms: list[Grey]) -> Site:
    folder, key = tmp_path_factory.mktemp("site"), SigningKey.generate()
    pictures = [prepare(Mammogram(pixels_HW=image_HW)).image_HW for image_HW in mammograms[1:]]
    values_NQ = np.array([appearance_of(picture_HW) for picture_HW in pictures])
    reference = Reference(
        appearance=describe(values_NQ, told=len(values_NQ)),
        density_limits=DensityLimits(lower=-4.0, upper=6.0, num_images=50),
    )
    return Site(home=join(folder / "home", key), model=publish(folder / "model", key, reference=reference))


def segment(monkeypatch: pytest.MonkeyPatch, site: Site, source: Path, *more: str) -> int:
    monkeypatch.setattr(
        "sys.argv",
        [
            *("mammofed-site", "segment", str(source), "--model", str(site.model)),
            *("--home", str(site.home.folder), *more),
        ],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def write(image_HW: Grey, file: Path) -> Path:
    low, high = image_HW.min(), image_HW.max()
    Image.fromarray(np.rint((image_HW - low) / (high - low) * 65535).astype(np.uint16)).save(file)
    return file


def drawing(kind: str) -> Callable[[list[Grey]], Grey]:
    return lambda _: DRAWINGS[kind](np.random.default_rng(3))


def changed(kind: str) -> Callable[[list[Grey]], Grey]:
    return lambda mammograms: CHANGES[kind](mammograms[0], np.random.default_rng(3))


def test_a_mammogram_like_those_of_training_is_measured_with_an_interval(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    site: Site,
    mammograms: list[Grey],
) -> None:
    code = segment(monkeypatch, site, write(mammograms[0], tmp_path / "a.png"), "--json")

    assert code == 0
    report = json.loads(capfd.readouterr().out)
    lower, upper = report["interval_percent"]
    assert lower == pytest.approx(max(0.0, report["percent_density"] - 6), abs=0.02)
    assert upper == pytest.approx(min(100.0, report["percent_density"] + 4), abs=0.02)
    assert 0 <= report["uncertainty"] <= 1


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(drawing("hand"), id="a hand"),
        pytest.param(drawing("chest"), id="a chest"),
        pytest.param(drawing("CT slice"), id="a slice of a body"),
        pytest.param(drawing("quality phantom"), id="a phantom object"),
        pytest.param(drawing("photograph"), id="a photograph without colours"),
        pytest.param(changed("implant"), id="an implant that no header tells of"),
        pytest.param(changed("negative"), id="a negative"),
    ],
)
def test_what_is_unlike_them_gets_one_line_of_reason_one_of_advice_and_no_number(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    site: Site,
    mammograms: list[Grey],
    make: Callable[[list[Grey]], Grey],
) -> None:
    overlay = tmp_path / "overlay.png"

    image = write(make(mammograms), tmp_path / "MRS-SECRET.png")
    code = segment(monkeypatch, site, image, "--overlay", str(overlay))

    printed = capfd.readouterr()
    assert code == UnfamiliarError.exit_code == 50
    assert printed.out == ""
    reason, advice = printed.err.strip().splitlines()
    assert reason.startswith("Error: ")
    assert "Density is not measured on it" in advice
    assert "SECRET" not in printed.err
    assert not overlay.exists()


def test_a_colour_photograph_is_refused_for_its_colours(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, site: Site
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8), "RGB").save(photo)

    assert segment(monkeypatch, site, photo) == UndecodableError.exit_code
    assert "The picture has colours." in capfd.readouterr().err


def test_in_a_folder_only_what_is_unlike_them_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    site: Site,
    mammograms: list[Grey],
) -> None:
    write(mammograms[0], tmp_path / "1.png")
    write(drawing("hand")(mammograms), tmp_path / "2.png")

    assert segment(monkeypatch, site, tmp_path, "--json") == 0

    told = json.loads(capfd.readouterr().out)
    assert [image["position"] for image in told["images"]] == [1]
    assert [(one["position"], one["reason"]) for one in told["not_used"]] == [(2, "unfamiliar")]


def test_flips_are_refused_for_a_model_that_never_saw_any(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    site: Site,
    mammograms: list[Grey],
) -> None:
    image = write(mammograms[0], tmp_path / "a.png")

    assert segment(monkeypatch, site, image, "--flips") == 10
    assert "not trained on images upside down" in capfd.readouterr().err
