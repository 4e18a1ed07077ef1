"""A folder of masks: which file belongs to which image, and label maps with declared values."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from client.imaging.example import Label
from client.intake.masks import Masks, masks_in, name_at, open_masks, read_values_table
from client.intake.masks.layers import Layer
from shared.errors import IntakeError, MaskError, UndecodableError

TABLE = {0: Layer.BACKGROUND, 50: Layer.ADIPOSE, 100: Layer.DENSE, 200: Layer.PECTORAL}
DECLARED = "[values]\nbackground = 0\nadipose = 50\ndense = 100\npectoral = 200\n"
OTHERWISE = "[values]\nbackground = 200\nadipose = 100\ndense = 50\npectoral = 0\n"
VALUES_HW = np.array([[0, 50, 100], [200, 50, 0]], np.uint8)
LABELS = [[0, 1, 2], [3, 1, 0]]
UID = "1.2.840.113619.2.401"


def write_table(folder: Path, text: str = DECLARED) -> Path:
    path = folder / "values.toml"
    path.write_text(text)
    return path


def write_mask(folder: Path, name: str = f"{UID}.png", values_HW: np.ndarray = VALUES_HW) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    Image.fromarray(values_HW).save(path)
    return path


def write_labelme(path: Path, picture: str) -> None:
    square = [[0, 0], [3, 0], [3, 2], [0, 2]]
    shapes = [{"label": name, "points": square} for name in ("breast", "dense")]
    path.write_text(
        json.dumps(
            {"shapes": shapes, "imagePath": picture, "imageHeight": 2, "imageWidth": 3, "imageData": None}
        )
    )


def read(path: Path, shape: tuple[int, int] = (2, 3)) -> list[list[int]]:
    (mask,) = masks_in(path, TABLE)
    labels_HW = mask.read(shape)
    assert labels_HW.dtype == np.uint8
    return labels_HW.tolist()


def test_declared_values_become_labels(tmp_path: Path) -> None:
    assert read(write_mask(tmp_path)) == LABELS


@pytest.mark.parametrize("ending", ["tif", "TIFF"])
def test_a_tiff_is_a_label_map(tmp_path: Path, ending: str) -> None:
    assert read(write_mask(tmp_path, f"mask.{ending}")) == LABELS


def test_a_tiff_of_16_bits_is_a_label_map(tmp_path: Path) -> None:
    assert read(write_mask(tmp_path, "mask.tif", VALUES_HW.astype(np.uint16))) == LABELS


def test_a_palette_picture_counts_by_index_not_by_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(VALUES_HW, "L").convert("P")
    picture.putpalette([255, 0, 0] * 256)
    picture.save(tmp_path / "mask.png")
    assert read(tmp_path / "mask.png") == LABELS


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (-1, 1)])
def test_nifti_has_columns_first_whatever_the_signs_of_its_affine(
    tmp_path: Path, name: str, dtype: type, signs: tuple[int, int]
) -> None:
    affine = np.diag([0.1 * signs[0], 0.1 * signs[1], 1, 1])
    nibabel.save(nibabel.Nifti1Image(VALUES_HW.T[..., None].astype(dtype), affine), tmp_path / name)
    assert read(tmp_path / name) == LABELS


def test_a_nifti_volume_is_no_label_map(tmp_path: Path) -> None:
    volume = np.zeros((3, 2, 2), np.uint8)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "mask.nii")
    with pytest.raises(UndecodableError):
        read(tmp_path / "mask.nii")


def test_a_value_between_two_classes_of_a_smoothed_nifti_is_refused(tmp_path: Path) -> None:
    smoothed = VALUES_HW.T.astype(np.float32)
    smoothed[0, 0] = 0.5
    nibabel.save(nibabel.Nifti1Image(smoothed, np.eye(4)), tmp_path / "mask.nii")
    with pytest.raises(MaskError, match="does not declare"):
        read(tmp_path / "mask.nii")


@pytest.mark.parametrize("kind", ["png", "nii"])
def test_a_mask_of_another_size_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "png":
        write_mask(tmp_path, "mask.png")
    else:
        nibabel.save(nibabel.Nifti1Image(VALUES_HW.T, np.eye(4)), tmp_path / "mask.nii")
    with pytest.raises(MaskError, match="different sizes"):
        read(tmp_path / f"mask.{kind}", (3, 2))


def test_a_value_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    values_HW = VALUES_HW.copy()
    values_HW[0, 0] = 51
    with pytest.raises(MaskError, match="does not declare"):
        read(write_mask(tmp_path, values_HW=values_HW))


def test_a_coloured_picture_is_no_label_map(tmp_path: Path) -> None:
    with pytest.raises(UndecodableError, match="has colours"):
        read(write_mask(tmp_path, values_HW=np.zeros((2, 3, 3), np.uint8)))


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.nii", "mask.nii.gz"])
def test_damaged_label_maps_are_refused_and_raise_nothing_else(tmp_path: Path, name: str) -> None:
    noise_HW = np.random.default_rng(0).choice([0, 50, 100, 200], (64, 48)).astype(np.uint8)
    path = tmp_path / name
    if "nii" in name:
        nibabel.save(nibabel.Nifti1Image(noise_HW.T, np.eye(4)), path)
    else:
        write_mask(tmp_path, name, noise_HW)
    whole = path.read_bytes()
    generator = np.random.default_rng(3)
    outcomes = []
    for number in range(150):
        damaged = bytearray(whole)
        damaged[int(generator.integers(min(len(whole), 400)))] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged if number % 4 else damaged[: int(generator.integers(len(whole)))])
        try:
            read(path, (64, 48))
            outcomes.append("read")
        except IntakeError:
            outcomes.append("refused")
    assert outcomes.count("refused") > 20


def test_a_compressed_nifti_that_inflates_without_end_is_read_no_further_than_its_picture(
    tmp_path: Path,
) -> None:
    whole = nibabel.Nifti1Image(VALUES_HW.T, np.eye(4)).to_bytes()
    with gzip.open(tmp_path / "mask.nii.gz", "wb", compresslevel=1) as file:
        file.write(whole)
        for _ in range(64):
            file.write(bytes(1 << 20))
    assert read(tmp_path / "mask.nii.gz") == LABELS


def test_a_nifti_header_that_claims_a_huge_picture_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES_HW.T, np.eye(4))
    content = bytearray(image.to_bytes())
    content[42:46] = np.array([32767, 32767], "<i2").tobytes()  # dim[1] and dim[2]
    (tmp_path / "mask.nii").write_bytes(content)
    with pytest.raises(UndecodableError):
        read(tmp_path / "mask.nii")


def test_a_declaration_is_read(tmp_path: Path) -> None:
    assert read_values_table(write_table(tmp_path)) == TABLE


def test_the_pectoral_muscle_need_not_be_declared(tmp_path: Path) -> None:
    path = write_table(tmp_path, "[values]\nbackground = 0\nadipose = 1\ndense = 2\n")
    assert Layer.PECTORAL not in read_values_table(path).values()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "values = 3",
        "[values",
        "[values]\nbackground = 0",
        "[values]\nadipose = 1\ndense = 2",
        "[values]\nbackground = 0\ndense = 1\nfibroglandular = 2",
        "[values]\nbackground = 0\nbreast = 1\nno_dense = 2",
        "[values]\nbackground = 0\nadipose = 1\ndense = 2\ntumour = 3",
        "[values]\nbackground = 0\nadipose = 1\ndense = 1",
        "[values]\nbackground = 0\nadipose = true\ndense = 2",
        "[values]\nbackground = -1\nadipose = 1\ndense = 2",
        "[values]\nbackground = 0\nadipose = 1.0\ndense = 2",
        "values = " + "[" * 60_000,
    ],
)
def test_a_declaration_that_is_unclear_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MaskError):
        read_values_table(write_table(tmp_path, text))


def test_a_folder_gives_each_mask_under_its_images_uid(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_mask(tmp_path)
    write_mask(tmp_path / "reader/one", "1.2.3.tif")
    nibabel.save(nibabel.Nifti1Image(VALUES_HW.T, np.eye(4)), tmp_path / "1.2.4.nii.gz")
    write_labelme(tmp_path / "1.2.5.json", "anything.png")
    (tmp_path / "letter.txt").write_text("Dear colleague")
    (tmp_path / "._1.2.6.png").write_bytes(b"a note of the system")
    masks = open_masks(tmp_path)
    assert list(masks) == ["1.2.3", "1.2.4", "1.2.5", UID]
    assert {key: mask.kind for key, mask in masks.items()} == {
        "1.2.3": "tiff",
        "1.2.4": "nifti",
        "1.2.5": "labelme",
        UID: "png",
    }
    for key in ("1.2.3", "1.2.4", UID):
        assert masks[key].read((2, 3)).tolist() == LABELS
    assert masks.get("1.2") is None


def test_a_mask_reaches_a_worker_and_prints_no_identifier(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_mask(tmp_path)
    write_labelme(tmp_path / "1.2.5.json", "x.png")
    for mask in open_masks(tmp_path).values():
        assert pickle.loads(pickle.dumps(mask)).read((2, 3)).tolist() == mask.read((2, 3)).tolist()
        assert mask.key not in repr(mask)
        assert str(tmp_path) not in repr(mask)


def test_without_a_folder_there_are_no_masks(tmp_path: Path) -> None:
    assert len(open_masks(tmp_path / "masks")) == len(Masks()) == 0


def test_label_maps_without_a_declaration_are_refused(tmp_path: Path) -> None:
    write_mask(tmp_path)
    with pytest.raises(MaskError, match="without a table"):
        open_masks(tmp_path)


def test_outlines_need_no_declaration(tmp_path: Path) -> None:
    write_labelme(tmp_path / "1.2.5.json", "1.2.5.png")
    assert list(open_masks(tmp_path)) == ["1.2.5"]


def test_the_nearest_declaration_above_holds(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_mask(tmp_path / "a/b", "1.png")
    write_mask(tmp_path / "c/d", "2.png")
    write_table(tmp_path / "c", OTHERWISE)
    masks = open_masks(tmp_path)
    assert masks["1"].read((2, 3)).tolist() == LABELS
    assert masks["2"].read((2, 3)).tolist() == [[3, 2, 1], [0, 2, 3]]


def test_the_position_of_a_mask_is_that_of_its_file_in_the_listing(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_mask(tmp_path / "a", "1.2.3.png")
    write_labelme(tmp_path / "b.json", f"{UID}.png")
    (tmp_path / "notes.txt").write_text("Dear colleague")
    masks = open_masks(tmp_path)
    assert [name_at(tmp_path, masks[key].position) for key in ("1.2.3", UID)] == ["a/1.2.3.png", "b.json"]
    assert [name_at(tmp_path, position) for position in (0, 5)] == [None, None]


def test_label_maps_of_a_class_each_make_one_mask(tmp_path: Path) -> None:
    for name, values in {"breast": [50, 100, 200], "dense": [100], "pectoral": [200]}.items():
        write_mask(tmp_path / name, values_HW=np.isin(VALUES_HW, values).astype(np.uint8) * 255)
        write_table(tmp_path / name, f"[values]\nbackground = 0\n{name} = 255\n")
    assert open_masks(tmp_path)[UID].read((2, 3)).tolist() == LABELS


def test_a_label_map_without_a_class_leaves_it_open(tmp_path: Path) -> None:
    write_mask(tmp_path, values_HW=np.array([[0, 50, 100], [0, 50, 0]], np.uint8))
    write_table(tmp_path, "[values]\nbackground = 0\nadipose = 50\ndense = 100\n")
    around = Label.NOT_BREAST
    expected = [[around, Label.ADIPOSE, Label.DENSE], [around, Label.ADIPOSE, around]]
    assert open_masks(tmp_path)[UID].read((2, 3)).tolist() == expected


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_mask(tmp_path / "reader one")
    write_mask(tmp_path / "reader two")
    write_mask(tmp_path, "1.2.3.png")
    masks = open_masks(tmp_path)
    with pytest.raises(MaskError, match="more than one mask"):
        masks[UID].read((2, 3))
    assert masks["1.2.3"].read((2, 3)).tolist() == LABELS


def test_the_picture_that_labelme_keeps_beside_its_file_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    write_mask(tmp_path / "pictures", f"{UID}.png")
    write_mask(tmp_path / "drawn", "1.2.5.png")
    write_labelme(tmp_path / f"drawn/{UID}.json", f"..\\pictures\\{UID}.png")
    write_labelme(tmp_path / "drawn/1.2.5.json", "1.2.5.png")
    for folder in (tmp_path, tmp_path / "drawn/.."):
        masks = open_masks(folder)
        assert {key: mask.kind for key, mask in masks.items()} == {"1.2.5": "labelme", UID: "labelme"}


def test_an_outline_is_found_by_its_pictures_uid_when_its_own_name_is_none(tmp_path: Path) -> None:
    write_labelme(tmp_path / "case 7.json", f"C:\\films\\{UID}.dcm")
    write_labelme(tmp_path / "1.2.5.json", "1.2.9.png")
    write_labelme(tmp_path / "plain.json", "other.png")
    assert list(open_masks(tmp_path)) == ["1.2.5", UID, "plain"]


def test_a_pipe_among_the_masks_does_not_hang_the_look_through(tmp_path: Path) -> None:
    write_table(tmp_path)
    os.mkfifo(tmp_path / "1.2.3.json")
    os.mkfifo(tmp_path / "1.2.4.png")
    (tmp_path / "1.2.5.png").symlink_to("1.2.5.png")
    assert len(open_masks(tmp_path)) == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 1_000_000, b'{"shapes": 3}'])
def test_a_damaged_outline_leaves_its_image_refused_not_unmasked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{UID}.json").write_bytes(content)
    with pytest.raises(MaskError):
        open_masks(tmp_path)[UID].read((2, 3))


def test_another_json_file_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "films"}')
    assert len(open_masks(tmp_path)) == 0


def test_a_json_file_beyond_any_size_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / f"{UID}.json").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(MaskError, match="larger than"):
        open_masks(tmp_path)[UID].read((2, 3))
