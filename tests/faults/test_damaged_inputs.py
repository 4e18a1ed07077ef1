"""Thousands of damaged inputs through the intake: each is prepared or left out with a reason.

No crash, no hang, no unbounded memory. The inputs are real files (one per transfer syntax and per form of
picture, mask and archive, an index) with bytes flipped, cut, doubled and overwritten, seeded by their number,
so that a find can be repeated. `MAMMOFED_DAMAGED_INPUTS` sets how many.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from client.annotation.dicom_seg import draw_seg
from client.annotation.labelme import draw_labelme
from client.intake.archives import unpacked
from client.intake.candidates import Candidate, Refusal
from client.intake.exclusions import IntakeRules, Reason
from client.intake.loading import Loaded, load
from client.intake.masks import read_values_table
from client.intake.sources import open_source
from client.intake.workers import Failure, Workers
from deploy.demo.phantoms import GE, WrittenImage, write_hospital
from shared.errors import IntakeError

NUM_INPUTS = int(os.environ.get("MAMMOFED_DAMAGED_INPUTS", "5000"))
BATCH = 500
MAX_SECONDS = 10.0
MAX_GROWTH_BYTES = 400 << 20
RULES = IntakeRules(accept_lossy=True, accept_secondary_capture=True, min_rows_px=1)
CLASSES = ("breast", "dense", "pectoral")
SPACING_MM = 1.0
"""Small images: what is damaged here is the form, which does not depend on their size."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The files of one undamaged image with its mask, by place in a source."""

    name: str
    files: dict[str, bytes]
    damaged: str


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> list[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    (image, *_) = write_hospital(
        folder, vendor=GE, patients=1, seed=4, density_mix={"b": 1.0}, spacing_mm=SPACING_MM
    )
    mask, table = image.mask_path.read_bytes(), (image.mask_path.parent / "values.toml").read_bytes()
    mask_name = f"masks/{image.mask_path.name}"
    made = []
    for name, syntax, encode in (
        ("plain", None, None),
        ("rle", RLELossless, None),
        ("jpeg 2000", JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="J2K")),
        ("jpeg lossless", JPEGLosslessSV1, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=14)),
        ("jpeg ls", JPEGLSLossless, imagecodecs.jpegls_encode),
        ("jpeg extended", JPEGExtended12Bit, lambda a: imagecodecs.jpeg_encode(a >> 2, bitspersample=12)),
    ):
        dataset = dcmread(image.image_path)
        pixels_HW = dataset.pixel_array
        if syntax is RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif encode is not None:
            _replace_pixels(dataset, encode(pixels_HW), syntax)
        file = folder / "one.dcm"
        dataset.save_as(file, enforce_file_format=True)
        files = {"image.dcm": file.read_bytes(), mask_name: mask, "masks/values.toml": table}
        made.append(Whole(name, files, "image.dcm"))
    made.append(Whole("mask", made[0].files, mask_name))
    picture = imagecodecs.png_encode((pixels_HW >> 6).astype(np.uint8))
    index = b"image,label,patient\nimage.png,label.png,p1\n"
    films = {"index.csv": index, "image.png": picture, "label.png": mask, "values.toml": table}
    made.append(Whole("picture", films, "image.png"))
    made.append(Whole("index", films, "index.csv"))
    made += _drawn_masks(folder / "one.dcm", image, made[0].files["image.dcm"])
    nifti = nibabel.Nifti1Image((pixels_HW >> 6).astype(np.uint8), np.eye(4)).to_bytes()
    films = {"index.csv": b"image,label\nimage,\n"}
    made.append(Whole("nifti", {**films, "image": gzip.compress(nifti)}, "image"))
    made.append(Whole("tiff", {**films, "image": imagecodecs.tiff_encode(pixels_HW)}, "image"))
    made.append(Whole("zip", {"a": _packed(made[0].files, "zip", folder)}, "a"))
    made.append(Whole("tar", {"a": _packed(made[0].files, "tar", folder)}, "a"))
    made.append(Whole("gzipped tar", {"a": _packed(made[0].files, "gztar", folder)}, "a"))
    made.append(Whole("table of values", films, "values.toml"))
    return made


