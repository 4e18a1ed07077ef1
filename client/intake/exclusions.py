"""Why an image is not used: one reason code each, with what a person can do about it.

`reasons_against` decides on header facts alone, before anything is decoded, and in the order in which a
person would want to know: what the object is, then what it shows, then how it was stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from client.imaging.mammogram import View
from client.intake.header import Header, SopClass
from shared.errors import (
    ArchiveError,
    ExcludedError,
    IntakeError,
    MaskError,
    NotMammogramError,
    UndecodableError,
    UnfamiliarError,
)

MIN_FIELD_MM = 150.0
MIN_FIELD_ROWS_PX = 400
"""Rows and height from which a coarse picture covers a whole field."""
MAX_MAGNIFICATION = 1.3
"""Contact mammography projects a breast at 1.0 to 1.1; magnification views start at 1.5."""


class Reason(StrEnum):
    """Code of an exclusion or quarantine; stable, part of the reports."""

    NOT_A_MAMMOGRAM = "not-a-mammogram"
    NO_PIXELS = "no-pixels"
    TOMOSYNTHESIS = "tomosynthesis"
    FOR_PROCESSING = "for-processing"
    SECONDARY_CAPTURE = "secondary-capture"
    BIOPSY = "biopsy"
    SPECIMEN = "specimen"
    IMPLANT = "implant"
    SPOT = "spot"
    MAGNIFICATION = "magnification"
    IMPLANT_DISPLACED = "implant-displaced"
    PARTIAL = "partial-view"
    VIEW = "view"
    VIEW_UNKNOWN = "view-unknown"
    LATERALITY_UNKNOWN = "laterality-unknown"
    TOO_SMALL = "too-small"
    LOSSY = "lossy"
    NO_MASK = "no-mask"
    MASK = "mask"
    NO_IMAGE = "no-image"
    DRAFT = "draft"
    UNREADABLE = "unreadable"
    UNDECODABLE = "undecodable"
    ARCHIVE = "archive"
    NO_BREAST = "no-breast"
    UNFAMILIAR = "unfamiliar"
    DUPLICATE = "duplicate"
    ALTERED = "altered"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A reason in words.

    Attributes
    ----------
    message
        What is wrong, one line.
    remedy
        What to do about it, one line.
    error
        Class under which it is raised where one image is all there is.
    """

    message: str
    remedy: str
    error: type[IntakeError]


