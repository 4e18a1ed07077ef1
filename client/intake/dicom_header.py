"""Reading a mammogram's facts out of a DICOM data set.

Where the standard gives several places for one fact they are asked in this order:

- view: View Code Sequence, View Position, then a Patient Orientation that holds the view itself, as CBIS-DDSM
  writes it;
- laterality: Image Laterality, then Laterality;
- spacing: Imager Pixel Spacing, then Nominal Scanned Pixel Spacing; never Pixel Spacing, which is calibrated
  for display on many units.
"""

from __future__ import annotations

import re
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000, JPEG2000MC, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from client.imaging.mammogram import Laterality, Side, Spacing
from client.intake.header import Header, SopClass
from client.intake.patients import patient_of

# Codes of CID 4014 and 4015 in SNOMED CT and its older form SRT.
VIEW_CODES = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
    "399192008": "XCCL",
    "R-1024A": "XCCL",
    "Y-X1770": "XCCL",
    "399101009": "XCCM",
    "R-1024B": "XCCM",
    "127457009": "SPECIMEN",
}
SPOT_CODES = frozenset({"399055006", "R-102D7"})
MAGNIFICATION_CODES = frozenset({"399163009", "R-102D6"})
IMPLANT_DISPLACED_CODES = frozenset({"399209000", "R-102D5"})
PARTIAL_CODES = frozenset(
    {
        *("399011000", "R-102D1"),  # axillary tail
        "442580003",  # axillary tissue
        *("399161006", "R-102D2"),  # cleavage
        "442593008",  # infra-mammary fold
        "399110001",  # tangential
    }
)
BIOPSY_WORDS = re.compile(r"BIOPS|NEEDLE|STEREOTA|LOCALI[SZ]|WIRE", re.IGNORECASE)
SPECIMEN_WORDS = re.compile(r"SPECIMEN", re.IGNORECASE)
SYNTHETIC_2D = frozenset({"GENERATED_2D", "TOMO_2D"})
"""Values of Image Type."""
LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
"""Always lossy; JPEG 2000 may be either and says so in Lossy Image Compression."""
MAYBE_LOSSY_SYNTAXES = frozenset({JPEG2000, JPEG2000MC})
PLAUSIBLE_SPACING_MM = (0.01, 1.0)
PLAUSIBLE_YEARS = (1980, 2100)
PLAUSIBLE_MAGNIFICATION = (1.0, 3.0)

# What the catalog may keep of a manufacturer: a header's own text could hold anything.
MANUFACTURERS = {
    "HOLOGIC": "hologic",
    "LORAD": "hologic",
    "GE ": "ge",
    "GE": "ge",
    "GENERAL ELECTRIC": "ge",
    "SIEMENS": "siemens",
    "FUJI": "fujifilm",
    "PHILIPS": "philips",
    "SECTRA": "philips",
    "KODAK": "carestream",
    "CARESTREAM": "carestream",
    "AGFA": "agfa",
    "KONICA": "konica minolta",
    "PLANMED": "planmed",
    "IMS": "ims giotto",
    "GIOTTO": "ims giotto",
    "METALTRONICA": "metaltronica",
}


def parse_header(dataset: Dataset, has_pixels: bool) -> Header:
    """Collect the facts; anything malformed counts as absent."""
    view_codes = _codes(dataset, "ViewCodeSequence")
    modifiers = _modifiers(dataset)
    description = " ".join(_text(dataset, word) for word in ("StudyDescription", "SeriesDescription"))
    view = _view(dataset, view_codes)
    laterality = _laterality(dataset)
    magnification = _number(dataset, "EstimatedRadiographicMagnificationFactor", PLAUSIBLE_MAGNIFICATION)
    return Header(
        patient_id=_patient_id(dataset),
        instance_uid=_text(dataset, "SOPInstanceUID"),
        sop_class=_sop_class(dataset),
        modality=_text(dataset, "Modality").upper(),
        rows=_integer(dataset, "Rows") or 0,
        columns=_integer(dataset, "Columns") or 0,
        num_frames=_integer(dataset, "NumberOfFrames") or 1,
        synthetic=not SYNTHETIC_2D.isdisjoint(_texts(dataset, "ImageType")),
        has_pixels=has_pixels,
        view=view,
        laterality=laterality,
        chest_wall=_chest_wall(dataset, laterality),
        spacing=_spacing(dataset, magnification or 1.0),
        magnification=magnification,
        manufacturer=_manufacturer(dataset),
        year=_year(dataset),
        implant=_text(dataset, "BreastImplantPresent").upper() == "YES",
        implant_displaced=bool(modifiers & IMPLANT_DISPLACED_CODES) or (view or "").endswith("ID"),
        spot=bool(modifiers & SPOT_CODES),
        magnified=bool(modifiers & MAGNIFICATION_CODES),
        partial=bool(modifiers & PARTIAL_CODES) or _text(dataset, "PartialView").upper() == "YES",
        biopsy=BIOPSY_WORDS.search(description) is not None,
        specimen=view == "SPECIMEN" or SPECIMEN_WORDS.search(description) is not None,
        lossy=_lossy(dataset),
    )


