"""The DICOM elements that are read, each with the reason why; nothing else of a file enters the program.

Names, private groups, overlays (60xx), icons, titles of the file meta information and every other element
stay in the file: those of known length are stepped over unread; those of undefined length, whose end cannot
be found otherwise, and those beside a listed one in a sequence or in the file meta are dropped on reading.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

IDENTITY: Mapping[str, str] = {
    "SpecificCharacterSet": "how the identifiers and words below are written",
    "PatientID": "the patient's pseudonym",
    "StudyInstanceUID": "the pseudonym where a file has no patient",
    "SOPInstanceUID": "the image's keyed hash, and the way to its mask",
}
"""Only for pseudonyms; not read with the pixels."""

WORDS: Mapping[str, str] = {
    "StudyDescription": "words that tell of a biopsy or a specimen",
    "SeriesDescription": "the same",
    "AcquisitionDate": "the year",
    "StudyDate": "the year where there is no date of acquisition",
}
"""Searched for one fact each and dropped; not read with the pixels."""

FACTS: Mapping[str, str] = {
    "SOPClassUID": "what kind of object it is",
    "ImageType": "whether a tomosynthesis object is the vendor's synthetic 2D view",
    "SharedFunctionalGroupsSequence": "where such an object keeps the next two, and its window",
    "FrameAnatomySequence": "left or right",
    "FrameLaterality": "left or right",
    "Modality": "whether a secondary capture is a mammogram",
    "Rows": "size",
    "Columns": "size",
    "NumberOfFrames": "a volume is no mammogram",
    "ViewPosition": "view",
    "ViewCodeSequence": "view, and modifiers that exclude it",
    "ViewModifierCodeSequence": "the same",
    "CodeValue": "the code inside of these two",
    "PatientOrientation": "where the chest wall is; in one archive, the view",
    "ImageLaterality": "left or right",
    "Laterality": "left or right in older files",
    "ImagerPixelSpacing": "size of a pixel at the detector",
    "NominalScannedPixelSpacing": "size of a pixel of a digitised film",
    "EstimatedRadiographicMagnificationFactor": "size of a pixel in the breast",
    "Manufacturer": "a name from a closed list",
    "BreastImplantPresent": "exclusion",
    "PartialView": "exclusion",
    "LossyImageCompression": "exclusion",
}

PIXELS: Mapping[str, str] = {
    "SamplesPerPixel": "decoding",
    "PhotometricInterpretation": "decoding, and which end of the scale is bright",
    "PlanarConfiguration": "decoding",
    "BitsAllocated": "decoding",
    "BitsStored": "decoding, and the range of a window's output",
    "PixelRepresentation": "decoding",
    "PixelPaddingValue": "what is no part of the picture",
    "PixelPaddingRangeLimit": "the same",
    "ModalityLUTSequence": "modality transformation",
    "RescaleSlope": "modality transformation",
    "RescaleIntercept": "modality transformation",
    "VOILUTSequence": "how the vendor shows it",
    "LUTDescriptor": "inside of the two sequences above",
    "LUTData": "the same",
    "WindowCenter": "how the vendor shows it",
    "WindowWidth": "how the vendor shows it",
    "VOILUTFunction": "how the vendor shows it",
    "FrameVOILUTSequence": "the window of a synthetic 2D view",
    "PixelValueTransformationSequence": "its modality transformation",
    "PresentationLUTShape": "which end of the scale is bright",
    "PixelData": "the picture",
}

SHARED_GROUPS: Mapping[str, Mapping[str, str]] = {
    "FrameAnatomySequence": {"FrameLaterality": "ImageLaterality"},
    "FrameVOILUTSequence": {one: one for one in ("WindowCenter", "WindowWidth", "VOILUTFunction")},
    "PixelValueTransformationSequence": {one: one for one in ("RescaleSlope", "RescaleIntercept")},
}
"""What objects of the multi-frame classes keep in groups (PS3.3 C.7.6.16), by a plain image's word for it."""

NATIVE_SYNTAXES: Mapping[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""By implicit value representation and little endian: how files without a preamble are written."""
HEADER_KEYWORDS = frozenset({*IDENTITY, *WORDS, *FACTS})
IMAGE_KEYWORDS = frozenset({*FACTS, *PIXELS})


def tags(keywords: frozenset[str]) -> list[int]:
    """The elements' tags, for pydicom."""
    return [int(Tag(keyword)) for keyword in sorted(keywords)]


def reduced(dataset: Dataset, keywords: frozenset[str]) -> Dataset:
    """A new data set with the elements listed, at every depth, and the transfer syntax as its file meta."""
    kept = _reduced_item(dataset, keywords)
    _lay_open(kept)
    kept.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" in dataset.file_meta:
        kept.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    else:
        kept.file_meta.TransferSyntaxUID = NATIVE_SYNTAXES[dataset.original_encoding]
    # A number's byte order may depend on it (PS3.5 A.3).
    kept.set_original_encoding(*dataset.original_encoding)
    return kept


def _lay_open(kept: Dataset) -> None:
    """Write what holds for all frames where a plain image has it, unless it says so there itself."""
    shared = _first(kept, "SharedFunctionalGroupsSequence")
    for group, names in SHARED_GROUPS.items():
        item = _first(shared, group)
        for name, plain in names.items():
            if name in item and plain not in kept:
                kept.add_new(Tag(plain), item[name].VR, item[name].value)
    kept.pop(Tag("SharedFunctionalGroupsSequence"), None)


def _first(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty data set without one."""
    items = dataset.get(keyword)
    return items[0] if isinstance(items, Sequence) and items else Dataset()


def _reduced_item(dataset: Dataset, keywords: frozenset[str]) -> Dataset:
    kept = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            element = dataset[keyword]
            if isinstance(element.value, Sequence):
                items = [_reduced_item(item, keywords) for item in element.value]
                kept.add_new(element.tag, element.VR, items)
            else:
                kept.add(element)
    return kept