EXPLANATIONS: Mapping[Reason, Explanation] = {
    Reason.NOT_A_MAMMOGRAM: Explanation(
        message="The DICOM file is not a mammogram.",
        remedy="Give a digital mammogram (modality MG, For Presentation).",
        error=NotMammogramError,
    ),
    Reason.NO_PIXELS: Explanation(
        message="The DICOM file holds no image.",
        remedy="Export the image itself from the PACS; this is a header or a report, or was cut off.",
        error=UndecodableError,
    ),
    Reason.TOMOSYNTHESIS: Explanation(
        message="The file is a tomosynthesis volume.",
        remedy="Export the vendor's synthetic 2D view or the 2D mammogram of the same study.",
        error=ExcludedError,
    ),
    Reason.FOR_PROCESSING: Explanation(
        message="The image is raw detector data (For Processing).",
        remedy="Export the For Presentation image of the same view.",
        error=ExcludedError,
    ),
    Reason.SECONDARY_CAPTURE: Explanation(
        message="The image is a Secondary Capture, whose grey values may have been altered.",
        remedy="Use the original, or accept secondary captures explicitly when the archive has nothing else.",
        error=ExcludedError,
    ),
    Reason.BIOPSY: Explanation(
        message="The image belongs to a biopsy or localisation.",
        remedy="Use the screening or diagnostic mammogram taken before it.",
        error=ExcludedError,
    ),
    Reason.SPECIMEN: Explanation(
        message="The image shows a specimen.", remedy="Use a mammogram of the breast.", error=ExcludedError
    ),
    Reason.IMPLANT: Explanation(
        message="The breast has an implant; density is not measured on it.",
        remedy="Nothing to do: density is assessed by the reader.",
        error=ExcludedError,
    ),
    Reason.SPOT: Explanation(
        message="The image is a spot compression view, which shows a part of the breast only.",
        remedy="Use the full CC or MLO view.",
        error=ExcludedError,
    ),
    Reason.MAGNIFICATION: Explanation(
        message="The image is a magnification view, which shows a part of the breast only.",
        remedy="Use the full CC or MLO view.",
        error=ExcludedError,
    ),
    Reason.IMPLANT_DISPLACED: Explanation(
        message="The image is an implant-displaced view.",
        remedy="Nothing to do: density is assessed by the reader.",
        error=ExcludedError,
    ),
    Reason.PARTIAL: Explanation(
        message="The image shows a part of the breast only (partial view).",
        remedy="Use a view that shows the whole breast.",
        error=ExcludedError,
    ),
    Reason.VIEW: Explanation(
        message="The view is not CC or MLO.",
        remedy="Use a CC or MLO view of the same breast.",
        error=ExcludedError,
    ),
    Reason.VIEW_UNKNOWN: Explanation(
        message="The file does not say which view it shows.",
        remedy="Have the view (CC or MLO) filled in by the PACS and export again.",
        error=ExcludedError,
    ),
    Reason.LATERALITY_UNKNOWN: Explanation(
        message="The file does not say whether it shows the left or the right breast.",
        remedy="Have the laterality filled in by the PACS and export again.",
        error=ExcludedError,
    ),
    Reason.TOO_SMALL: Explanation(
        message="The image has too few rows for a full-field mammogram.",
        remedy="Export the image at full resolution, not a thumbnail.",
        error=ExcludedError,
    ),
    Reason.LOSSY: Explanation(
        message="The image has been compressed with loss.",
        remedy="Export the original, or accept lossy images explicitly.",
        error=ExcludedError,
    ),
    Reason.NO_MASK: Explanation(
        message="There is no mask for the image.",
        remedy="Add a label map named after the image's SOP Instance UID to the masks folder.",
        error=MaskError,
    ),
    Reason.MASK: Explanation(
        message="The mask does not fit the image.",
        remedy="Correct the mask and import again.",
        error=MaskError,
    ),
    Reason.NO_IMAGE: Explanation(
        message="The mask belongs to no image that is here.",
        remedy="Name it after its image's SOP Instance UID or, for a picture, the SHA-256 of its file.",
        error=MaskError,
    ),
    Reason.DRAFT: Explanation(
        message="The mask is a model's draft that no reader has corrected.",
        remedy="Correct it and bring it with `data masks add`; add --approved where nothing is to correct.",
        error=MaskError,
    ),
    Reason.UNREADABLE: Explanation(
        message="The file cannot be read.",
        remedy="Check its permissions and that the disk or network drive is there.",
        error=IntakeError,
    ),
    Reason.UNDECODABLE: Explanation(
        message="The image cannot be decoded; the file is damaged or incomplete.",
        remedy="Export it again from the PACS.",
        error=UndecodableError,
    ),
    Reason.ARCHIVE: Explanation(
        message="The archive is encrypted, or is not to be trusted.",
        remedy="Unpack it yourself if you trust it, and import the folder.",
        error=ArchiveError,
    ),
    Reason.NO_BREAST: Explanation(
        message="No breast was found in the image.",
        remedy="Check that it is a whole mammogram of one breast.",
        error=NotMammogramError,
    ),
    Reason.UNFAMILIAR: Explanation(
        message="The image is unlike those that the model was trained on.",
        remedy="Density is not measured on it: have a reader assess it.",
        error=UnfamiliarError,
    ),
    Reason.DUPLICATE: Explanation(
        message="The same mammogram is here already, from another file.",
        remedy="Nothing to do.",
        error=ExcludedError,
    ),
    Reason.ALTERED: Explanation(
        message="The image's pixels are not those that were imported under the same identifier.",
        remedy="Find out which are right; `data masks add` takes a mask drawn on those that are here.",
        error=IntakeError,
    ),
    Reason.WITHDRAWN: Explanation(
        message="The patient's images have been removed from this site.",
        remedy="Nothing to do: a withdrawal of consent holds for later imports as well.",
        error=ExcludedError,
    ),
}

