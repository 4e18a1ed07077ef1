"""The door for pydicom: one file to header facts, and to a `Mammogram`.

Only the elements of `allow_list` are read. The pixels are decoded by `decoding` and take the standard's path
to what a reader would see in `presentation`.

pydicom names values of the file in its warnings and log lines, so both are silenced.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.imaging.mammogram import Mammogram, View
from client.intake.allow_list import HEADER_KEYWORDS, IMAGE_KEYWORDS, reduced, tags
from client.intake.decoding import stored_values
from client.intake.dicom_header import parse_header
from client.intake.exclusions import Reason, refusal
from client.intake.header import Header
from client.intake.presentation import presented
from client.intake.recognition import (
    HEAD_SIZE_BYTES,
    MAGIC,
    PREAMBLE_SIZE_BYTES,
    Kind,
    NotRegularError,
    kind_of,
    open_regular,
)
from shared.errors import IntakeError, NotDicomError

logging.getLogger("pydicom").disabled = True
config.settings.reading_validation_mode = config.IGNORE

MAX_PIXELS = 100_000_000
"""Largest image that is decoded; the largest detectors have about 30 million pixels."""
MAX_INFLATED_BYTES = 2 * MAX_PIXELS + (64 << 20)
"""The largest image and what goes with it."""
MAX_HEADER_BYTES = 512 << 10
"""That are read for a header; what is not listed is stepped over. Real headers have a tenth, and of nothing
but empty items pydicom takes seconds for so many."""
MAX_ITEMS = MAX_HEADER_BYTES // 8
ITEM_TAG = b"\xfe\xff\x00\xe0"
BULK_TAGS = frozenset({0x52009230, 0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Per-Frame Functional Groups Sequence, as long as a volume has frames, and the three forms of pixels."""
CHUNK_BYTES = 1 << 20
GROUP_LENGTH = struct.Struct("<4s4xI")
GROUP_LENGTH_TAG = b"\x02\x00\x00\x00"
"""The first element of the file meta information: how long the rest of it is (PS3.10 7.1)."""
PIXEL_DATA = frozenset({"PixelData"})


def is_dicom(path: Path) -> bool:
    """Whether the file begins as a DICOM file does, whatever its name; also one without the preamble.

    Raises
    ------
    IntakeError
        The file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return kind_of(file.read(HEAD_SIZE_BYTES)) is not Kind.OTHER
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def read_header(path: Path) -> Header:
    """Read the header only, whatever the size of the pixels behind it.

    Raises
    ------
    IntakeError
        The file cannot be read.
    NotDicomError
        It is not DICOM.
    UndecodableError
        It is DICOM, but damaged.
    """
    with _opened(path) as file:
        _check_inflation(file)
        dataset = read_partial(
            cast("BinaryIO", _Sparing(file, MAX_HEADER_BYTES)),
            stop_when=lambda tag, _vr, _length: int(tag) in BULK_TAGS,
            force=True,
            specific_tags=tags(HEADER_KEYWORDS),
        )
        return parse_header(reduced(dataset, HEADER_KEYWORDS), _is_more(file, dataset))


def read_mammogram(path: Path) -> Mammogram:
    """Read and decode a file whose header has been judged; its identifiers are not read again.

    Raises
    ------
    IntakeError
        The file cannot be read.
    NotDicomError
        It is not DICOM.
    UndecodableError
        Its pixels are missing, incomplete, damaged, too many or coded in an unknown way.
    """
    with _opened(path) as file:
        dataset, has_pixels = _read_up_to_pixels(file, IMAGE_KEYWORDS)
        header = parse_header(dataset, has_pixels)
        # A volume may be larger than the memory: decided before its frames are read.
        if not has_pixels or header.num_frames != 1 or not 0 < header.rows * header.columns <= MAX_PIXELS:
            raise refusal(Reason.UNDECODABLE)
        file.seek(0)
        dataset.add(dcmread(file, force=True, specific_tags=tags(PIXEL_DATA))["PixelData"])
    with _damage_refused():
        return Mammogram(
            pixels_HW=presented(dataset, stored_values(dataset, header.rows, header.columns)),
            spacing=header.spacing,
            laterality=header.laterality,
            view=View(header.view) if header.view in set(View) else None,
            chest_wall=header.chest_wall,
            manufacturer=header.manufacturer,
        )


def _read_up_to_pixels(file: BinaryIO, keywords: frozenset[str]) -> tuple[Dataset, bool]:
    """The elements listed, and whether pixels come after them."""
    _check_inflation(file)
    dataset = dcmread(file, force=True, stop_before_pixels=True, specific_tags=tags(keywords - PIXEL_DATA))
    return reduced(dataset, keywords), _is_more(file, dataset)


def _is_more(file: BinaryIO, dataset: Dataset) -> bool:
    """Whether anything is left where pydicom has stopped, which is in front of the pixels.

    A deflated file has been inflated whole.
    """
    deflated = dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    return bool(file.read(1)) or deflated


def _check_inflation(file: BinaryIO) -> None:
    """Refuse a deflated data set (PS3.5 A.5) that would take too long, or fill the memory.

    pydicom inflates it at once, so that `_Sparing` cannot bound what it reads.
    """
    head = file.read(HEAD_SIZE_BYTES)
    if DeflatedExplicitVRLittleEndian.encode() in head:
        tag, length = GROUP_LENGTH.unpack_from(head, PREAMBLE_SIZE_BYTES + len(MAGIC))
        if tag != GROUP_LENGTH_TAG:
            raise refusal(Reason.UNDECODABLE)
        file.seek(PREAMBLE_SIZE_BYTES + len(MAGIC) + GROUP_LENGTH.size + length)
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated = num_items = 0
        while chunk := inflating.unconsumed_tail or file.read(CHUNK_BYTES):
            content = inflating.decompress(chunk, CHUNK_BYTES)
            inflated += len(content)
            num_items += content.count(ITEM_TAG)
            if inflated > MAX_INFLATED_BYTES or num_items > MAX_ITEMS:
                raise refusal(Reason.UNDECODABLE)
    file.seek(0)


class _Sparing:
    """A file of which no more than so many bytes can be read, wherever they lie."""

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file = file
        self._left_bytes = limit_bytes
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As a file's; raises UndecodableError beyond the limit."""
        content = self._file.read(min(size, self._left_bytes + 1) if size >= 0 else self._left_bytes + 1)
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise refusal(Reason.UNDECODABLE)
        return content


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if not is_dicom(path):
        raise NotDicomError(
            "The file is not a DICOM file.", "Give a mammogram exported as DICOM (For Presentation)."
        )
    try:
        with open_regular(path) as file, _damage_refused(but=OSError):
            yield file
    except NotRegularError as error:
        raise refusal(Reason.UNREADABLE) from error
    except OSError as error:
        # pydicom raises it too, without a number, for what it cannot make sense of.
        raise refusal(Reason.UNDECODABLE if error.errno is None else Reason.UNREADABLE) from error


@contextmanager
def _damage_refused(but: type[Exception] = IntakeError) -> Iterator[None]:
    """A damaged file can make pydicom and the decoders raise anything: all of it but this is undecodable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (IntakeError, but):
        raise
    except Exception as error:
        raise refusal(Reason.UNDECODABLE) from error
