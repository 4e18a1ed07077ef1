"""One file to pixels: every coding decodes to the same values, every damage is a refusal."""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from client.imaging.mammogram import Laterality, Side, Spacing, View
from client.imaging.preparation import prepare
from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from shared.errors import IntakeError, MammofedError, NotDicomError, UndecodableError

MakeDicom = Callable[..., Path]
Image = npt.NDArray[np.uint16]


def draw() -> Image:
    y, x = np.mgrid[:512, :320]
    return np.where(((y - 256) / 200) ** 2 + (x / 220) ** 2 < 1, 1000 + 5 * x + y, 100).astype(np.uint16)


def encode_rle(image_HW: Image) -> bytes:
    return RLELosslessEncoder.encode(
        image_HW.tobytes(),
        rows=512,
        columns=320,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=12,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
    )


def encode_j2k(image_HW: Image) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(image_HW, codecformat="j2k", reversible=True, level=0))


LOSSLESS: dict[UID, Callable[[Image], bytes]] = {
    RLELossless: encode_rle,
    JPEG2000Lossless: encode_j2k,
    JPEGLossless: lambda image: bytes(imagecodecs.ljpeg_encode(image)),
    JPEGLosslessSV1: lambda image: bytes(imagecodecs.ljpeg_encode(image)),
    JPEGLSLossless: lambda image: bytes(imagecodecs.jpegls_encode(image)),
}


def encode_jpeg_12bit(image_HW: Image) -> bytes:
    return bytes(imagecodecs.jpeg_encode(image_HW, bitspersample=12, level=98))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_every_lossless_coding_gives_the_native_values(make_dicom: MakeDicom, syntax: UID) -> None:
    image_HW = draw()
    path = make_dicom(syntax=syntax, frame=LOSSLESS[syntax](image_HW))
    assert (read_mammogram(path).pixels_HW == image_HW).all()


def test_12_bit_jpeg_extended_is_decoded(make_dicom: MakeDicom) -> None:
    image_HW = draw()
    path = make_dicom(syntax=JPEGExtended12Bit, frame=encode_jpeg_12bit(image_HW))
    assert read_header(path).lossy
    difference_HW = np.abs(read_mammogram(path).pixels_HW - image_HW)
    assert difference_HW.mean() < 5


def test_12_bit_jpeg_extended_of_another_maker_is_decoded() -> None:
    pixels_HW = read_mammogram(Path(str(get_testdata_file("JPGExtended.dcm")))).pixels_HW
    assert pixels_HW.shape == (1024, 256)
    assert pixels_HW.max() > pixels_HW.min()


def test_implicit_little_endian_is_decoded(make_dicom: MakeDicom) -> None:
    path = make_dicom(syntax=ImplicitVRLittleEndian, PixelData=draw().tobytes())
    assert (read_mammogram(path).pixels_HW == draw()).all()


def test_the_header_facts_arrive_at_the_mammogram(make_dicom: MakeDicom) -> None:
    mammogram = read_mammogram(make_dicom())
    assert mammogram.view is View.CC
    assert mammogram.laterality is Laterality.LEFT
    assert mammogram.chest_wall is Side.LEFT
    assert mammogram.spacing == Spacing(row_mm=0.4, column_mm=0.4)
    assert mammogram.manufacturer == "hologic"
    assert mammogram.pixels_HW.dtype == np.float32


def test_monochrome1_is_inverted_after_the_window(make_dicom: MakeDicom) -> None:
    window = {"WindowCenter": 1500, "WindowWidth": 2000, "PixelData": draw().tobytes()}
    plain_HW = read_mammogram(make_dicom(**window)).pixels_HW
    inverted_HW = read_mammogram(make_dicom(PhotometricInterpretation="MONOCHROME1", **window)).pixels_HW
    np.testing.assert_allclose(inverted_HW, plain_HW.max() - plain_HW, atol=1e-3)


