"""One candidate from its file to a prepared picture, or to the reason why not: what a worker process does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.imaging.mammogram import Laterality, Spacing, View
from client.imaging.preparation import Geometry, prepare
from client.intake.candidates import Candidate, Refusal
from client.intake.exclusions import reason_of
from client.intake.masks import check_overlap, digest_of, settle
from shared.errors import IntakeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A prepared picture with what the catalog may keep of its origin.

    Attributes
    ----------
    image_HW
        uint16, as in `Example`.
    labels_HW
        uint8 `Label`, same shape; None without a mask.
    labels_sha256
        Of the mask as it was drawn, hex; None without a mask.
    content_sha256
        Of the prepared picture, hex: two files of one mammogram have the same.
    spacing
        Of the prepared picture.
    mirrored
        The chest wall is not where the header claims.
    """

    image_HW: npt.NDArray[np.uint16]
    labels_HW: npt.NDArray[np.uint8] | None
    labels_sha256: str | None
    content_sha256: str
    geometry: Geometry
    spacing: Spacing | None
    view: View | None
    laterality: Laterality | None
    manufacturer: str | None
    mirrored: bool


def load(candidate: Candidate) -> Loaded | Refusal:
    """Read, decode and prepare a candidate with its mask."""
    try:
        mammogram, labels_HW = candidate.load()
        prepared = prepare(mammogram, like=candidate.geometry)
        geometry = prepared.geometry
        prepared_labels_HW = None
        if labels_HW is not None:
            check_overlap(labels_HW, prepared.breast_HW, geometry)
            drawn_HW = geometry.labels_from_source(labels_HW)
            prepared_labels_HW = settle(drawn_HW, prepared.breast_HW, mammogram.view)
    except IntakeError as error:
        return candidate.refused(reason_of(error), error)
    spacing = mammogram.spacing
    return Loaded(
        image_HW=prepared.image_HW,
        labels_HW=prepared_labels_HW,
        labels_sha256=None if labels_HW is None else digest_of(labels_HW),
        content_sha256=hashlib.sha256(prepared.image_HW.tobytes()).hexdigest(),
        geometry=geometry,
        spacing=None if spacing is None else geometry.prepared_spacing(spacing),
        view=mammogram.view,
        laterality=mammogram.laterality,
        manufacturer=mammogram.manufacturer,
        mirrored=prepared.contradicts_header,
    )
