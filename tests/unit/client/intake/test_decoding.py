"""Every transfer syntax decodes to pydicom's own values, by whatever decoder."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.intake.decoding import stored_values
from client.intake.dicom_file import read_header, read_mammogram
from shared.errors import UndecodableError

MakeDicom = Callable[..., Path]
Image = npt.NDArray[Any]
ROWS, COLUMNS = 512, 320


def draw() -> Image:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    noise_HW = np.random.default_rng(5).integers(0, 40, (ROWS, COLUMNS))
    return np.where(((y - 256) / 200) ** 2 + (x / 220) ** 2 < 1, 1000 + 5 * x + y + noise_HW, 100).astype(
        "<u2"
    )


def encode_rle(image_HW: Image, *, bits_stored: int = 12) -> bytes:
    return RLELosslessEncoder.encode(
        image_HW.tobytes(),
        rows=image_HW.shape[0],
        columns=image_HW.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=bits_stored,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
    )


def encode_j2k(image_HW: Image, *, lossy: bool = False) -> bytes:
    if lossy:
        return bytes(imagecodecs.jpeg2k_encode(image_HW, codecformat="j2k", level=70))
    return bytes(imagecodecs.jpeg2k_encode(image_HW, codecformat="j2k", reversible=True, level=0))


def encode_jpeg_lossless(image_HW: Image, predictor: int = 1) -> bytes:
    return bytes(imagecodecs.jpeg_encode(image_HW, lossless=True, predictor=predictor, bitspersample=12))


def decode(path: Path) -> Image:
    dataset = dcmread(path)
    return stored_values(dataset, dataset.Rows, dataset.Columns)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (RLELossless, encode_rle(draw())),
        (JPEG2000Lossless, encode_j2k(draw())),
        (JPEG2000, encode_j2k(draw())),
        (JPEG2000, encode_j2k(draw(), lossy=True)),
        (JPEGLSLossless, bytes(imagecodecs.jpegls_encode(draw()))),
        (JPEGLSNearLossless, bytes(imagecodecs.jpegls_encode(draw(), level=3))),
    ],
    ids=["rle", "j2k", "j2k-reversible", "j2k-lossy", "jpeg-ls", "jpeg-ls-near"],
)
def test_the_values_are_pydicoms_own(make_dicom: MakeDicom, syntax: UID, frame: bytes) -> None:
    path = make_dicom(syntax=syntax, frame=frame)
    expected_HW = dcmread(path).pixel_array
    stored_HW = decode(path)
    assert stored_HW.dtype == expected_HW.dtype
    assert (stored_HW == expected_HW).all()
    assert np.ptp(stored_HW) > 1000


@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_is_decoded_whatever_its_predictor(make_dicom: MakeDicom, predictor: int) -> None:
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    path = make_dicom(syntax=syntax, frame=encode_jpeg_lossless(draw(), predictor))
    assert (decode(path) == draw()).all()
    assert (read_mammogram(path).pixels_HW == draw()).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=str)
@pytest.mark.parametrize("signed", [False, True])
def test_native_pixels_are_read_however_the_file_is_written(
    make_dicom: MakeDicom, syntax: UID, signed: bool
) -> None:
    image_HW = draw().astype("<i2") - 2000 if signed else draw()
    path = make_dicom(syntax=syntax, PixelRepresentation=int(signed), PixelData=image_HW.tobytes())
    assert read_header(path).has_pixels
    assert (read_mammogram(path).pixels_HW == image_HW).all()


def test_a_big_endian_file_is_read(make_dicom: MakeDicom) -> None:
    path = make_dicom(WindowCenter=1000, WindowWidth=1001, PixelData=draw().tobytes())
    expected_HW = read_mammogram(path).pixels_HW
    dataset = dcmread(path)
    dataset.decode()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.set_original_encoding(False, False)
    dataset.PixelData = draw().astype(">u2").tobytes()
    dataset.save_as(path)
    assert read_header(path).has_pixels
    assert (read_mammogram(path).pixels_HW == expected_HW).all()


def test_a_look_up_table_is_read_where_the_file_does_not_name_its_type(make_dicom: MakeDicom) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "OW", (3 * np.arange(4096)).astype("<u2").tobytes())
    path = make_dicom(syntax=ImplicitVRLittleEndian, VOILUTSequence=[table], PixelData=draw().tobytes())
    assert (read_mammogram(path).pixels_HW == 3.0 * draw()).all()


def test_a_modality_look_up_table_goes_before_the_window(make_dicom: MakeDicom) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "OW", np.arange(4096)[::-1].astype("<u2").tobytes())
    path = make_dicom(ModalityLUTSequence=[table], PixelData=draw().tobytes())
    assert (read_mammogram(path).pixels_HW == 4095.0 - draw()).all()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLosslessSV1, encode_jpeg_lossless),
        (JPEGLSLossless, lambda image: bytes(imagecodecs.jpegls_encode(image))),
    ],
    ids=["jpeg-lossless", "jpeg-ls"],
)
def test_the_sign_is_restored_from_the_bits_stored(
    make_dicom: MakeDicom, syntax: UID, encode: Callable[[Image], bytes]
) -> None:
    image_HW = draw().astype(np.int16) - 2000
    frame = encode((image_HW & 0x0FFF).astype(np.uint16))
    path = make_dicom(syntax=syntax, frame=frame, PixelRepresentation=1)
    assert (read_mammogram(path).pixels_HW == image_HW).all()


def test_a_signed_codestream_is_reconciled_with_the_header(make_dicom: MakeDicom) -> None:
    image_HW = draw().astype(np.int16) - 2000
    path = make_dicom(
        syntax=JPEG2000Lossless, frame=encode_j2k(image_HW), BitsStored=16, PixelRepresentation=1
    )
    assert (decode(path) == image_HW).all()


def test_bits_beyond_those_stored_are_no_part_of_a_value(make_dicom: MakeDicom) -> None:
    overlaid_HW = draw() | np.uint16(0x8000)
    rle = make_dicom("rle", syntax=RLELossless, frame=encode_rle(overlaid_HW, bits_stored=16))
    native = make_dicom("native", PixelData=overlaid_HW.tobytes())
    assert (decode(rle) == draw()).all()
    assert (decode(native) == draw()).all()


def test_run_lengths_with_bytes_to_spare_are_decoded(make_dicom: MakeDicom) -> None:
    path = make_dicom(syntax=RLELossless, frame=encode_rle(draw()) + b"\x01ab\0")
    assert (decode(path) == draw()).all()


def test_a_frame_in_several_fragments_is_put_together(make_dicom: MakeDicom) -> None:
    frame = encode_j2k(draw())
    path = make_dicom(syntax=JPEG2000Lossless, frame=frame)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
    dataset.save_as(path)
    assert (decode(path) == draw()).all()


def huge_j2k() -> bytes:
    """A codestream that claims 65,000 x 65,000 pixels in its SIZ segment."""
    frame = bytearray(encode_j2k(draw()))
    struct.pack_into(">2I", frame, 8, 65_000, 65_000)
    struct.pack_into(">2I", frame, 24, 65_000, 65_000)
    return bytes(frame)


def huge_jpeg(frame: bytes, marker: bytes) -> bytes:
    """A stream that claims 65,000 x 65,000 pixels in its frame header."""
    damaged = bytearray(frame)
    struct.pack_into(">2H", damaged, frame.index(marker) + 5, 65_000, 65_000)
    return bytes(damaged)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEG2000Lossless, huge_j2k()),
        (JPEGLosslessSV1, huge_jpeg(encode_jpeg_lossless(draw()), b"\xff\xc3")),
        (JPEGLSLossless, huge_jpeg(bytes(imagecodecs.jpegls_encode(draw())), b"\xff\xf7")),
    ],
    ids=["j2k", "jpeg-lossless", "jpeg-ls"],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch, syntax: UID, frame: bytes
) -> None:
    def explode(_: bytes) -> Image:
        pytest.fail("the bomb was decoded")

    monkeypatch.setitem(stored_values.__globals__["DECODERS"], syntax, explode)
    path = make_dicom(syntax=syntax, frame=frame)
    with pytest.raises(UndecodableError):
        read_mammogram(path)


@pytest.mark.parametrize(("rows", "columns"), [(ROWS // 2, COLUMNS), (ROWS, COLUMNS - 1)])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLosslessSV1], ids=str)
def test_a_frame_of_another_size_than_the_headers_is_refused(
    make_dicom: MakeDicom, syntax: UID, rows: int, columns: int
) -> None:
    encode: dict[UID, Callable[[Image], bytes]] = {
        RLELossless: encode_rle,
        JPEG2000Lossless: encode_j2k,
        JPEGLosslessSV1: encode_jpeg_lossless,
    }
    image_HW = np.ascontiguousarray(draw()[:rows, :columns])
    path = make_dicom(syntax=syntax, frame=encode[syntax](image_HW))
    with pytest.raises(UndecodableError):
        read_mammogram(path)