def test_an_inverse_presentation_lut_on_monochrome1_does_not_invert_twice(make_dicom: MakeDicom) -> None:
    one = read_mammogram(make_dicom(PhotometricInterpretation="MONOCHROME1")).pixels_HW
    both = read_mammogram(
        make_dicom(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    ).pixels_HW
    lut = read_mammogram(make_dicom(PresentationLUTShape="INVERSE")).pixels_HW
    assert (one == both).all()
    assert (one == lut).all()


def test_a_linear_window_is_applied_as_the_standard_says(make_dicom: MakeDicom) -> None:
    pixels_HW = read_mammogram(
        make_dicom(WindowCenter=1000, WindowWidth=1001, PixelData=draw().tobytes())
    ).pixels_HW
    # PS3.3 C.11.2.1.2.1 with c = 1000, w = 1001, output 0 to 4095.
    expected_HW = np.clip(((draw().astype(float) - 999.5) / 1000 + 0.5) * 4095, 0, 4095)
    np.testing.assert_allclose(pixels_HW, expected_HW, atol=0.01)


def test_a_sigmoid_window_is_applied_as_the_standard_says(make_dicom: MakeDicom) -> None:
    pixels_HW = read_mammogram(
        make_dicom(WindowCenter=1500, WindowWidth=900, VOILUTFunction="SIGMOID", PixelData=draw().tobytes())
    ).pixels_HW
    # PS3.3 C.11.2.1.3.1 with output 0 to 4095.
    expected_HW = 4095 / (1 + np.exp(-4 * (draw().astype(float) - 1500) / 900))
    np.testing.assert_allclose(pixels_HW, expected_HW, atol=0.5)


def test_a_voi_lut_goes_before_the_window_and_only_the_first_is_used(make_dicom: MakeDicom) -> None:
    def lut(slope: int) -> Dataset:
        item = Dataset()
        item.LUTDescriptor = [4096, 0, 16]
        values = np.minimum(65535, slope * np.arange(4096)).astype("<u2")
        item.add_new("LUTData", "OW", values.tobytes())
        return item

    pixels_HW = read_mammogram(
        make_dicom(
            VOILUTSequence=[lut(3), lut(7)],
            WindowCenter=1500,
            WindowWidth=10,
            PixelData=draw().tobytes(),
        )
    ).pixels_HW
    assert (pixels_HW == 3.0 * draw()).all()


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_becomes_the_darkest_value_whatever_the_interpretation(
    make_dicom: MakeDicom, interpretation: str
) -> None:
    image_HW = np.where(draw() == 100, 3200, draw()).astype(np.uint16)
    image_HW[:50, -50:] = 3044
    path = make_dicom(
        PhotometricInterpretation=interpretation,
        PixelPaddingValue=3204,
        PixelPaddingRangeLimit=3044,
        PixelData=image_HW.tobytes(),
    )
    pixels_HW = read_mammogram(path).pixels_HW
    padding_HW = image_HW >= 3044
    assert (pixels_HW[padding_HW] == pixels_HW.min()).all()
    assert prepare(read_mammogram(path)).image_HW.any()


def test_signed_values_with_a_rescale_are_transformed(make_dicom: MakeDicom) -> None:
    image_HW = draw().astype(np.int16) - 2000
    path = make_dicom(
        PixelRepresentation=1,
        BitsStored=16,
        HighBit=15,
        RescaleSlope=2,
        RescaleIntercept=7,
        PixelData=image_HW.tobytes(),
    )
    assert (read_mammogram(path).pixels_HW == 2.0 * image_HW + 7).all()


def test_a_file_is_known_by_its_content_not_its_name(make_dicom: MakeDicom, tmp_path: Path) -> None:
    text = tmp_path / "letter.dcm"
    text.write_text("Dear colleague, " * 20)
    assert is_dicom(make_dicom("export_0001"))
    assert not is_dicom(text)


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 4096, b"x" * 128 + b"DIC"])
def test_a_file_that_is_not_dicom_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "DOE_JANE.dcm"
    path.write_bytes(content)
    with pytest.raises(NotDicomError) as caught:
        read_header(path)
    assert "DOE" not in caught.value.message + caught.value.hint


def test_a_missing_file_is_unreadable_and_its_name_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(IntakeError, match="cannot be read") as caught:
        read_header(tmp_path / "DOE_JANE.dcm")
    assert "DOE" not in caught.value.message + caught.value.hint


def test_a_header_without_pixels_is_noticed_without_reading_on(make_dicom: MakeDicom) -> None:
    assert read_header(make_dicom()).has_pixels
    assert not read_header(make_dicom(PixelData=None)).has_pixels
    with pytest.raises(UndecodableError):
        read_mammogram(make_dicom(PixelData=None))


