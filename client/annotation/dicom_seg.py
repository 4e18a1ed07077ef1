"""A label map as a DICOM Segmentation (PS3.3 A.51) of its image, as 3D Slicer, OHIF and PACS open it.

The object belongs to the patient of its image and names her, as the standard demands: it is for the
hospital's own stations and never leaves.

Segments, each as large as its class and drawn in this order: 1 the breast without the pectoral muscle, dense
tissue included; 2 dense tissue; 3 the pectoral muscle. A segment without a pixel is there all the same, so
that a reader can fill it.

highdicom and pydicom name values of the file in warnings and log lines, so both are silenced.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from highdicom import UID, AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from client.imaging.example import Label
from client.imaging.overlay import BREAST, DENSE, PECTORAL, Colour
from shared.errors import UndecodableError

logging.getLogger("highdicom").propagate = False

PRODUCT = "mammofed"
# No context group of the standard has a property type for dense tissue.
DENSE_TISSUE = Code("DENSE", "99MAMMOFED", "Fibroglandular tissue")
SEGMENTS: tuple[tuple[str, Code, Code, Colour, tuple[Label, ...]], ...] = (
    ("breast", codes.SCT.AnatomicalStructure, codes.SCT.Breast, BREAST, (Label.ADIPOSE, Label.DENSE)),
    ("dense", codes.SCT.Tissue, DENSE_TISSUE, DENSE, (Label.DENSE,)),
    (
        "pectoral",
        codes.SCT.AnatomicalStructure,
        codes.DCM.PectoralMuscleOutline,
        PECTORAL,
        (Label.PECTORAL,),
    ),
)
"""Label, category, type, colour and classes of each segment."""

# What highdicom copies although an image may lack it; empty is allowed for each (type 2).
MAY_BE_EMPTY = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegTerms:
    """What a segmentation says of itself.

    Attributes
    ----------
    serial_number, algorithm_version
        At most 64 characters each.
    series_number, instance_number
        Within the study, and within the series.
    """

    content_label: str
    description: str
    algorithm_version: str
    serial_number: str
    series_description: str | None = None
    series_uid: str = field(default_factory=UID, repr=False)
    sop_uid: str = field(default_factory=UID, repr=False)
    series_number: int = 1
    instance_number: int = 1


def draw_seg(image: Path, labels_HW: npt.NDArray[np.uint8], model_id: str) -> bytes:
    """The label map of a DICOM image as a draft for a reader; nothing is written to the disk.

    Parameters
    ----------
    image
        The DICOM file that the label map is of.
    labels_HW
        uint8 `Label` per pixel of the file.
    model_id
        The model that drew it, noted as the version of the algorithm.

    Raises
    ------
    UndecodableError
        The image's header lacks or garbles what a segmentation must repeat.
    """
    terms = SegTerms(
        content_label="DRAFT",
        description="Drawn by a model, to be corrected by a reader",
        algorithm_version=model_id,
        serial_number=model_id,
    )
    return draw_segmentation(read_source(image), labels_HW, terms)


def read_source(image: Path) -> Dataset:
    """The header of an image, completed so that results can repeat it. Raises UndecodableError."""
    with writing():
        source = dcmread(image, stop_before_pixels=True)
        for keyword in MAY_BE_EMPTY:
            if keyword not in source:
                setattr(source, keyword, "")
        return source


def draw_segmentation(source: Dataset, labels_HW: npt.NDArray[np.uint8], terms: SegTerms) -> bytes:
    """A label map of an image, of which `read_source` has the header, as a Part 10 file.

    Raises
    ------
    UndecodableError
        The header garbles what a segmentation must repeat.
    """
    with writing():
        buffer = io.BytesIO()
        _segmentation(source, labels_HW, terms).save_as(buffer)
        return buffer.getvalue()


@contextlib.contextmanager
def writing(what: str = "a DICOM segmentation") -> Iterator[None]:
    """Whatever a header that breaks the standard makes the writer raise or warn of, in one clear line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    # Such a header can make the writer raise anything.
    except Exception as error:
        raise UndecodableError(
            f"The image's header lacks or garbles what {what} must repeat.",
            "Export the image again from the PACS; a draft can be drawn for LabelMe.",
        ) from error


def _segmentation(source: Dataset, labels_HW: npt.NDArray[np.uint8], terms: SegTerms) -> Segmentation:
    algorithm = AlgorithmIdentificationSequence(
        name=PRODUCT, family=codes.cid7162.ArtificialIntelligence, version=terms.algorithm_version
    )
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=CIELabColor.from_rgb(*colour),
        )
        for number, (label, category, kind, colour, _) in enumerate(SEGMENTS, start=1)
    ]
    segments_HWS = np.stack([np.isin(labels_HW, classes) for *_, classes in SEGMENTS], axis=-1)
    segmentation = Segmentation(
        source_images=[source],
        pixel_array=segments_HWS[None].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=terms.series_uid,
        series_number=terms.series_number,
        sop_instance_uid=terms.sop_uid,
        instance_number=terms.instance_number,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=version(PRODUCT),
        device_serial_number=terms.serial_number,
        content_label=terms.content_label,
        content_description=terms.description,
        omit_empty_frames=False,
    )
    segmentation.PatientOrientation = source.get("PatientOrientation") or ""
    if terms.series_description is not None:
        segmentation.SeriesDescription = terms.series_description
    return segmentation
