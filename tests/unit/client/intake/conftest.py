"""DICOM mammograms made for the tests, every attribute and the pixels' coding at will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

MakeDicom = Callable[..., Path]
HEIGHT, WIDTH = 512, 320
SPACING_MM = 0.4


def draw_breast() -> npt.NDArray[np.uint16]:
    """12-bit stored values: tissue from 1000 to 3000 at the left, background 100."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    breast_HW = ((y - 256) / 200) ** 2 + (x / 220) ** 2 < 1
    texture_HW = 1000 + 8 * x + 200 * np.sin(y / 9) * np.cos(x / 7)
    return np.where(breast_HW, texture_HW, 100).astype(np.uint16)


def make_dataset(**attributes: object) -> FileDataset:
    """A valid left CC mammogram; an attribute of None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    values: dict[str, object] = {
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "Modality": "MG",
        "PatientID": "PID-1",
        "PatientName": "DOE^JANE",
        "Manufacturer": "HOLOGIC, Inc.",
        "ImageLaterality": "L",
        "ViewPosition": "CC",
        "ImagerPixelSpacing": [SPACING_MM, SPACING_MM],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": HEIGHT,
        "Columns": WIDTH,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": draw_breast().tobytes(),
        **attributes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.3")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@pytest.fixture
def make_dicom(tmp_path: Path) -> MakeDicom:
    """Write a mammogram; `frame` and `syntax` give it a compressed frame instead of native pixels."""

    def make(
        name: str = "image.dcm", frame: bytes | None = None, syntax: UID | None = None, **attributes: object
    ) -> Path:
        dataset = make_dataset(**attributes)
        if syntax is not None:
            dataset.file_meta.TransferSyntaxUID = syntax
        if frame is not None:
            dataset.PixelData = encapsulate([frame])
            dataset["PixelData"].is_undefined_length = True
            dataset["PixelData"].VR = "OB"
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make
