"""The objects of segmented images in a folder, as the archive would get them."""

from __future__ import annotations

from pathlib import Path

from client.annotation.dicom_seg import read_source
from client.clinic.examination import Examination
from client.clinic.following import FollowUp
from client.clinic.identity import ModelIdentity
from client.inference.segment import Segmentation
from client.intake.candidates import Refusal
from client.intake.dicom_file import is_dicom
from shared.errors import StoreError, UndecodableError
from shared.files import write_file

OBJECT_MODE = 0o640


class ExamFolder:
    """A new folder; objects carry the patient's identity, and file names none.

    Raises
    ------
    StoreError
        It exists and is not empty.
    """

    def __init__(self, folder: Path, model: ModelIdentity, follow_up: FollowUp | None = None) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreError("The folder for the DICOM objects is not empty.", "Name a new one with --dicom.")
        self._folder = folder
        self._model = model
        self._follow_up = follow_up
        self._exams: dict[str, Examination] = {}

    def add(self, position: int, path: Path, outcome: Segmentation | Refusal) -> Refusal | None:
        """Write the objects of one image; the reason if its header does not let them be made.

        An image that is no DICOM file has no study, and gets none.
        """
        try:
            if not is_dicom(path):
                return None
            header = read_source(path)
            exam = self._exams.setdefault(
                str(header.StudyInstanceUID), Examination(model=self._model, follow_up=self._follow_up)
            )
            drawn = exam.add(header, outcome if isinstance(outcome, Segmentation) else outcome.reason)
        except (UndecodableError, AttributeError) as error:
            if isinstance(outcome, Refusal):
                return None
            broken = error if isinstance(error, UndecodableError) else _no_study()
            return Refusal.of_error(position, broken)
        for one in drawn:
            write_file(self._folder / f"{position}-{one.kind}.dcm", one.content, mode=OBJECT_MODE)
        return None

    def finish(self) -> list[Examination]:
        """Write the reports; the exams in the order of their first images."""
        for number, exam in enumerate(self._exams.values(), start=1):
            if exam.images:
                report = exam.report()
                write_file(self._folder / f"exam-{number}-report.dcm", report.content, mode=OBJECT_MODE)
        return list(self._exams.values())


def _no_study() -> UndecodableError:
    return UndecodableError("The image's header names no study.", "Export the image again from the PACS.")
