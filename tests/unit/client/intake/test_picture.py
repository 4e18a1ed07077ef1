"""Pictures: PNG, TIFF and NIfTI, told by content, bright where they are meant to be bright."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from client.imaging.mammogram import Laterality, View
from client.intake.picture import is_picture, read_picture, read_values
from shared.errors import IntakeError, UndecodableError

VALUES_HW = np.array([[0, 1, 2], [200, 50, 3]])
BLACK_IS_ZERO, WHITE_IS_ZERO = 1, 0


def write_tiff(path: Path, values_HW: np.ndarray, photometric: int, bits: int, order: str = "<") -> Path:
    """An uncompressed TIFF of one strip, written from the specification (TIFF 6.0, sections 2 and 4)."""
    data = values_HW.astype(f"{order}u{bits // 8}").tobytes()
    height, width = values_HW.shape
    short, long = 3, 4
    entries = [
        (256, long, width),
        (257, long, height),
        (258, short, bits),
        (259, short, 1),  # no compression
        (262, short, photometric),
        (273, long, 8),  # where the strip begins
        (277, short, 1),
        (278, long, height),
        (279, long, len(data)),
    ]
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        form = f"{order}HHIHxx" if kind == short else f"{order}HHII"
        directory += struct.pack(form, tag, kind, 1, value)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(magic + struct.pack(f"{order}I", 8 + len(data)) + data + directory + bytes(4))
    return path


@pytest.mark.parametrize(("bits", "order"), [(8, "<"), (16, "<"), (16, ">")])
def test_a_tiff_in_which_black_is_zero_is_taken_as_it_is(tmp_path: Path, bits: int, order: str) -> None:
    path = write_tiff(tmp_path / "x.tif", VALUES_HW, BLACK_IS_ZERO, bits, order)
    assert read_values(path).tolist() == VALUES_HW.tolist()
    assert read_picture(path).pixels_HW.tolist() == VALUES_HW.tolist()


@pytest.mark.parametrize(("bits", "order"), [(8, "<"), (16, "<")])
def test_a_tiff_in_which_white_is_zero_is_turned_round_as_a_picture_but_not_as_values(
    tmp_path: Path, bits: int, order: str
) -> None:
    path = write_tiff(tmp_path / "x.tif", VALUES_HW, WHITE_IS_ZERO, bits, order)
    assert read_values(path).tolist() == VALUES_HW.tolist()
    assert read_picture(path).pixels_HW.tolist() == (200 - VALUES_HW).tolist()


def test_a_compressed_tiff_of_16_bits_keeps_its_values(tmp_path: Path) -> None:
    values_HW = VALUES_HW.astype(np.uint16) * 300
    Image.fromarray(values_HW).save(tmp_path / "x.tif", compression="tiff_lzw")
    assert read_values(tmp_path / "x.tif").tolist() == values_HW.tolist()


@pytest.mark.parametrize("form", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_nifti_is_a_picture_with_columns_first(tmp_path: Path, form: str, version: type, dtype: type) -> None:
    nibabel.save(version(VALUES_HW.T.astype(dtype), np.eye(4), dtype=dtype), tmp_path / form)
    assert is_picture(tmp_path / form)
    pixels_HW = read_picture(tmp_path / form).pixels_HW
    assert pixels_HW.dtype == np.float32
    assert pixels_HW.tolist() == VALUES_HW.tolist()


def test_the_bytes_of_a_nifti_file_may_stand_in_either_order(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.uint16)
    nibabel.save(nibabel.Nifti1Image(VALUES_HW.T.astype(">u2"), np.eye(4), header), tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    assert read_values(tmp_path / "x.nii").tolist() == VALUES_HW.tolist()


def test_scale_and_intercept_of_a_nifti_file_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES_HW.T.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(2, 10)
    content = bytearray(image.to_bytes())
    content[112:120] = struct.pack("<ff", 2, 10)  # scl_slope, scl_inter
    (tmp_path / "x.nii").write_bytes(content)
    stored_HW = nibabel.load(tmp_path / "x.nii").dataobj.get_unscaled().T
    assert read_values(tmp_path / "x.nii").tolist() == (2 * stored_HW + 10).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nifti_picture_with_a_value_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    pixels = VALUES_HW.T.astype(np.float32)
    pixels[0, 0] = value
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(UndecodableError):
        read_picture(tmp_path / "x.nii")


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2), (3, 2, 1, 3), (0, 2)])
def test_a_nifti_file_that_is_no_single_picture_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "x.nii").write_bytes(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)).to_bytes())
    with pytest.raises(UndecodableError):
        read_picture(tmp_path / "x.nii")


def test_complex_numbers_are_no_grey_values(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES_HW.T.astype(np.complex64), np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(UndecodableError):
        read_picture(tmp_path / "x.nii")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"\x1f\x8bnot gzip at all", b"GIF89a", b"x" * 400])
def test_another_file_is_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_picture(tmp_path / "x")
    with pytest.raises(UndecodableError):
        read_picture(tmp_path / "x")


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    for read in (is_picture, read_values, read_picture):
        with pytest.raises(IntakeError, match="cannot be read"):
            read(tmp_path / "x.nii")


def test_a_name_of_the_ddsm_form_says_what_a_picture_shows(tmp_path: Path) -> None:
    nibabel.save(
        nibabel.Nifti1Image(VALUES_HW.T.astype(np.uint8), np.eye(4)), tmp_path / "A_1.LEFT_CC.nii.gz"
    )
    picture = read_picture(tmp_path / "A_1.LEFT_CC.nii.gz")
    assert (picture.laterality, picture.view) == (Laterality.LEFT, View.CC)