def deflated(path: Path, data_set: Iterable[bytes]) -> Path:
    """A file of the deflated syntax with this content behind its file meta information."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    with path.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, meta)
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        for chunk in data_set:
            file.write(deflating.compress(chunk))
        file.write(deflating.flush())
    return path


def test_a_deflated_file_is_read(make_dicom: MakeDicom, tmp_path: Path) -> None:
    plain = make_dicom()
    content = plain.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    path = deflated(tmp_path / "deflated", [content[start:]])
    assert (read_mammogram(path).pixels_HW == read_mammogram(plain).pixels_HW).all()


def test_attack_a_deflated_file_that_inflates_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path,
) -> None:
    path = deflated(tmp_path / "bomb", (bytes(1 << 20) for _ in range(400)))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(UndecodableError):
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def many_items(make_dicom: MakeDicom, num_items: int) -> tuple[Path, bytes]:
    """A mammogram whose view has so many empty codes, and its data set."""
    path = make_dicom()
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    element = b"\x54\x00\x20\x02SQ\x00\x00" + (8 * num_items).to_bytes(4, "little")
    view = element + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * num_items
    tags_before = content[start:].index(b"\xe0\x7f\x10\x00") + start
    path.write_bytes(content[:tags_before] + view + content[tags_before:])
    return path, path.read_bytes()[start:]


@pytest.mark.parametrize("form", ["plain", "deflated"])
def test_attack_a_header_of_a_million_empty_items_is_refused_within_seconds(
    make_dicom: MakeDicom, tmp_path: Path, form: str
) -> None:
    path, data_set = many_items(make_dicom, 1_000_000)
    if form == "deflated":
        path = deflated(tmp_path / "bomb", [data_set])
    began = time.process_time()
    with pytest.raises(UndecodableError):
        read_header(path)
    assert time.process_time() - began < 10


def frames() -> list[tuple[UID | None, bytes | None]]:
    image_HW = draw()
    coded: list[tuple[UID | None, bytes | None]] = [
        (syntax, encode(image_HW)) for syntax, encode in LOSSLESS.items()
    ]
    return [(None, None), *coded, (JPEGExtended12Bit, encode_jpeg_12bit(image_HW))]


@pytest.mark.parametrize(("syntax", "frame"), frames(), ids=lambda part: str(getattr(part, "name", "")))
def test_a_cut_off_file_is_refused_whatever_its_coding(
    make_dicom: MakeDicom, syntax: UID | None, frame: bytes | None
) -> None:
    path = make_dicom(syntax=syntax, frame=frame)
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UndecodableError):
            read_mammogram(path)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [part for part in frames()[1:] if part[0] != RLELossless],
    ids=lambda part: str(getattr(part, "name", "")),
)
def test_a_cut_off_frame_in_a_whole_file_is_refused(make_dicom: MakeDicom, syntax: UID, frame: bytes) -> None:
    path = make_dicom(syntax=syntax, frame=frame[: len(frame) * 6 // 10])
    with pytest.raises(UndecodableError):
        read_mammogram(path)


@pytest.mark.parametrize(
    "attributes",
    [{"Rows": 0}, {"Rows": 65535, "Columns": 65535}, {"Rows": 511}, {"BitsAllocated": 8}],
    ids=str,
)
def test_a_header_that_does_not_fit_its_pixels_is_refused(
    make_dicom: MakeDicom, attributes: dict[str, Any]
) -> None:
    path = make_dicom(syntax=JPEG2000Lossless, frame=encode_j2k(draw()), **attributes)
    with pytest.raises(UndecodableError):
        read_mammogram(path)


@pytest.mark.parametrize(("syntax", "frame"), frames(), ids=lambda part: str(getattr(part, "name", "")))
def test_flipped_bytes_give_a_refusal_or_an_image_and_never_another_error(
    make_dicom: MakeDicom, syntax: UID | None, frame: bytes | None
) -> None:
    path = make_dicom(syntax=syntax, frame=frame)
    whole = path.read_bytes()
    generator = random.Random(7)
    refused = 0
    for _ in range(30):
        damaged = bytearray(whole)
        for _ in range(generator.choice((1, 4, 16))):
            span = len(damaged) if generator.random() < 0.4 else 1400
            damaged[generator.randrange(128, span)] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_header(path)
            prepare(read_mammogram(path))
        except MammofedError as error:
            refused += 1
            assert "DOE" not in error.message + error.hint
    assert refused > 5
