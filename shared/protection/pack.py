"""What a pack is made of, and its two forms: a page for persons, JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from shared.pages import render
from shared.protection.organisation import OrganisationSettings

TO_FILL_IN = "to be filled in"
"""Stands where the organisation has not said something that the software cannot know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: its head and its rows, all of the same length."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "None."


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the pack: sentences, then tables."""

    title: str
    words: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The whole, for one side of a federation.

    Attributes
    ----------
    title
        Name of the site or the federation.
    side
        Whose pack it is, in words.
    at
        When it was generated, with a time zone.
    open_points
        Settings of `[organisation]` that are still empty.
    """

    title: str
    side: str
    at: datetime
    settings_file: str
    open_points: tuple[str, ...]
    sections: tuple[Section, ...]

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {**asdict(self), "at": self.at.isoformat()}

    def to_page(self) -> str:
        """HTML."""
        return render(__package__, "pack.html.j2", "pack.css", pack=self)


def said(value: str) -> str:
    """What the organisation has said, or that it still has to."""
    return value or TO_FILL_IN


def record_of_processing(
    organisation: OrganisationSettings,
    *,
    purpose: str,
    subjects: str,
    categories: str,
    recipients: str,
    measures: str,
    software_retention: str,
) -> Section:
    """GDPR Article 30(1), point by point."""
    rows: Sequence[tuple[str, str, str]] = (
        ("(a)", "Controller", " · ".join(filter(None, (said(organisation.name), organisation.contact)))),
        ("(a)", "Joint controllers", organisation.joint_controllers or "none named"),
        ("(a)", "Data-protection officer", said(organisation.data_protection_officer)),
        ("(b)", "Purposes", f"{purpose} {said(organisation.purpose)}"),
        ("(c)", "Data subjects", subjects),
        ("(c)", "Personal data", categories),
        ("(d)", "Recipients", recipients),
        ("(e)", "Third countries", said(organisation.third_countries)),
        ("(f)", "Time limits for erasure", f"{said(organisation.retention)}. {software_retention}"),
        ("(g)", "Security measures", measures),
    )
    return Section(
        title="Record of processing activities",
        words=("Regulation (EU) 2016/679 (GDPR), Article 30(1).",),
        grids=(Grid(title="", head=("Point", "Subject", "Entry"), rows=tuple(rows)),),
    )
