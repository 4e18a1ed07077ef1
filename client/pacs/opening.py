"""The archives that `site.toml` names, by name."""

from __future__ import annotations

from client.pacs.archive import Archive
from client.pacs.dicomweb import DicomWebArchive
from client.pacs.dimse import DimseArchive, Listening
from client.pacs.retries import Retries
from client.settings import SiteSettings
from shared.errors import ConfigError


def open_archive(
    settings: SiteSettings,
    name: str,
    *,
    listening: Listening | None = None,
    retries: Retries | None = None,
) -> Archive:
    """An archive of either kind.

    Parameters
    ----------
    listening
        What C-MOVE sends to, where our application entity listens already.

    Raises
    ------
    ConfigError
        There is no such archive, or a file that its settings name cannot be used.
    """
    if name in settings.pacs:
        return DimseArchive(settings.pacs[name], settings.dicom_node, listening=listening, retries=retries)
    if name in settings.dicomweb:
        return DicomWebArchive(settings.dicomweb[name], retries=retries)
    raise ConfigError(
        f"There is no archive '{name}'.", "Write a table [pacs.NAME] or [dicomweb.NAME] into site.toml."
    )
