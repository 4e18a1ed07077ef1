"""What a source yields: images that may become examples, and images that may not, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.imaging.mammogram import Mammogram
from client.imaging.preparation import Geometry
from client.intake.exclusions import EXPLANATIONS, QUARANTINED, Reason, reason_of
from shared.errors import IntakeError

MASKS_PREFIX = "masks:"
Labels = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""Called with the number of images done and the number in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image that passed on its header. Identifiers are left out of its printed form.

    Attributes
    ----------
    position
        Place of the image in the source's fixed order, from 1: how a person finds it without a name in
        the report.
    patient_id
        The hospital's own identifier.
    source_id
        SOP Instance UID, or the digest of the file.
    has_mask
        Whether `load` gives a label map.
    year
        Of the acquisition; None when the source does not say.
    density
        A reader's category, a to d; None when the source does not say.
    geometry
        Of the picture that is here of this image already; None for a new image.
    load
        Reads the image and its label map, both in the orientation and size of the file; raises IntakeError.
        It is called in another process.
    """

    position: int
    patient_id: str = field(repr=False)
    source_id: str = field(repr=False)
    has_mask: bool
    year: int | None = None
    density: str | None = None
    geometry: Geometry | None = None
    load: Callable[[], tuple[Mammogram, Labels | None]] = field(repr=False)

    def refused(self, reason: Reason, error: IntakeError | None = None) -> Refusal:
        """This image left out, in the words of an error or in the reason's own."""
        explanation = EXPLANATIONS[reason]
        return Refusal(
            position=self.position,
            source_id=self.source_id,
            reason=reason,
            message=explanation.message if error is None else error.message,
            remedy=explanation.remedy if error is None else error.hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An image, or an archive of them, that is not used.

    Attributes
    ----------
    position
        As in `Candidate`.
    archive
        Position of the archive that holds the image; None where it lies in none.
    message, remedy
        What is wrong and what to do about it, one line each.
    source_id
        As in `Candidate`; None when the file did not even say that.
    in_masks
        The position is that of a mask in the folder of masks.
    """

    position: int
    reason: Reason
    message: str
    remedy: str
    source_id: str | None = field(repr=False, default=None)
    archive: int | None = None
    in_masks: bool = False

    @property
    def place(self) -> str:
        """Where it lies, for a person: a position, also that of its archive, as in `12:7`, or `masks:7`."""
        archive = "" if self.archive is None else f"{self.archive}:"
        return f"{archive}{MASKS_PREFIX if self.in_masks else ''}{self.position}"

    @classmethod
    def of(cls, position: int, reason: Reason, source_id: str | None = None) -> Refusal:
        """A refusal in the reason's own words."""
        explanation = EXPLANATIONS[reason]
        return cls(
            position=position,
            reason=reason,
            message=explanation.message,
            remedy=explanation.remedy,
            source_id=source_id,
        )

    @classmethod
    def of_error(cls, position: int, error: IntakeError) -> Refusal:
        """A refusal in the words of an error that was raised while the image was read or used."""
        return cls(position=position, reason=reason_of(error), message=error.message, remedy=error.hint)

    @property
    def quarantined(self) -> bool:
        """Something is broken and may be mended, as opposed to a choice."""
        return self.reason in QUARANTINED


@dataclass(frozen=True, slots=True)
class Packed:
    """A zip or tar that may hold mammograms, at its position in the source."""

    position: int
    path: Path = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A folder that has been looked through.

    Attributes
    ----------
    kind
        What was recognised, in words for a person.
    archives
        Sources of their own, once unpacked.
    num_ignored
        Files that are neither images nor part of the source's form.
    """

    kind: str
    candidates: Sequence[Candidate]
    refusals: Sequence[Refusal]
    archives: Sequence[Packed] = ()
    num_ignored: int = 0
