"""A withdrawal of consent, of one patient or of the whole site: examples and originals on their way in."""

from __future__ import annotations

from pathlib import Path

from client.catalog import Catalog, Removal
from client.incoming import remove_originals
from client.intake.dicom_file import read_header
from client.intake.patients import patient_of
from shared.errors import IntakeError


def withdraw(catalog: Catalog, identifier: str, *, actor: str) -> Removal:
    """Take a patient out for good, under her identifier in any way that the intake understands.

    Of the files that were sent here and are not imported, hers go, and those that do not say whose they are.

    Raises
    ------
    HomeError
        An import is running, or the pseudonym key is missing.
    StoreError
        The database or the disk refuses.
    """
    patient = patient_of(identifier)

    def is_hers(file: Path) -> bool:
        try:
            return read_header(file).patient_id in {patient, ""}
        except IntakeError:
            return True

    with catalog.importing():
        removal = catalog.remove_patient(catalog.pseudonyms().patient(patient), actor=actor)
        remove_originals(catalog.home, is_hers)
    return removal


def forget(catalog: Catalog, *, actor: str) -> Removal:
    """Take every example out, and every original.

    Raises
    ------
    HomeError
        An import is running.
    StoreError
        The database or the disk refuses.
    """
    with catalog.importing():
        removal = catalog.forget_all(actor=actor)
        remove_originals(catalog.home, lambda _: True)
    return removal
