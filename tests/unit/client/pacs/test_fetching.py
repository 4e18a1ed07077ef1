"""What is fetched and what is not, against an archive in memory whose line can be made to break."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from client.dicom_node.spool import Spool
from client.imaging.mammogram import View
from client.intake.header import SopClass
from client.pacs.archive import (
    ConnectionLostError,
    FetchReport,
    InstanceFound,
    InstanceRefusedError,
    StudyFound,
    instance_file,
)
from client.pacs.fetching import fetch_instances
from client.pacs.retries import Retries
from deploy.demo.phantoms import GE, write_hospital
from shared.errors import PacsError

STUDY = StudyFound(study_uid="1.2", patient_id="P")
LOST = ConnectionLostError("The line broke.", "Mend it.")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One image of each view, by view."""
    folder = tmp_path_factory.mktemp("images") / "hospital"
    women = write_hospital(folder, vendor=GE, patients=1, seed=3, density_mix={"b": 1.0}, spacing_mm=1.0)
    return {image.image_path.stem[-2:]: image.image_path for image in women}


def image(uid: str, view: str | None = "CC", sop_class: SopClass | None = None) -> InstanceFound:
    return InstanceFound(series_uid="1.2.1", sop_uid=uid, sop_class=sop_class, is_mask=False, view=view)


def mask(uid: str) -> InstanceFound:
    return InstanceFound(series_uid="1.2.2", sop_uid=uid, sop_class=None, is_mask=True, view=None)


@dataclass
class Rehearsed:
    """An archive in memory.

    Attributes
    ----------
    breaks
        For each instance, how many times the line breaks with it.
    refuses
        For each instance, how many times it is refused.
    """

    holds: list[InstanceFound]
    file: Path
    breaks: dict[str, int] = field(default_factory=dict)
    refuses: dict[str, int] = field(default_factory=dict)
    dead: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        if self.dead:
            raise LOST

    def instances(self, study: StudyFound) -> list[InstanceFound]:
        assert study == STUDY
        return self.holds

    @contextmanager
    def retrieving(self, study: StudyFound, spool: Spool) -> Iterator[Callable[[InstanceFound], Path]]:
        def retrieve(instance: InstanceFound) -> Path:
            self.asked[instance.sop_uid] += 1
            if self.dead or self.breaks.get(instance.sop_uid, 0) >= self.asked[instance.sop_uid]:
                raise LOST
            if self.refuses.get(instance.sop_uid, 0) >= self.asked[instance.sop_uid]:
                raise InstanceRefusedError("No.", "Ask.")
            path = spool.open().commit()
            shutil.copyfile(self.file, path)
            return path

        yield retrieve


def fetch(
    archive: Rehearsed, folder: Path, skip: Callable[[str], bool] = lambda _: False, view: View | None = None
) -> FetchReport:
    return fetch_instances(
        archive,
        STUDY,
        folder,
        skip,
        view=view,
        retries=Retries(attempts=3, first_delay_s=0.001, max_delay_s=0.001),
        min_free_bytes=0,
    )


def test_images_come_and_then_their_masks(images: dict[str, Path], tmp_path: Path) -> None:
    archive = Rehearsed([mask("9"), image("1"), image("2", "MLO")], images["CC"])
    assert fetch(archive, tmp_path) == FetchReport(fetched=3)
    assert list(archive.asked) == ["1", "2", "9"]
    assert {instance_file(tmp_path, uid) for uid in "129"} == set(tmp_path.iterdir())


def test_a_mask_stays_where_it_is_when_its_images_are_known(images: dict[str, Path], tmp_path: Path) -> None:
    archive = Rehearsed([mask("9"), image("1")], images["CC"])
    assert fetch(archive, tmp_path, skip=lambda uid: uid == "1") == FetchReport(decided=1)
    assert not archive.asked


