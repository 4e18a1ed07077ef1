"""Research archives with an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.imaging.mammogram import Laterality, View
from client.intake.candidates import Source
from client.intake.exclusions import Reason
from client.intake.index_csv import read_index
from shared.errors import EmptySourceError


def write_archive(folder: Path, *lines: str, header: str = "image,label") -> None:
    (folder / "a").mkdir(exist_ok=True)
    for name, value in (("X_1.RIGHT_MLO.png", 90), ("two.png", 91)):
        Image.fromarray(np.full((4, 3), value, np.uint8)).save(folder / "a" / name)
    Image.fromarray(np.array([[64, 128, 192]] * 3 + [[255, 64, 64]], np.uint8)).save(folder / "a/label.png")
    (folder / "index.csv").write_text("\n".join([header, *lines]) + "\n")


def look(folder: Path) -> Source:
    return read_index(folder, lambda _done, _total: None)


def test_a_line_is_a_candidate_with_the_values_of_the_ddsm_masks(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/X_1.RIGHT_MLO.png,a/label.png")
    (candidate,) = look(tmp_path).candidates
    mammogram, labels_HW = candidate.load()
    assert labels_HW.tolist() == [[0, 1, 2]] * 3 + [[3, 0, 0]]
    assert (mammogram.pixels_HW == 90).all()


def test_view_and_laterality_are_read_from_a_name_of_the_ddsm_form(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/X_1.RIGHT_MLO.png,a/label.png", "a/two.png,a/label.png")
    named, plain = (candidate.load()[0] for candidate in look(tmp_path).candidates)
    assert (named.view, named.laterality) == (View.MLO, Laterality.RIGHT)
    assert (plain.view, plain.laterality) == (None, None)


def test_without_a_patient_column_each_picture_is_its_own_patient(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/X_1.RIGHT_MLO.png,a/label.png", "a/two.png,a/label.png")
    first, second = look(tmp_path).candidates
    assert first.patient_id != second.patient_id


def test_a_patient_column_groups_pictures(tmp_path: Path) -> None:
    write_archive(
        tmp_path,
        "a/X_1.RIGHT_MLO.png,a/label.png,P7",
        "a/two.png,a/label.png,P7",
        header="image,label,patient",
    )
    assert [candidate.patient_id for candidate in look(tmp_path).candidates] == ["P7", "P7"]


def test_a_renamed_copy_is_the_same_source(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/label.png", "a/copy.png,a/label.png")
    (tmp_path / "a/copy.png").write_bytes((tmp_path / "a/two.png").read_bytes())
    first, second = look(tmp_path).candidates
    assert first.source_id == second.source_id


def test_values_beside_the_index_go_before_those_of_ddsm(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/label.png")
    (tmp_path / "values.toml").write_text(
        "[values]\nbackground = 255\nadipose = 192\ndense = 128\npectoral = 64\n"
    )
    (candidate,) = look(tmp_path).candidates
    assert candidate.load()[1].tolist() == [[3, 2, 1]] * 3 + [[0, 3, 3]]


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside.png", "a/missing.png"])
def test_a_path_out_of_the_archive_is_not_followed(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "archive"
    inside.mkdir()
    write_archive(inside, f"{name},a/label.png", f"a/two.png,{name}")
    (tmp_path / "outside.png").write_bytes((inside / "a/two.png").read_bytes())
    source = look(inside)
    assert not source.candidates
    assert [(refusal.position, refusal.reason) for refusal in source.refusals] == [
        (1, Reason.UNREADABLE),
        (2, Reason.NO_MASK),
    ]


def test_a_line_may_lack_its_mask_and_may_say_more(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/label.png")
    (tmp_path / "index.csv").write_text(
        "image,label,year,density\na/two.png,,2012,C\na/two.png,a/label.png,long ago,4\na/two.png,,,e\n"
    )
    found = look(tmp_path).candidates
    assert [(one.has_mask, one.year, one.density) for one in found] == [
        (False, 2012, "c"),
        (True, None, "d"),
        (False, None, None),
    ]
    assert found[0].load()[1] is None


@pytest.mark.parametrize("content", [b"", b"image,mask\nx,y\n", b"image,label\n", b"\xff\xfe\x00image"])
def test_an_index_that_says_nothing_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(EmptySourceError):
        look(tmp_path)
