"""DICOM Segmentation objects, binary or fractional, of one image or of several (PS3.3 A.51, C.8.20).

A frame belongs to the image that its Derivation Image Sequence names, in its own functional groups or in the
shared ones; where no frame names one, to the only image that the object references. A class is told by the
segment's label, or else by the code of its property type or by that code's meaning. A segment that is
declared and has no frame for an image is empty there: writers leave empty frames out.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless, SegmentationStorage

from client.imaging.breast_mask import Mask
from client.intake.decoding import coded_size
from client.intake.dicom_file import is_dicom
from client.intake.exclusions import Reason, refusal
from client.intake.masks.drawing import Drawing
from client.intake.masks.layers import CODES, Layer, Regions, known_layer, layer_named
from client.intake.masks.mask_file import MaskFile, check_size, malformed
from client.intake.recognition import HEAD_SIZE_BYTES, open_regular
from shared.errors import IntakeError

FORM = "DICOM SEG"
KIND = "seg"
DRAFT_LABEL = "DRAFT"
MAX_BYTES = 1 << 30
MAX_DEFLATED_BYTES = 1 << 20
"""Deflating shrinks a file by a factor of 1,032 at most."""


KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ContentLabel",
    "ReferencedSeriesSequence",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SegmentationType",
    "SegmentSequence",
    "MaximumFractionalValue",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PixelData",
)
"""All that is read: nothing else of the patient comes into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationObject:
    """What an object's header says. Identifiers are left out of its printed form.

    Attributes
    ----------
    instance_uid
        The object's own SOP Instance UID.
    masks
        One for every image that it has a frame for.
    """

    instance_uid: str = field(repr=False)
    masks: tuple[MaskFile, ...]


@dataclass(frozen=True, slots=True)
class SegmentationFrames:
    """The frames of one image in a Segmentation object."""

    path: Path
    image_uid: str

    def __call__(self, shape: tuple[int, int]) -> Regions:
        with _guarded():
            dataset = _read(self.path, with_pixels=True)
            check_size((int(dataset.Rows), int(dataset.Columns)), shape)  # 1.
            layers = {int(segment.SegmentNumber): _layer(segment) for segment in dataset.SegmentSequence}
            drawing = Drawing(shape, FORM)
            for layer in layers.values():
                drawing.declare(layer)
            for number, (image_uid, frame) in enumerate(_frames(dataset)):
                if image_uid == self.image_uid:
                    layer = layers[_segment_number(dataset, frame)]
                    drawing.add_region(layer, _region(dataset, number))
            return drawing.regions()


def read_segmentation(path: Path) -> SegmentationObject:
    """Look at an object's header.

    Raises
    ------
    IntakeError
        The file cannot be read.
    NotDicomError
        It is not DICOM.
    MaskError
        It is no Segmentation object, or damaged.
    """
    with _guarded():
        dataset = _read(path, with_pixels=False)
        keys = dict.fromkeys(image_uid for image_uid, _ in _frames(dataset))
        by_model = _drawn_by_model(dataset)
        masks = (
            MaskFile(key=key, kind=KIND, draw=SegmentationFrames(path, key), by_model=by_model)
            for key in keys
        )
        return SegmentationObject(instance_uid=str(dataset.SOPInstanceUID), masks=tuple(masks))


