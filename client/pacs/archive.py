"""What an archive is to the rest of the site: studies are found, and fetched instance by instance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

from client.imaging.mammogram import View
from client.intake.header import SopClass
from shared.errors import ConfigError, PacsError

MAMMOGRAPHY, SEGMENTATION = "MG", "SEG"
"""Modalities (PS3.3 C.7.3.1.1.1) of what is fetched."""

Skip = Callable[[str], bool]
"""Told a SOP Instance UID, says whether the instance need not be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which mammograms are wanted; None leaves a limit open.

    Attributes
    ----------
    from_date, until_date
        First and last day of the study.
    view
        Projection of the images.
    limit
        At most so many studies that bring anything new.

    Raises
    ------
    ConfigError
        The last day lies before the first, or the limit is below one.
    """

    from_date: date | None = None
    until_date: date | None = None
    view: View | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.from_date and self.until_date and self.until_date < self.from_date:
            raise ConfigError("The last day lies before the first.", "Exchange the two dates.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError("The limit of studies is below one.", "Give at least 1, or leave it out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFound:
    """A study with mammograms. Identifiers are left out of its printed form.

    Attributes
    ----------
    patient_id
        The hospital's own identifier; empty when the archive has none.
    num_instances
        In the whole study; None when the archive does not say.
    """

    study_uid: str = field(repr=False)
    patient_id: str = field(repr=False)
    num_instances: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFound:
    """An instance of a study. Identifiers are left out of its printed form.

    Attributes
    ----------
    sop_class
        None when the archive does not say.
    is_mask
        A segmentation rather than an image.
    view
        As in `client.intake.header.Header`; None when the archive does not say.
    num_frames
        None when the archive does not say.
    """

    series_uid: str = field(repr=False)
    sop_uid: str = field(repr=False)
    sop_class: SopClass | None
    is_mask: bool
    view: str | None
    num_frames: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What became of a study's instances; numbers.

    Attributes
    ----------
    fetched
        Came now.
    kept
        Had come before, and lay in the folder.
    decided
        Skipped as the caller wished.
    other_view
        Of another view than asked for.
    not_of_use
        Raw detector data and volumes, which no import takes.
    failed
        The archive lists them but does not give them.
    """

    fetched: int = 0
    kept: int = 0
    decided: int = 0
    other_view: int = 0
    not_of_use: int = 0
    failed: int = 0

    def __add__(self, other: FetchReport) -> FetchReport:
        return FetchReport(
            fetched=self.fetched + other.fetched,
            kept=self.kept + other.kept,
            decided=self.decided + other.decided,
            other_view=self.other_view + other.other_view,
            not_of_use=self.not_of_use + other.not_of_use,
            failed=self.failed + other.failed,
        )


class Archive(Protocol):
    """A hospital's archive. All methods raise PacsError in the words of the person who must act."""

    def check(self) -> None:
        """Make sure, with one question and without patience, that the archive answers us."""

    def find(self, query: Query) -> list[StudyFound]:
        """The studies with mammograms of these days, each once; view and limit are left to the caller."""

    def fetch(self, study: StudyFound, folder: Path, skip: Skip, *, view: View | None = None) -> FetchReport:
        """Put a study's mammograms, and the segmentations beside them, into a folder, one file each.

        What lies in the folder from an earlier attempt is not fetched again.

        Raises
        ------
        PacsError
            The archive is gone or refuses; what has come stays.
        StoreError
            The disk is too full; likewise.
        """


class ConnectionLostError(PacsError):
    """The archive does not answer, or fell silent in the middle: another attempt may succeed."""


class InstanceRefusedError(PacsError):
    """The archive answers, but does not give this one instance."""


def instance_file(folder: Path, sop_uid: str) -> Path:
    """Where an instance lies: under a digest, since a UID from outside must not become part of a path."""
    return folder / f"{hashlib.sha256(sop_uid.encode()).hexdigest()}.dcm"
