"""What a DICOM header says about a mammogram, free of DICOM's many ways of saying it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from client.imaging.mammogram import Laterality, Side, Spacing


class SopClass(StrEnum):
    """Kinds of DICOM object that the intake tells apart (PS3.4 B.5)."""

    FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
    FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
    TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
    SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
    OTHER = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Facts of one file's header. Identifiers are left out of its printed form.

    Attributes
    ----------
    patient_id
        The hospital's own identifier; only for pseudonyms and the order of the split, never stored.
    instance_uid
        SOP Instance UID; likewise.
    synthetic
        A vendor's 2D view, computed from a tomosynthesis.
    view
        Upper-case view position ("CC", "MLO", "XCCL", ...); None when the file does not say.
    chest_wall
        Edge of the picture that the orientation, or else the laterality, implies.
    spacing
        In the plane of the breast: detector spacing divided by the radiographic magnification.
    magnification
        Estimated radiographic magnification factor.
    year
        Of the acquisition, or else of the study.
    """

    patient_id: str = field(repr=False)
    instance_uid: str = field(repr=False)
    sop_class: SopClass
    modality: str
    rows: int
    columns: int
    num_frames: int
    synthetic: bool
    has_pixels: bool
    view: str | None
    laterality: Laterality | None
    chest_wall: Side | None
    spacing: Spacing | None
    magnification: float | None
    manufacturer: str | None
    year: int | None
    implant: bool
    implant_displaced: bool
    spot: bool
    magnified: bool
    partial: bool
    biopsy: bool
    specimen: bool
    lossy: bool