@contextmanager
def _guarded() -> Iterator[None]:
    """A damaged file can make pydicom raise anything: all of it means a malformed mask."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IntakeError:
        raise
    except Exception as error:
        raise malformed(FORM) from error


def _read(path: Path, *, with_pixels: bool) -> Dataset:
    if not is_dicom(path):
        raise malformed(FORM)
    try:
        with open_regular(path) as file:
            deflated = DeflatedExplicitVRLittleEndian.encode() in file.read(HEAD_SIZE_BYTES)
            file.seek(0)
            if os.fstat(file.fileno()).st_size > (MAX_DEFLATED_BYTES if deflated else MAX_BYTES):
                raise malformed(FORM)
            dataset = dcmread(file, stop_before_pixels=not with_pixels, specific_tags=list(KEYWORDS))
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error
    if dataset.SOPClassUID != SegmentationStorage:
        raise malformed(FORM)
    return dataset


def _frames(dataset: Dataset) -> list[tuple[str, Dataset]]:
    """The image's UID and the functional groups of every frame, in order."""
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    uids = [_derived_from(frame) or _derived_from(shared) for frame in groups]
    if groups and not any(uids):
        (only,) = {
            str(instance.ReferencedSOPInstanceUID)
            for series in dataset.ReferencedSeriesSequence
            for instance in series.ReferencedInstanceSequence
        }
        uids = [only] * len(groups)
    if not all(uids):
        raise malformed(FORM)
    return list(zip(uids, groups, strict=True))


def _derived_from(frame: Dataset) -> str:
    """SOP Instance UID of the one image that a frame was drawn on; empty when it does not say."""
    sources = _first(frame, "DerivationImageSequence").get("SourceImageSequence") or ()
    uids = {str(source.ReferencedSOPInstanceUID) for source in sources}
    return uids.pop() if len(uids) == 1 else ""


def _drawn_by_model(dataset: Dataset) -> bool:
    """Whether the object says that no reader has had a hand in it."""
    kinds = {str(segment.get("SegmentAlgorithmType", "")) for segment in dataset.get("SegmentSequence") or ()}
    return kinds == {"AUTOMATIC"} or str(dataset.get("ContentLabel", "")).strip().upper() == DRAFT_LABEL


def _segment_number(dataset: Dataset, frame: Dataset) -> int:
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    own = "SegmentIdentificationSequence" in frame
    return int(_first(frame if own else shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _layer(segment: Dataset) -> Layer:
    code = _first(segment, "SegmentedPropertyTypeCodeSequence")
    coded = CODES.get((str(code.get("CodingSchemeDesignator", "")), str(code.get("CodeValue", ""))))
    return known_layer(
        layer_named(str(segment.get("SegmentLabel", "")))
        or coded
        or layer_named(str(code.get("CodeMeaning", "")))
    )  # 2.


def _region(dataset: Dataset, number: int) -> Mask:
    """The pixels of a frame, numbered from 0, that belong to its segment."""
    _check_coded_size(dataset, number)
    kind = str(dataset.SegmentationType)
    if kind == "BINARY":
        return _bits(dataset, number) > 0
    if kind == "FRACTIONAL":
        frame_HW: npt.NDArray[Any] = pixel_array(dataset, index=number, raw=True)
        inside_HW: Mask = 2 * frame_HW.astype(np.int64) >= int(dataset.MaximumFractionalValue)
        return inside_HW
    raise malformed(FORM)


def _check_coded_size(dataset: Dataset, number: int) -> None:
    """A decoder allocates what the coded frame asks for, so that must be what the header says."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLELossless:
        frame = get_frame(dataset.PixelData, number, number_of_frames=int(dataset.NumberOfFrames))
        if coded_size(frame, syntax) != (int(dataset.Rows), int(dataset.Columns)):
            raise malformed(FORM)


def _bits(dataset: Dataset, number: int) -> npt.NDArray[Any]:
    """A frame of single bits, packed without a gap between frames (PS3.5 8.1.1)."""
    if dataset.BitsAllocated != 1 or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return np.asarray(pixel_array(dataset, index=number, raw=True))
    height, width = int(dataset.Rows), int(dataset.Columns)
    first, end = number * height * width, (number + 1) * height * width
    packed = np.frombuffer(dataset.PixelData, np.uint8)[first // 8 : -(-end // 8)]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :][: height * width]
    return bits.reshape(height, width)


def _first(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty data set without one."""
    items = dataset.get(keyword)
    return items[0] if items else Dataset()
