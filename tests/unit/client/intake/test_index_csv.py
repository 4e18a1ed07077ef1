"""Research archives with an index."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from client.imaging.example import Label
from client.imaging.mammogram import Laterality, Spacing, View
from client.intake.candidates import Source
from client.intake.exclusions import IntakeRules, Reason
from client.intake.index_csv import read_index
from shared.errors import EmptySourceError, IntakeError, MaskError

MakeDicom = Callable[..., Path]
SQUARE = [[0, 0], [3, 0], [3, 4], [0, 4]]


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
    assert [(refusal.position, refusal.reason) for refusal in source.refusals] == [
        (1, Reason.UNREADABLE),
        *([(2, Reason.NO_MASK)] if name else []),
    ]
    assert [candidate.has_mask for candidate in source.candidates] == ([] if name else [False])


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


def test_an_empty_label_means_that_there_is_no_mask_yet(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,", "a/X_1.RIGHT_MLO.png,a/label.png")
    without, with_mask = look(tmp_path).candidates
    assert (without.has_mask, with_mask.has_mask) == (False, True)
    assert without.load()[1] is None


def test_a_candidate_reaches_a_worker(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/X_1.RIGHT_MLO.png,a/label.png")
    (candidate,) = look(tmp_path).candidates
    assert pickle.loads(pickle.dumps(candidate.load))()[1].tolist() == candidate.load()[1].tolist()


@pytest.mark.parametrize(
    ("year", "density", "expected"),
    [
        ("2014", "a", (2014, "a")),
        ("1987", "D", (1987, "d")),
        ("2020", "3", (2020, "c")),
        ("", "", (None, None)),
        ("14", "e", (None, None)),
        ("2014-05-01", "0", (None, None)),
        ("unknown", "ab", (None, None)),
    ],
)
def test_year_and_density_are_read_or_unknown(
    tmp_path: Path, year: str, density: str, expected: tuple[int | None, str | None]
) -> None:
    write_archive(tmp_path, f"a/two.png,,{year},{density}", header="image,label,year,density")
    (candidate,) = look(tmp_path).candidates
    assert (candidate.year, candidate.density) == expected


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("two", "left,cc,0.1", (Laterality.LEFT, View.CC, Spacing(row_mm=0.1, column_mm=0.1))),
        ("two", "R,MLO,", (Laterality.RIGHT, View.MLO, None)),
        ("two", "both,unknown,12", (None, None, None)),
        ("two", 'both,N/A,"0,1"', (None, None, Spacing(row_mm=0.1, column_mm=0.1))),
        ("two", "?,?,nan", (None, None, None)),
        ("X_1.RIGHT_MLO", ",,", (Laterality.RIGHT, View.MLO, None)),
        ("X_1.RIGHT_MLO", "L,CC,1e-9", (Laterality.LEFT, View.CC, None)),
    ],
)
def test_what_a_picture_shows_is_read_from_the_index_before_its_name(
    tmp_path: Path, name: str, columns: str, expected: tuple[object, ...]
) -> None:
    write_archive(tmp_path, f"a/{name}.png,,{columns}", header="image,label,laterality,view,spacing_mm")
    (candidate,) = look(tmp_path).candidates
    mammogram = candidate.load()[0]
    assert (mammogram.laterality, mammogram.view, mammogram.spacing) == expected


@pytest.mark.parametrize("view", ["ML", "XCCL", "LM", "oblique"])
def test_a_view_that_the_index_names_and_that_is_not_cc_or_mlo_keeps_its_image_out(
    tmp_path: Path, make_dicom: MakeDicom, view: str
) -> None:
    write_archive(
        tmp_path,
        f"a/X_1.RIGHT_MLO.png,,{view}",
        f"a/silent,,{view}",
        f"a/says CC,,{view}",
        header="image,label,view",
    )
    make_dicom("a/silent", ViewPosition=None)
    make_dicom("a/says CC")
    source = look(tmp_path)
    assert [(one.position, one.reason) for one in source.refusals] == [(1, Reason.VIEW), (2, Reason.VIEW)]
    assert [candidate.position for candidate in source.candidates] == [3]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_may_be_parted_by_semicolons_as_spreadsheets_of_many_countries_write_them(
    tmp_path: Path, mark: str
) -> None:
    write_archive(
        tmp_path,
        "a/two.png;a/label.png;0,1;P7",
        '"a/X_1.RIGHT_MLO.png";;;"a, b; c"',
        header=f"{mark}image;label;spacing_mm;patient",
    )
    two, other = look(tmp_path).candidates
    assert (two.patient_id, two.has_mask, other.patient_id, other.has_mask) == ("P7", True, "a, b; c", False)
    assert two.load()[0].spacing == Spacing(row_mm=0.1, column_mm=0.1)


def test_a_malformed_file_of_masks_costs_its_own_lines_alone(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,all.json", "a/X_1.RIGHT_MLO.png,a/label.png")
    (tmp_path / "all.json").write_text('{"images": 3, "annotations": []}')
    broken, whole = look(tmp_path).candidates
    with pytest.raises(MaskError, match="malformed"):
        broken.load()
    assert whole.load()[1] is not None


def test_images_and_masks_of_nifti_are_columns_first(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/i.nii.gz,a/l.nii")
    values_HW = np.array(Image.open(tmp_path / "a/label.png"))
    nibabel.save(nibabel.Nifti1Image(values_HW.T.astype(np.int16), np.eye(4)), tmp_path / "a/i.nii.gz")
    nibabel.save(nibabel.Nifti1Image(values_HW.T, np.eye(4)), tmp_path / "a/l.nii")
    (candidate,) = look(tmp_path).candidates
    mammogram, labels_HW = candidate.load()
    assert mammogram.pixels_HW.tolist() == values_HW.tolist()
    assert labels_HW is not None
    assert labels_HW.tolist() == [[0, 1, 2]] * 3 + [[3, 0, 0]]


def test_an_outline_may_have_any_name_since_the_line_says_whose_it_is(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/reader 1.json")
    shapes = [{"label": name, "points": SQUARE} for name in ("breast", "dense")]
    outline = {"shapes": shapes, "imagePath": "x.png", "imageHeight": 4, "imageWidth": 3}
    (tmp_path / "a/reader 1.json").write_text(json.dumps(outline))
    (candidate,) = look(tmp_path).candidates
    assert (candidate.load()[1] == 2).all()


def test_of_a_file_with_many_masks_each_image_takes_its_own(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,all.json", "a/X_1.RIGHT_MLO.png,all.json", "a/three.png,all.json")
    (tmp_path / "a/three.png").write_bytes((tmp_path / "a/two.png").read_bytes() + b"x")
    names = ["two.png", "X_1.RIGHT_MLO.png"]
    whole = [[coordinate for vertex in SQUARE for coordinate in vertex]]
    document = {
        "images": [{"id": i, "file_name": name, "height": 4, "width": 3} for i, name in enumerate(names)],
        "categories": [
            {"id": 1, "name": "breast"},
            {"id": 2, "name": "dense"},
            {"id": 3, "name": "no dense"},
        ],
        "annotations": [
            {"image_id": image, "category_id": category, "segmentation": whole}
            for image, category in [(0, 1), (0, 2), (1, 1), (1, 3)]
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(document))
    source = look(tmp_path)
    two, other = source.candidates
    assert (two.load()[1] == 2).all()
    assert (other.load()[1] == Label.ADIPOSE_OR_PECTORAL).all()
    assert [(refusal.position, refusal.reason) for refusal in source.refusals] == [(3, Reason.NO_MASK)]


def write_class(folder: Path, name: str, values: list[list[int]]) -> None:
    Image.fromarray(np.array(values, np.uint8)).save(folder / "a" / name)


def test_a_line_may_name_a_picture_for_each_class(tmp_path: Path) -> None:
    write_archive(
        tmp_path,
        "a/two.png,a/breast.png,a/dense.png,",
        "a/X_1.RIGHT_MLO.png,a/breast.png,a/dense.png,a/nothing.png",
        header="image,breast,dense,pectoral",
    )
    write_class(tmp_path, "breast.png", [[0, 255, 255]] * 4)
    write_class(tmp_path, "dense.png", [[0, 0, 255]] + [[0, 0, 0]] * 3)
    write_class(tmp_path, "nothing.png", [[0, 0, 0]] * 4)
    two, whole = (candidate.load()[1] for candidate in look(tmp_path).candidates)
    around, inside = Label.NOT_BREAST, Label.ADIPOSE_OR_PECTORAL
    assert two.tolist() == [[around, inside, Label.DENSE]] + [[around, inside, inside]] * 3
    assert whole.tolist() == [[0, 1, 2]] + [[0, 1, 1]] * 3


def test_a_picture_of_one_class_with_more_than_two_values_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/breast.png", header="image,breast")
    write_class(tmp_path, "breast.png", [[0, 250, 255]] * 4)
    (candidate,) = look(tmp_path).candidates
    with pytest.raises(MaskError, match="more than one value"):
        candidate.load()


def test_a_class_whose_picture_is_not_there_is_not_taken_for_one_that_was_not_drawn(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/label.png,a/gone.png", header="image,breast,dense")
    source = look(tmp_path)
    assert not source.candidates
    assert [refusal.reason for refusal in source.refusals] == [Reason.NO_MASK]


def test_an_index_of_categories_alone_needs_no_column_of_masks(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,c", header="image,density")
    (candidate,) = look(tmp_path).candidates
    assert (candidate.has_mask, candidate.density) == (False, "c")


def test_a_dicom_image_keeps_its_own_identifiers_and_is_completed_by_the_index(
    tmp_path: Path, make_dicom: MakeDicom
) -> None:
    write_archive(
        tmp_path,
        "a/full.dcm,,R,MLO,0.35,",
        "a/bare,,R,MLO,0.35,P7",
        header="image,label,laterality,view,spacing_mm,patient",
    )
    make_dicom("a/full.dcm", AcquisitionDate="20110203")
    make_dicom("a/bare", ImageLaterality=None, ViewPosition=None, ImagerPixelSpacing=None)
    full, bare = look(tmp_path).candidates
    assert (full.patient_id, bare.patient_id) == ("PID-1", "P7")
    assert full.source_id != bare.source_id
    assert full.year == 2011
    said = full.load()[0]
    assert (said.laterality, said.view, said.spacing) == (
        Laterality.LEFT,
        View.CC,
        Spacing(row_mm=0.4, column_mm=0.4),
    )
    told = bare.load()[0]
    assert (told.laterality, told.view, told.spacing) == (
        Laterality.RIGHT,
        View.MLO,
        Spacing(row_mm=0.35, column_mm=0.35),
    )


def test_a_dicom_image_of_an_archive_is_judged_on_its_header(tmp_path: Path, make_dicom: MakeDicom) -> None:
    write_archive(tmp_path, "a/implant,", "a/lossy,", "a/two.png,")
    make_dicom("a/implant", BreastImplantPresent="YES")
    make_dicom("a/lossy", LossyImageCompression="01")
    source = look(tmp_path)
    assert [(refusal.position, refusal.reason) for refusal in source.refusals] == [
        (1, Reason.IMPLANT),
        (2, Reason.LOSSY),
    ]
    accepting = read_index(tmp_path, lambda *_: None, IntakeRules(accept_lossy=True))
    assert [candidate.position for candidate in accepting.candidates] == [2, 3]


def test_a_damaged_mask_is_not_taken_for_none(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/two.png,a/broken.json", "a/two.png,a/broken.dcm")
    (tmp_path / "a/broken.json").write_bytes(b"{")
    (tmp_path / "a/broken.dcm").write_bytes(b"\0" * 128 + b"DICM")
    for candidate in look(tmp_path).candidates:
        assert candidate.has_mask
        with pytest.raises(MaskError):
            candidate.load()


def test_dicom_images_without_identifiers_are_neither_one_image_nor_one_patient(
    tmp_path: Path, make_dicom: MakeDicom
) -> None:
    write_archive(tmp_path, "a/one,", "a/other,")
    for name in ("one", "other"):
        image = make_dicom(f"a/{name}", PatientID=None, StudyInstanceUID=None, ImageComments=name)
        dataset = dcmread(image)
        del dataset.SOPInstanceUID
        dataset.save_as(image)
    first, second = look(tmp_path).candidates
    assert len({first.source_id, second.source_id, first.patient_id, second.patient_id}) == 2
    assert "" not in {first.source_id, second.source_id}


@pytest.mark.timeout(20)
def test_a_pipe_in_the_index_is_unreadable_and_never_opened(tmp_path: Path) -> None:
    write_archive(tmp_path, "a/pipe,", "a/two.png,a/pipe", "a/two.png,")
    os.mkfifo(tmp_path / "a/pipe")
    source = look(tmp_path)
    assert [(one.position, one.reason) for one in source.refusals] == [
        (1, Reason.UNREADABLE),
        (2, Reason.NO_MASK),
    ]
    assert [candidate.position for candidate in source.candidates] == [3]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("change", ["other pixels", "a pipe"])
def test_an_image_that_changed_since_the_look_is_not_loaded(tmp_path: Path, change: str) -> None:
    write_archive(tmp_path, "a/two.png,")
    (candidate,) = look(tmp_path).candidates
    image = tmp_path / "a/two.png"
    if change == "a pipe":
        image.unlink()
        os.mkfifo(image)
    else:
        Image.fromarray(np.full((4, 3), 7, np.uint8)).save(image)
        os.utime(image, ns=(1, 1))
    with pytest.raises(IntakeError, match="changed while it was being read"):
        candidate.load()