def test_nothing_is_fetched_twice_into_one_folder(images: dict[str, Path], tmp_path: Path) -> None:
    archive = Rehearsed([image("1"), image("2")], images["CC"])
    fetch(archive, tmp_path)
    assert fetch(archive, tmp_path) == FetchReport(kept=2)
    assert archive.asked == {"1": 1, "2": 1}


def test_volumes_and_raw_data_are_not_even_asked_for(images: dict[str, Path], tmp_path: Path) -> None:
    holds = [image("1", sop_class=SopClass.TOMOSYNTHESIS), image("2", sop_class=SopClass.FOR_PROCESSING)]
    archive = Rehearsed(holds, images["CC"])
    assert fetch(archive, tmp_path) == FetchReport(not_of_use=2)
    assert not archive.asked


def test_a_synthetic_view_of_the_volumes_class_is_asked_for(images: dict[str, Path], tmp_path: Path) -> None:
    of_class = image("1", sop_class=SopClass.TOMOSYNTHESIS)
    archive = Rehearsed([replace(of_class, num_frames=1)], images["CC"])
    assert fetch(archive, tmp_path) == FetchReport(fetched=1)


def test_another_view_is_not_asked_for_if_the_archive_names_it(
    images: dict[str, Path], tmp_path: Path
) -> None:
    archive = Rehearsed([image("1", "MLO"), image("2", "CC")], images["CC"])
    assert fetch(archive, tmp_path, view=View.CC) == FetchReport(fetched=1, other_view=1)
    assert archive.asked == {"2": 1}


def test_another_view_is_thrown_away_if_only_its_header_names_it(
    images: dict[str, Path], tmp_path: Path
) -> None:
    archive = Rehearsed([image("1", None)], images["LO"])
    assert fetch(archive, tmp_path, view=View.CC) == FetchReport(other_view=1)
    assert list(tmp_path.iterdir()) == []
    assert fetch(archive, tmp_path, view=View.MLO) == FetchReport(fetched=1)


def test_a_line_that_breaks_costs_one_instance_at_a_time(images: dict[str, Path], tmp_path: Path) -> None:
    archive = Rehearsed([image(uid) for uid in "123"], images["CC"], breaks={"1": 2, "2": 2, "3": 2})
    assert fetch(archive, tmp_path) == FetchReport(fetched=3)
    assert archive.asked == {"1": 3, "2": 3, "3": 3}


def test_an_instance_that_breaks_every_line_is_given_up_for_the_others(
    images: dict[str, Path], tmp_path: Path
) -> None:
    archive = Rehearsed([image(uid) for uid in "123"], images["CC"], breaks={"2": 99})
    assert fetch(archive, tmp_path) == FetchReport(fetched=2, failed=1)
    assert archive.asked == {"1": 1, "2": 3, "3": 1}


def test_a_dead_archive_ends_the_fetch_and_what_came_stays(images: dict[str, Path], tmp_path: Path) -> None:
    archive = Rehearsed([image("1"), image("2")], images["CC"])

    def die_after_the_first(uid: str) -> bool:
        archive.dead = instance_file(tmp_path, "1").exists()
        return False

    fetch(Rehearsed([image("1")], images["CC"]), tmp_path)
    with pytest.raises(PacsError, match="line broke"):
        fetch(archive, tmp_path, skip=die_after_the_first)
    archive.dead = False
    assert fetch(archive, tmp_path) == FetchReport(fetched=1, kept=1)


@pytest.mark.parametrize(
    ("times", "report"), [(1, FetchReport(fetched=2)), (2, FetchReport(fetched=1, failed=1))]
)
def test_a_refused_instance_gets_a_second_chance_and_no_third(
    times: int, report: FetchReport, images: dict[str, Path], tmp_path: Path
) -> None:
    archive = Rehearsed([image("1"), image("2")], images["CC"], refuses={"1": times})
    assert fetch(archive, tmp_path) == report
    assert archive.asked["1"] == 2
