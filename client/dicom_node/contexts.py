"""What may be received: the SOP classes and transfer syntaxes of mammograms and their masks."""

from __future__ import annotations

from pydicom.uid import (
    JPEG2000,
    UID,
    BreastTomosynthesisImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import PresentationContext, build_context

STORAGE_CLASSES: tuple[UID, ...] = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

TRANSFER_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000,
    JPEGLSNearLossless,
    JPEGExtended12Bit,
    JPEGBaseline8Bit,
)
"""Lossless before lossy: where a peer can convert, it is asked for what loses nothing."""


def separate_contexts() -> list[PresentationContext]:
    """One presentation context for each class in each syntax, so that the archive need not convert.

    Of several syntaxes in one context the archive must choose one for all instances (PS3.8 9.3.3.2); with one
    each, it can send every instance as it is stored.
    """
    return [build_context(storage, syntax) for storage in STORAGE_CLASSES for syntax in TRANSFER_SYNTAXES]