QUARANTINED = frozenset(
    {
        Reason.UNREADABLE,
        Reason.UNDECODABLE,
        Reason.ARCHIVE,
        Reason.NO_BREAST,
        Reason.MASK,
        Reason.NO_PIXELS,
        Reason.ALTERED,
    }
)
"""Reasons that say something is broken and may be mended; the others are choices."""


def refusal(reason: Reason) -> IntakeError:
    """The error for an image that is refused for this reason."""
    explanation = EXPLANATIONS[reason]
    return explanation.error(explanation.message, explanation.remedy)


def reason_of(error: IntakeError) -> Reason:
    """The reason that an error stands for which was raised while an image was read or prepared."""
    return _REASONS_BY_MESSAGE.get(error.message) or _REASONS_BY_ERROR.get(type(error), Reason.UNREADABLE)


_REASONS_BY_MESSAGE: Mapping[str, Reason] = {
    explanation.message: reason for reason, explanation in EXPLANATIONS.items()
}

_REASONS_BY_ERROR: Mapping[type[IntakeError], Reason] = {
    ArchiveError: Reason.ARCHIVE,
    ExcludedError: Reason.NOT_A_MAMMOGRAM,
    MaskError: Reason.MASK,
    NotMammogramError: Reason.NO_BREAST,
    UndecodableError: Reason.UNDECODABLE,
    UnfamiliarError: Reason.UNFAMILIAR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """What a site takes for training beyond the usual, when its archive has nothing better.

    Attributes
    ----------
    accept_secondary_capture, accept_lossy
        Waive the reason of that name.
    min_rows_px
        Full-field detectors have at least 2,000 rows; fewer than this means a thumbnail or a cropped region,
        unless the spacing shows that a whole field is covered, coarsely.
    """

    accept_secondary_capture: bool = False
    accept_lossy: bool = False
    min_rows_px: int = 1000


STRICT = IntakeRules()


def reasons_against(header: Header, rules: IntakeRules = STRICT) -> list[Reason]:
    """All reasons not to use an image, weightiest first."""
    checks = {
        # What the object is.
        Reason.NOT_A_MAMMOGRAM: header.sop_class is SopClass.OTHER
        or (header.sop_class is SopClass.SECONDARY_CAPTURE and header.modality != "MG"),
        Reason.TOMOSYNTHESIS: header.num_frames > 1
        or (header.sop_class is SopClass.TOMOSYNTHESIS and not header.synthetic),
        Reason.FOR_PROCESSING: header.sop_class is SopClass.FOR_PROCESSING,
        Reason.NO_PIXELS: not header.has_pixels,
        Reason.SECONDARY_CAPTURE: header.sop_class is SopClass.SECONDARY_CAPTURE
        and not rules.accept_secondary_capture,
        # What it shows.
        Reason.BIOPSY: header.biopsy,
        Reason.SPECIMEN: header.specimen,
        Reason.IMPLANT: header.implant,
        Reason.SPOT: header.spot,
        Reason.MAGNIFICATION: header.magnified or (header.magnification or 1.0) > MAX_MAGNIFICATION,
        Reason.IMPLANT_DISPLACED: header.implant_displaced,
        Reason.PARTIAL: header.partial,
        Reason.VIEW: header.view is not None and header.view not in set(View),
        Reason.VIEW_UNKNOWN: header.view is None,
        Reason.LATERALITY_UNKNOWN: header.laterality is None,
        # How it was stored.
        Reason.TOO_SMALL: header.sop_class in {SopClass.FOR_PRESENTATION, SopClass.TOMOSYNTHESIS}
        and header.rows < rules.min_rows_px
        and not _covers_field(header),
        Reason.LOSSY: header.lossy and not rules.accept_lossy,
    }
    return [reason for reason, holds in checks.items() if holds]


def _covers_field(header: Header) -> bool:
    height_mm = 0.0 if header.spacing is None else header.rows * header.spacing.row_mm
    return header.rows >= MIN_FIELD_ROWS_PX and height_mm >= MIN_FIELD_MM
