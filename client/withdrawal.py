"""A withdrawal of consent, of one patient or of the whole site.

It reaches examples, originals on their way in, clinical inputs, and what the clinic's node keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.catalog import Catalog, Removal
from client.clinic.kept import remove_kept
from client.incoming import remove_originals
from client.intake.dicom_file import read_header
from client.intake.patients import patient_of
from shared.errors import IntakeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What went.

    Attributes
    ----------
    num_clinic_files
        Images and objects that waited in the clinic's node.
    """

    removal: Removal
    num_clinic_files: int

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "examples": self.removal.examples,
            "patients": self.removal.patients,
            "runs": list(self.removal.runs),
            "clinic_files": self.num_clinic_files,
        }

    @property
    def words(self) -> str:
        """For a person."""
        removal = self.removal
        words = f"{removal.examples} examples of {removal.patients} patients are gone."
        if removal.runs:
            words += f" Runs that had used them: {', '.join(removal.runs)}."
            words += " What this site had made of these for itself is erased."
        words = words if removal.examples else "No example was here."
        if self.num_clinic_files:
            words += f" {self.num_clinic_files} files of the clinic's node are gone."
        return words


def withdraw(catalog: Catalog, identifier: str, *, actor: str) -> Withdrawal:
    """Take a patient out for good, under her identifier in any way that the intake understands.

    Of the files that were sent here and are not imported or measured, hers go, and those that do not say
    whose they are. What is sent here later is left out.

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
        pseudonym = catalog.pseudonyms().patient(patient)
        removal = catalog.remove_patient(pseudonym, actor=actor)
        remove_originals(catalog.home, is_hers)
        catalog.clinical.remove(pseudonym)
        num_clinic_files = remove_kept(catalog.home, catalog.clinic, pseudonym)
    return Withdrawal(removal=removal, num_clinic_files=num_clinic_files)


def forget(catalog: Catalog, *, actor: str) -> Withdrawal:
    """Take every example out, every original, and what waits in the clinic's node.

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
        catalog.clinical.remove(None)
        num_clinic_files = remove_kept(catalog.home, catalog.clinic, None)
    return Withdrawal(removal=removal, num_clinic_files=num_clinic_files)
