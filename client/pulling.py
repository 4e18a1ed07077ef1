"""The main flow of a pull: find studies, and patient by patient fetch, import, delete.

Patients are visited in the order that the split depends on, and all studies of one come in together. An
interrupted pull leaves the folder of one patient behind, and the next pull goes on in it; what is of no use
to the next pull is deleted, so that no image stays outside the catalog for longer than its import.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from client.intake.candidates import Progress
from client.pacs.archive import Archive, FetchReport, Query, Skip, StudyFound
from client.store.parts import visiting_rank
from shared.errors import EmptySourceError
from shared.files import hold_folder, make_private_folder

if TYPE_CHECKING:
    from client.intake.importer import ImportReport

FOLDER_PATTERN = "patient-*"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReport:
    """What became of a pull.

    Attributes
    ----------
    num_found
        Studies that the archive has for the query.
    num_visited
        Of these, how many were looked into before the limit was reached.
    num_new
        Of these, how many brought anything new.
    instances
        What became of the visited studies' instances.
    imports
        One for each patient of whom anything new came, in the order of visiting.
    """

    num_found: int
    num_visited: int
    num_new: int
    instances: FetchReport
    imports: tuple[ImportReport, ...]


def pull(
    archive: Archive,
    query: Query,
    *,
    folder: Path,
    import_folder: Callable[[Path], ImportReport],
    decided: Skip,
    progress: Progress,
) -> PullReport:
    """Bring an archive's mammograms into the catalog.

    Parameters
    ----------
    folder
        Private folder of pulls alone, on a disk that has room for one patient.
    import_folder
        Imports what a folder holds and leaves the folder as it is.
    decided
        Whether an instance is here already, or was refused for good.
    progress
        Told of every study done.

    Raises
    ------
    PacsError
        The archive does not answer, refuses, or is gone for too long; what was imported stays.
    StoreError
        The disk is too full; likewise.
    HomeError
        Another pull is running.
    """
    make_private_folder(folder)
    with hold_folder(folder):
        archive.check()
        patients = _by_patient(archive.find(query))
        folders = [folder / _name(patient_id) for patient_id, _ in patients]
        for leftover in set(folder.glob(FOLDER_PATTERN)) - set(folders):
            shutil.rmtree(leftover)
        total = sum(len(studies) for _, studies in patients)
        visited = new = 0
        fetched = FetchReport()
        imports: list[ImportReport] = []
        for (_, studies), target in zip(patients, folders, strict=True):
            if query.limit is not None and new >= query.limit:
                break
            for study in studies:
                report = archive.fetch(study, target, decided, view=query.view)
                fetched += report
                new += bool(report.fetched or report.kept)
                visited += 1
                progress(visited, total)
            imports += _import(target, import_folder)
            shutil.rmtree(target)
    return PullReport(
        num_found=total, num_visited=visited, num_new=new, instances=fetched, imports=tuple(imports)
    )


def _by_patient(studies: Iterable[StudyFound]) -> list[tuple[str, list[StudyFound]]]:
    """Studies of one patient together, patients in the order of the split.

    Without a patient's identifier, the study stands for it, as it does in the intake.
    """
    grouped: dict[str, list[StudyFound]] = {}
    for study in sorted(studies, key=lambda one: one.study_uid):
        grouped.setdefault(study.patient_id or study.study_uid, []).append(study)
    return sorted(grouped.items(), key=lambda one: visiting_rank(one[0]))


def _name(patient_id: str) -> str:
    """The same for the same patient, so that an interrupted pull finds what it has."""
    return f"patient-{hashlib.sha256(patient_id.encode()).hexdigest()}"


def _import(folder: Path, import_folder: Callable[[Path], ImportReport]) -> list[ImportReport]:
    if next(folder.iterdir(), None) is None:
        return []
    try:
        return [import_folder(folder)]
    except EmptySourceError:
        return []
