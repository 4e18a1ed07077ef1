"""The flow of a pull, against an archive in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from client.imaging.mammogram import View
from client.intake.importer import ImportReport
from client.pacs.archive import ConnectionLostError, FetchReport, Query, Skip, StudyFound, instance_file
from client.pulling import PullReport, pull
from client.store.parts import visiting_rank
from shared.errors import EmptySourceError, HomeError, PacsError
from shared.files import hold_folder

LOST = ConnectionLostError("The line broke.", "Mend it.")


@dataclass
class Rehearsed:
    """An archive in memory: instances by study, studies by patient.

    Attributes
    ----------
    breaks_at
        Instance at which the line breaks, once.
    """

    holds: dict[str, dict[str, list[str]]]
    breaks_at: str = ""
    dead: bool = False
    given: list[str] = field(default_factory=list)

    def check(self) -> None:
        if self.dead:
            raise LOST

    def find(self, query: Query) -> list[StudyFound]:
        return [
            StudyFound(study_uid=study, patient_id=patient)
            for patient, studies in self.holds.items()
            for study in studies
        ]

    def fetch(self, study: StudyFound, folder: Path, skip: Skip, *, view: View | None = None) -> FetchReport:
        folder.mkdir(exist_ok=True)
        report = FetchReport()
        for uid in self.holds[study.patient_id][study.study_uid]:
            if skip(uid):
                report += FetchReport(decided=1)
            elif instance_file(folder, uid).exists():
                report += FetchReport(kept=1)
            elif uid == self.breaks_at:
                self.breaks_at = ""
                raise LOST
            else:
                instance_file(folder, uid).write_text(uid)
                self.given.append(uid)
                report += FetchReport(fetched=1)
        return report


@dataclass
class Site:
    """Imports by reading what a folder holds."""

    folder: Path
    imports: list[list[str]] = field(default_factory=list)
    empty: bool = False

    @property
    def known(self) -> set[str]:
        return {uid for batch in self.imports for uid in batch}

    def import_folder(self, folder: Path) -> ImportReport:
        if self.empty:
            raise EmptySourceError("Nothing.", "Look elsewhere.")
        batch = sorted(file.read_text() for file in folder.iterdir())
        self.imports.append(batch)
        return ImportReport(kind="DICOM files", added=len(batch), already_there=0, refusals=(), num_ignored=0)

    def pull(self, archive: Rehearsed, query: Query | None = None) -> PullReport:
        return pull(
            archive,
            query or Query(),
            folder=self.folder,
            import_folder=self.import_folder,
            decided=lambda uid: uid in self.known,
            progress=lambda _done, _total: None,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "pulled")


ARCHIVE = {f"P{number}": {f"{number}.1": [f"{number}.1.1", f"{number}.1.2"]} for number in range(1, 7)}


def left(site: Site) -> list[Path]:
    return list(site.folder.glob("patient-*"))


def test_patients_come_in_the_order_of_the_split_and_leave_no_file(site: Site) -> None:
    report = site.pull(Rehearsed(ARCHIVE))
    order = sorted(ARCHIVE, key=visiting_rank)
    assert order != sorted(ARCHIVE)  # else this test could not fail
    assert [batch[0].split(".")[0] for batch in site.imports] == [patient[1:] for patient in order]
    assert (report.num_found, report.num_visited, report.num_new) == (6, 6, 6)
    assert report.instances == FetchReport(fetched=12)
    assert sum(one.added for one in report.imports) == 12
    assert left(site) == []


def test_all_studies_of_a_patient_are_one_import(site: Site) -> None:
    site.pull(Rehearsed({"P": {"1": ["1.1"], "2": ["2.1"]}, "Q": {"3": ["3.1"]}}))
    assert sorted(site.imports) == [["1.1", "2.1"], ["3.1"]]


def test_studies_without_a_patient_are_not_taken_for_one_patients(site: Site) -> None:
    site.pull(Rehearsed({"": {"1": ["1.1"], "2": ["2.1"]}}))
    assert sorted(site.imports) == [["1.1"], ["2.1"]]


def test_an_interrupted_pull_goes_on_and_fetches_and_imports_nothing_twice(site: Site) -> None:
    archive = Rehearsed(ARCHIVE, breaks_at="3.1.2")
    with pytest.raises(PacsError):
        site.pull(archive)
    assert len(left(site)) == 1
    before = len(archive.given)
    report = site.pull(archive)
    assert (report.instances.kept, report.instances.fetched) == (1, 12 - before)
    assert len(archive.given) == len(set(archive.given)) == 12
    assert sum(len(batch) for batch in site.imports) == len(site.known) == 12
    assert left(site) == []


def test_what_an_interrupted_pull_left_is_deleted_when_the_next_one_is_for_others(site: Site) -> None:
    with pytest.raises(PacsError):
        site.pull(Rehearsed({"P": {"1": ["1.1", "1.2"]}}, breaks_at="1.2"))
    assert len(left(site)) == 1
    site.pull(Rehearsed({"Q": {"2": ["2.1"]}}))
    assert left(site) == []
    assert site.imports == [["2.1"]]


def test_the_limit_counts_what_is_new_so_that_a_second_pull_gets_further(site: Site) -> None:
    archive = Rehearsed(ARCHIVE)
    first = site.pull(archive, Query(limit=2))
    second = site.pull(archive, Query(limit=2))
    assert (first.num_new, second.num_new) == (2, 2)
    assert (first.num_visited, second.num_visited) == (2, 4)
    assert len(site.known) == 8


def test_a_pull_with_nothing_new_imports_nothing(site: Site) -> None:
    archive = Rehearsed(ARCHIVE)
    site.pull(archive)
    report = site.pull(archive)
    assert (report.num_new, report.imports, report.instances) == (0, (), FetchReport(decided=12))


def test_a_patient_without_any_mammogram_of_use_stops_nothing(site: Site) -> None:
    site.empty = True
    report = site.pull(Rehearsed(ARCHIVE))
    assert (report.num_visited, report.imports) == (6, ())
    assert left(site) == []


def test_a_dead_archive_is_noticed_before_anything_else(site: Site) -> None:
    with pytest.raises(PacsError, match="line broke"):
        site.pull(Rehearsed(ARCHIVE, dead=True))
    assert site.imports == []


def test_two_pulls_do_not_run_at_once(site: Site) -> None:
    site.folder.mkdir()
    with hold_folder(site.folder), pytest.raises(HomeError, match="already running"):
        site.pull(Rehearsed(ARCHIVE))
