"""The door for pydicom: one file to header facts, and to a `Mammogram`.

Pixels take the standard's path, in this order:

1. decode; where pydicom has no decoder (12-bit JPEG Extended, JPEG Lossless, JPEG-LS), imagecodecs;
2. note padding (Pixel Padding Value, with its range limit);
3. modality transformation;
4. VOI: the first VOI LUT, else the first window with its function (PS3.3 C.11.2);
5. invert once if the photometric interpretation is MONOCHROME1 or else the presentation LUT is INVERSE
   (PS3.3 C.11.6), never for both;
6. padding becomes the darkest value.

pydicom names values of the file in its warnings and log lines, so both are silenced.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from client.imaging.mammogram import Mammogram, View
from client.intake.dicom_header import parse_header
from client.intake.exclusions import Reason, refusal
from client.intake.header import Header
from shared.errors import IntakeError, NotDicomError

logging.getLogger("pydicom").disabled = True
config.settings.reading_validation_mode = config.IGNORE

PREAMBLE_SIZE = 128
MAGIC = b"DICM"
MAX_PIXELS = 100_000_000
"""Largest image that is decoded; the largest detectors have about 30 million pixels."""
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

JPEG_END = b"\xff\xd9"
"""Without it the codec fills the missing rows with grey and says nothing."""

FALLBACK_DECODERS: dict[str, Callable[[bytes], npt.NDArray[Any]]] = {
    JPEGExtended12Bit: imagecodecs.jpeg_decode,
    JPEGLossless: imagecodecs.ljpeg_decode,
    JPEGLosslessSV1: imagecodecs.ljpeg_decode,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEGLSNearLossless: imagecodecs.jpegls_decode,
}


def is_dicom(path: Path) -> bool:
    """Whether the file begins as a DICOM file does, whatever its name (PS3.10 7.1).

    Raises
    ------
    IntakeError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE_SIZE + len(MAGIC))[PREAMBLE_SIZE:] == MAGIC
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def read_header(path: Path) -> Header:
    """Read the header only, whatever the size of the pixels behind it.

    Raises
    ------
    IntakeError
        The file cannot be read.
    NotDicomError
        It is not DICOM.
    UndecodableError
        It is DICOM, but damaged.
    """
    dataset, has_pixels = _read(path, with_pixels=False)
    with _guarded():
        return parse_header(dataset, has_pixels)


def read_mammogram(path: Path) -> Mammogram:
    """Read and decode a file whose header has been judged.

    Raises
    ------
    IntakeError
        The file cannot be read.
    NotDicomError
        It is not DICOM.
    UndecodableError
        Its pixels are missing, incomplete, damaged or coded in an unknown way.
    """
    dataset, has_pixels = _read(path, with_pixels=True)
    if not has_pixels:
        raise refusal(Reason.UNDECODABLE)
    with _guarded():
        header = parse_header(dataset, has_pixels)
        if not 0 < header.rows * header.columns <= MAX_PIXELS:
            raise refusal(Reason.UNDECODABLE)
        return Mammogram(
            pixels_HW=_presented(dataset, _decode(dataset, header)),
            spacing=header.spacing,
            laterality=header.laterality,
            view=View(header.view) if header.view in set(View) else None,
            chest_wall=header.chest_wall,
            manufacturer=header.manufacturer,
        )


def _read(path: Path, *, with_pixels: bool) -> tuple[Dataset, bool]:
    if not is_dicom(path):
        raise NotDicomError(
            "The file is not a DICOM file.", "Give a mammogram exported as DICOM (For Presentation)."
        )
    try:
        with path.open("rb") as file, _guarded():
            if with_pixels:
                dataset = dcmread(file)
                return dataset, any(keyword in dataset for keyword in PIXEL_KEYWORDS)
            dataset = dcmread(file, stop_before_pixels=True)
            # pydicom stops in front of the pixels' tag: what is left of the file are the pixels. A deflated
            # file has been inflated whole.
            deflated = dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
            return dataset, bool(file.read(1)) or deflated
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


@contextmanager
def _guarded() -> Iterator[None]:
    """A damaged file can make pydicom and the decoders raise anything: all of it means undecodable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IntakeError:
        raise
    except Exception as error:
        raise refusal(Reason.UNDECODABLE) from error


def _decode(dataset: Dataset, header: Header) -> npt.NDArray[Any]:
    # 1.
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in FALLBACK_DECODERS:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        if syntax == JPEGExtended12Bit and JPEG_END not in frame[-4:]:
            raise refusal(Reason.UNDECODABLE)
        raw_HW: npt.NDArray[Any] = np.asarray(FALLBACK_DECODERS[syntax](frame))
    else:
        raw_HW = dataset.pixel_array
    if raw_HW.shape != (header.rows, header.columns) or raw_HW.dtype.kind not in "iu":
        raise refusal(Reason.UNDECODABLE)
    return raw_HW


def _presented(dataset: Dataset, raw_HW: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    padding_HW = _padding(dataset, raw_HW)  # 2.
    values_HW = raw_HW
    if (dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)) != (1, 0):
        values_HW = apply_modality_lut(raw_HW, dataset)  # 3.
    values_HW = apply_voi_lut(values_HW, dataset, index=0, prefer_lut=True)  # 4.
    pixels_HW = values_HW.astype(np.float32)
    if not np.isfinite(pixels_HW).all():
        raise refusal(Reason.UNDECODABLE)
    if _inverted(dataset):
        pixels_HW = pixels_HW.max() - pixels_HW  # 5.
    if padding_HW is not None and not padding_HW.all():
        pixels_HW[padding_HW] = pixels_HW[~padding_HW].min()  # 6.
    return pixels_HW


def _padding(dataset: Dataset, raw_HW: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    if not isinstance(limit, int):
        limit = value
    padding: npt.NDArray[np.bool_] = (raw_HW >= min(value, limit)) & (raw_HW <= max(value, limit))
    return padding


def _inverted(dataset: Dataset) -> bool:
    if str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        return True
    return str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
