"""Settings of the clinic's DICOM node."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.tables import Table

BEYOND_DAYS = 30
"""An archive's clock or dates may be off."""


class ClinicSettings(Table):
    """Table `[clinic]` of `site.toml`: what `serve-dicom` does with images that are sent to `[dicom_node]`.

    Attributes
    ----------
    send_to
        Name of the `[pacs.NAME]` that gets the results; nothing is sent anywhere else.
    quiet_s
        An exam is whole when so long none of its images has come. Later ones get a report of their own:
        where views are sent one by one it has to be longer than the time between two of them.
    max_images
        While so many images wait, more are refused (status A700): the sender tries again.
    find_in
        Name of the `[pacs.NAME]` or `[dicomweb.NAME]` that is looked through for new mammograms; none is what
        is sent here alone.
    find_every_s
        Seconds between two looks.
    find_days
        Days of studies that are looked for, today among them.
    max_objects
        While so many objects wait for the archive, nothing more is measured.
    """

    send_to: str
    find_in: str | None = None
    find_every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    find_days: Annotated[int, Field(ge=1, le=365)] = 2
    quiet_s: Annotated[float, Field(ge=0.5, le=600)] = 2.0
    max_images: Annotated[int, Field(ge=1, le=10_000)] = 200
    max_objects: Annotated[int, Field(ge=10, le=100_000)] = 2000

    @property
    def remembered_days(self) -> int:
        """So long it is known which images were taken in."""
        return self.find_days + BEYOND_DAYS