def _patient_id(dataset: Dataset) -> str:
    """The patient, or without one the study, or the image: never two patients under one identifier."""
    identifier = patient_of(_text(dataset, "PatientID"))
    return identifier or _text(dataset, "StudyInstanceUID") or _text(dataset, "SOPInstanceUID")


def _sop_class(dataset: Dataset) -> SopClass:
    try:
        return SopClass(_text(dataset, "SOPClassUID"))
    except ValueError:
        return SopClass.OTHER


def _view(dataset: Dataset, codes: frozenset[str]) -> str | None:
    for code in sorted(codes):
        if code in VIEW_CODES:
            return VIEW_CODES[code]
    position = _text(dataset, "ViewPosition").upper()
    if position:
        return position
    orientation = _texts(dataset, "PatientOrientation")
    return orientation[0] if len(orientation) == 1 and orientation[0] in {"CC", "MLO"} else None


def _laterality(dataset: Dataset) -> Laterality | None:
    for keyword in ("ImageLaterality", "Laterality"):
        value = _text(dataset, keyword).upper()
        if value in set(Laterality):
            return Laterality(value)
    return None


def _chest_wall(dataset: Dataset, laterality: Laterality | None) -> Side | None:
    """PS3.3 C.7.6.1.1.1: the first value is the direction of increasing columns, A away from the chest."""
    orientation = _texts(dataset, "PatientOrientation")
    if len(orientation) == 2 and orientation[0][:1] in {"A", "P"}:
        return Side.LEFT if orientation[0].startswith("A") else Side.RIGHT
    if laterality is None:
        return None
    return Side.LEFT if laterality is Laterality.LEFT else Side.RIGHT


def _spacing(dataset: Dataset, magnification: float) -> Spacing | None:
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = [_as_number(text, PLAUSIBLE_SPACING_MM) for text in _texts(dataset, keyword)]
        if len(values) == 2 and values[0] is not None and values[1] is not None:
            return Spacing(row_mm=values[0] / magnification, column_mm=values[1] / magnification)
    return None


def _manufacturer(dataset: Dataset) -> str | None:
    text = _text(dataset, "Manufacturer").upper()
    if not text:
        return None
    known = (name for prefix, name in MANUFACTURERS.items() if text == prefix or text.startswith(prefix))
    return next(known, "other")


def _year(dataset: Dataset) -> int | None:
    for keyword in ("AcquisitionDate", "StudyDate"):
        text = _text(dataset, keyword)[:4]
        if text.isascii() and text.isdigit() and PLAUSIBLE_YEARS[0] <= int(text) <= PLAUSIBLE_YEARS[1]:
            return int(text)
    return None


def _lossy(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    flag = _text(dataset, "LossyImageCompression")
    return flag == "01" or syntax in LOSSY_SYNTAXES or (syntax in MAYBE_LOSSY_SYNTAXES and flag != "00")


def _modifiers(dataset: Dataset) -> frozenset[str]:
    """View modifiers lie inside the items of the View Code Sequence (PS3.3 C.8.11.7)."""
    found = set(_codes(dataset, "ViewModifierCodeSequence"))
    for item in _items(dataset, "ViewCodeSequence"):
        found |= _codes(item, "ViewModifierCodeSequence")
    return frozenset(found)


def _codes(dataset: Dataset, keyword: str) -> frozenset[str]:
    return frozenset(_text(item, "CodeValue") for item in _items(dataset, keyword)) - {""}


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = dataset.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def _text(dataset: Dataset, keyword: str) -> str:
    texts = _texts(dataset, keyword)
    return texts[0] if texts else ""


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    value: Any = dataset.get(keyword)
    if value is None or isinstance(value, bytes | Sequence):
        return []
    values = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return [text for text in (str(single).strip() for single in values) if text]


def _integer(dataset: Dataset, keyword: str) -> int | None:
    text = _text(dataset, keyword)
    return int(text) if text.isascii() and text.isdigit() else None


def _number(dataset: Dataset, keyword: str, plausible: tuple[float, float]) -> float | None:
    return _as_number(_text(dataset, keyword), plausible)


def _as_number(text: str, plausible: tuple[float, float]) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if plausible[0] <= number <= plausible[1] else None