def _drawn_masks(file: Path, image: WrittenImage, content: bytes) -> list[Whole]:
    """The image with a mask as a DICOM segmentation, as outlines of LabelMe, and of COCO."""
    file.write_bytes(content)
    table = read_values_table(image.mask_path.parent / "values.toml")
    with Image.open(image.mask_path) as mask:
        labels_HW = np.vectorize(lambda value: table[value].value)(np.asarray(mask)).astype(np.uint8)
    uid = dcmread(file, stop_before_pixels=True).SOPInstanceUID
    outlines = json.loads(draw_labelme(labels_HW, f"{uid}.png", "test"))
    coco = {
        "images": [
            {
                "id": 1,
                "file_name": outlines["imagePath"],
                "height": len(labels_HW),
                "width": labels_HW.shape[1],
            }
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": CLASSES.index(shape["label"]),
                "segmentation": [[value for point in shape["points"] for value in point]],
            }
            for number, shape in enumerate(outlines["shapes"])
        ],
    }
    drawn = {
        "masks/segmentation": draw_seg(file, labels_HW, "test"),
        "masks/labelme.json": json.dumps(outlines).encode(),
        "masks/coco.json": json.dumps(coco).encode(),
    }
    return [Whole(name, {"image.dcm": content, name: mask}, name) for name, mask in drawn.items()]


def _packed(files: dict[str, bytes], form: str, folder: Path) -> bytes:
    source = folder / f"for {form}"
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    return Path(shutil.make_archive(str(folder / form), form, source)).read_bytes()


def _replace_pixels(dataset: Dataset, frame: bytes, syntax: str) -> None:
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, overwrite, cut out, double or cut off; mostly in the first part, where the structure is."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        reach = len(data) if rng.random() < 0.4 else min(len(data), 2500)
        at = int(rng.integers(0, max(1, reach)))
        length = int(rng.integers(1, 64))
        match rng.integers(0, 6):
            case 0 | 1:
                data[at : at + 1] = bytes([data[at] ^ (1 << int(rng.integers(0, 8)))]) if data else b""
            case 2:
                data[at : at + length] = rng.bytes(length)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                value = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"]
                data[at : at + 4] = value[int(rng.integers(0, 4))]
    if rng.random() < 0.1:
        del data[int(rng.integers(0, len(data) + 1)) :]
    return bytes(data)


def damaged_sources(
    wholes: list[Whole], folder: Path, numbers: range, stay: ExitStack
) -> Iterator[Candidate | Refusal | Reason]:
    """What the look through each damaged source makes of it; one that is refused whole gives a reason."""
    for number in numbers:
        whole = wholes[number % len(wholes)]
        place = folder / f"{number:06}"
        for name, content in whole.files.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(
                damage(content, np.random.default_rng(number)) if name == whole.damaged else content
            )
        began = time.monotonic()
        yield from look_through(place, folder / "unpacked", stay)
        assert time.monotonic() - began < MAX_SECONDS, f"input {number} ({whole.name}) hangs the look through"


def look_through(place: Path, spool: Path, stay: ExitStack) -> Iterator[Candidate | Refusal | Reason]:
    """A folder and the archives in it; these stay unpacked for as long as the stack does."""
    try:
        source = open_source(place, RULES, quiet)
        yield from source.candidates
        yield from source.refusals
        for archive in source.archives:
            folder = stay.enter_context(unpacked(archive.path, spool, quiet))
            yield from look_through(folder, spool, stay)
    except IntakeError as error:
        assert error.message
        assert error.hint
        yield Reason.NOT_A_MAMMOGRAM  # the whole source is refused with its own message


def quiet(_done: int, _total: int) -> None:
    """Nobody is watching."""


def test_no_damaged_input_crashes_hangs_or_grows_the_intake(wholes: list[Whole], tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Workers(load, timeout_s=MAX_SECONDS) as workers:
        for first in range(0, NUM_INPUTS, BATCH):
            numbers = range(first, min(first + BATCH, NUM_INPUTS))
            with ExitStack() as stay:
                seen = list(damaged_sources(wholes, tmp_path / str(first), numbers, stay))
                pairs = list(workers.map([one for one in seen if isinstance(one, Candidate)]))
            outcomes["refused on the header"] += sum(not isinstance(one, Candidate) for one in seen)
            for candidate, outcome in pairs:
                assert outcome is not Failure.TOO_SLOW, f"position {candidate.position} hangs"
                if isinstance(outcome, Loaded):
                    assert outcome.image_HW.dtype == np.uint16
                    assert outcome.image_HW.any()
                    assert outcome.labels_HW is None or outcome.labels_HW.shape == outcome.image_HW.shape
                    outcomes["prepared"] += 1
                elif isinstance(outcome, Refusal):
                    assert outcome.message
                    assert outcome.remedy
                    outcomes[f"refused: {outcome.reason}"] += 1
                else:
                    outcomes["ended its worker"] += 1
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert growth < MAX_GROWTH_BYTES
    assert sum(outcomes.values()) >= NUM_INPUTS * 0.95  # a file that is no image any more is ignored
    assert outcomes["prepared"] > NUM_INPUTS * 0.05
    assert outcomes["ended its worker"] <= NUM_INPUTS * 0.001
