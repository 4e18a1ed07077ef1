"""From images without masks to masks of a reader: `data presegment`, a correction, `data masks add`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread

from bench.published_model import join, publish
from client import cli
from client.annotation.dicom_seg import draw_seg
from client.annotation.labelme import draw_labelme
from client.catalog import Catalog
from client.imaging.example import Label
from client.intake.dicom_file import read_mammogram
from client.intake.masks import open_masks
from deploy.demo.phantoms import HOLOGIC, write_hospital
from shared.model import Weights
from shared.trust.keys import SigningKey

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two women in both views; what a reader would draw lies apart from them."""
    folder = tmp_path_factory.mktemp("hospital")
    list(write_hospital(folder, vendor=HOLOGIC, patients=2, seed=3, density_mix={"c": 1.0}, spacing_mm=0.5))
    shutil.move(folder / "masks", drawn_by_reader(folder))
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command of `mammofed-site data` at a site that has joined; its JSON."""
    key = SigningKey.generate()
    home = join(tmp_path / "home", key)
    publish(tmp_path / "model", key, sees_breast_and_dense_everywhere)

    def invoke(*words: object) -> Any:
        argv = ["mammofed-site", "data", *map(str, words), "--home", str(home.folder), "--json"]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    return invoke


def sees_breast_and_dense_everywhere(weights: Weights) -> Weights:
    sure = {
        "segmenter.breast_decoder.head.bias": torch.tensor([-1000.0, 1000.0, -1000.0]),
        "segmenter.dense_decoder.head.bias": torch.tensor([1000.0]),
    }
    assert sure.keys() <= weights.keys()
    return weights | sure


def drawn_by_reader(images: Path) -> Path:
    return images.with_name(f"{images.name}-reader")


def image_of(images: Path, key: str) -> Path:
    for image in (images / "images").iterdir():
        if dcmread(image, stop_before_pixels=True).SOPInstanceUID == key:
            return image
    raise AssertionError(key)


def correct(draft: Path, images: Path) -> None:
    """What a reader's tools leave in the place of a draft."""
    image = image_of(images, draft.stem)
    labels_HW = open_masks(drawn_by_reader(images))[draft.stem].read(read_mammogram(image).pixels_HW.shape)
    if draft.suffix == ".json":
        draft.write_bytes(draw_labelme(labels_HW, f"{draft.stem}.png", "nobody"))
        return
    draft.write_bytes(draw_seg(image, labels_HW, "nobody"))
    dataset = dcmread(draft)
    dataset.ContentLabel = "SEGMENTATION"
    for segment in dataset.SegmentSequence:
        segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
    dataset.save_as(draft)


@pytest.mark.parametrize(("form", "ending"), [("seg", "dcm"), ("labelme", "json")])
def test_drafts_of_a_model_come_back_as_masks_of_a_reader(
    run: Run, images: Path, tmp_path: Path, form: str, ending: str
) -> None:
    assert run("add", images)["labelled"] == 0
    drafts = tmp_path / "drafts"
    drafted = run("presegment", images, "--model", tmp_path / "model", "--output", drafts, "--form", form)
    assert (drafted["written"], drafted["not_used"]) == (4, [])
    for draft in drafts.glob(f"*.{ending}"):
        correct(draft, images)
    added = run("masks", "add", drafts, "--annotator", "AB", "--date", "2026-01-02")
    assert (added["added"], added["unmatched"], added["not_used"]) == (4, 0, [])
    with Catalog.open(tmp_path / "home") as catalog:
        assert catalog.counts().labelled == 4
    again = run("presegment", images, "--model", tmp_path / "model", "--output", tmp_path / "more")
    assert (again["written"], again["masked"]) == (0, 4)


def test_a_corrected_draft_is_what_is_trained_on(run: Run, images: Path, tmp_path: Path) -> None:
    run("add", images)
    drafts = tmp_path / "drafts"
    run("presegment", images, "--model", tmp_path / "model", "--output", drafts, "--form", "labelme")
    for draft in drafts.glob("*.json"):
        correct(draft, images)
        document = json.loads(draft.read_text())
        document["shapes"] = [one for one in document["shapes"] if one["label"] != "dense"]
        document["flags"]["no dense"] = True  # the reader ticks LabelMe's box
        draft.write_text(json.dumps(document))
    assert run("masks", "add", drafts, "--annotator", "AB")["added"] == 4
    with Catalog.open(tmp_path / "home") as catalog:
        for part in catalog.counts().by_part:
            for example_id in catalog.examples(part):
                labels_HW = catalog.load(example_id).labels_HW
                assert labels_HW is not None
                assert (labels_HW == Label.ADIPOSE).any()
                assert not (labels_HW == Label.DENSE).any()


def test_a_picture_of_a_research_archive_is_drafted_and_matched_by_its_digest(
    run: Run, images: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    (archive / "a").mkdir(parents=True)
    (archive / "b").mkdir()
    drawn = {}
    for name, image in zip(("a/1.png", "b/1.png"), sorted((images / "images").iterdir()), strict=False):
        grey_HW = read_mammogram(image).pixels_HW
        Image.fromarray((grey_HW / grey_HW.max() * 65535).astype(np.uint16)).save(archive / name)
        key = hashlib.sha256((archive / name).read_bytes()).hexdigest()
        uid = str(dcmread(image, stop_before_pixels=True).SOPInstanceUID)
        drawn[key] = open_masks(drawn_by_reader(images))[uid].read(grey_HW.shape)
    (archive / "index.csv").write_text("image,label\na/1.png,\nb/1.png,\n")
    assert run("add", archive)["added"] == 2
    drafts = tmp_path / "drafts"
    options = ("--model", tmp_path / "model", "--output", drafts, "--form", "labelme")
    assert run("presegment", archive, *options)["written"] == 2
    assert run("presegment", archive, *options)["already_there"] == 2
    for draft in drafts.glob("*.json"):
        draft.write_bytes(draw_labelme(drawn[draft.stem], f"{draft.stem}.png", "nobody"))
    assert run("masks", "add", drafts, "--annotator", "AB")["added"] == 2
