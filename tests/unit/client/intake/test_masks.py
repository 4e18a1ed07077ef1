"""Masks: declared values, the image's size, the breast of that very image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.imaging.example import Label
from client.intake.masks import check_overlap, read_label_map, read_values_table
from shared.errors import IntakeError, MaskError, UndecodableError

TABLE = {0: Label.BACKGROUND, 50: Label.ADIPOSE, 100: Label.DENSE, 200: Label.PECTORAL}
VALUES_HW = np.array([[0, 50, 100], [200, 50, 0]], np.uint8)


def write_table(folder: Path, text: str) -> Path:
    path = folder / "values.toml"
    path.write_text(text)
    return path


def write_mask(folder: Path, values_HW: np.ndarray = VALUES_HW) -> Path:
    path = folder / "mask.png"
    Image.fromarray(values_HW).save(path)
    return path


def test_declared_values_become_labels(tmp_path: Path) -> None:
    labels_HW = read_label_map(write_mask(tmp_path), TABLE, (2, 3))
    assert labels_HW.dtype == np.uint8
    assert labels_HW.tolist() == [[0, 1, 2], [3, 1, 0]]


def test_a_palette_picture_counts_by_index_not_by_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(VALUES_HW, "L").convert("P")
    picture.putpalette([255, 0, 0] * 256)
    picture.save(tmp_path / "mask.png")
    assert read_label_map(tmp_path / "mask.png", TABLE, (2, 3)).tolist() == [[0, 1, 2], [3, 1, 0]]


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="different sizes"):
        read_label_map(write_mask(tmp_path), TABLE, (3, 2))


def test_a_value_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    values_HW = VALUES_HW.copy()
    values_HW[0, 0] = 51
    with pytest.raises(MaskError, match="does not declare"):
        read_label_map(write_mask(tmp_path, values_HW), TABLE, (2, 3))


def test_a_coloured_picture_is_no_label_map(tmp_path: Path) -> None:
    path = write_mask(tmp_path, np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(UndecodableError):
        read_label_map(path, TABLE, (2, 3))


def test_damaged_pictures_are_refused_and_raise_nothing_else(tmp_path: Path) -> None:
    noise_HW = np.random.default_rng(0).choice([0, 50, 100, 200], (64, 48)).astype(np.uint8)
    path = write_mask(tmp_path, noise_HW)
    whole = path.read_bytes()
    generator = np.random.default_rng(3)
    refused = 0
    for number in range(200):
        damaged = bytearray(whole)
        damaged[int(generator.integers(len(whole)))] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged if number % 4 else damaged[: int(generator.integers(len(whole)))])
        try:
            read_label_map(path, TABLE, (64, 48))
        except IntakeError:
            refused += 1
    assert refused > 100


def test_a_declaration_is_read(tmp_path: Path) -> None:
    path = write_table(tmp_path, "[values]\nbackground = 0\nadipose = 50\ndense = 100\npectoral = 200\n")
    assert read_values_table(path) == TABLE


def test_the_pectoral_muscle_need_not_be_declared(tmp_path: Path) -> None:
    path = write_table(tmp_path, "[values]\nbackground = 0\nadipose = 1\ndense = 2\n")
    assert Label.PECTORAL not in read_values_table(path).values()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "values = 3",
        "[values",
        "[values]\nbackground = 0\nadipose = 1",
        "[values]\nbackground = 0\nadipose = 1\ndense = 2\ntumour = 3",
        "[values]\nbackground = 0\nadipose = 1\ndense = 1",
        "[values]\nbackground = 0\nadipose = true\ndense = 2",
        "[values]\nbackground = -1\nadipose = 1\ndense = 2",
        "[values]\nbackground = 0\nadipose = 1.0\ndense = 2",
    ],
)
def test_a_declaration_that_is_unclear_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MaskError):
        read_values_table(write_table(tmp_path, text))


def test_masks_without_a_declaration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="without a table"):
        read_values_table(tmp_path / "values.toml")


def test_a_mirrored_mask_does_not_lie_on_its_breast() -> None:
    breast_HW = np.zeros((40, 40), np.bool_)
    breast_HW[5:35, :15] = True
    labels_HW = np.where(breast_HW, Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    check_overlap(labels_HW, breast_HW)
    with pytest.raises(MaskError, match="does not lie"):
        check_overlap(labels_HW[:, ::-1], breast_HW)


def test_an_empty_mask_does_not_lie_on_its_breast() -> None:
    with pytest.raises(MaskError, match="does not lie"):
        check_overlap(np.zeros((4, 4), np.uint8), np.ones((4, 4), np.bool_))
