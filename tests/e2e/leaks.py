"""Looking for what must not leave: texts in every form that they could take, and pieces of images."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pydicom

from client.catalog import Catalog, Part
from client.imaging.example import Example
from client.training.dataset import FittedDataset
from shared.plan import ModelPlan

WINDOW_BYTES = 64
HEAD_BYTES = MIN_TEXT = 6
MIN_DIGITS = 8
"""Shorter numbers, such as times of day, occur by chance."""

TEXT_VRS = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UI", "DA", "DT"})
MIN_DISTINCT_BYTES = 8
BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
Windows = npt.NDArray[np.uint8]


def forms_of(text: str) -> set[bytes]:
    """A text as UTF-8, UTF-16, hexadecimal, base64 at any offset, and in a URL; upper and lower case."""
    forms = set()
    for variant in {text, text.lower(), text.upper()}:
        plain = variant.encode()
        forms |= {plain, variant.encode("utf-16-le"), variant.encode("utf-16-be"), quote(variant).encode()}
        forms |= {plain.hex().encode(), plain.hex().upper().encode()}
        for offset in range(3):
            # Of a base64 run, only what depends on the text alone: whole groups of three bytes.
            whole = plain[(3 - offset) % 3 :]
            whole = whole[: len(whole) // 3 * 3]
            forms |= {base64.b64encode(whole), base64.urlsafe_b64encode(whole)}
    return {form for form in forms if len(form) >= HEAD_BYTES}


def with_base64_opened(stream: bytes) -> bytes:
    """The stream, and behind it whatever its base64 runs hold, two layers deep."""
    layers = [stream]
    for _ in range(2):
        layers.append(b"\n".join(_opened(layers[-1])))
    return b"\n".join(layers)


def _opened(stream: bytes) -> Iterator[bytes]:
    for run in BASE64_RUN.findall(stream):
        body = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for offset in range(4):  # what stands before a base64 text may look like a part of it
            yield base64.b64decode(body[offset : offset + (len(body) - offset) // 4 * 4])


def texts_of_dicom(file: Path) -> set[str]:
    """Every text, date and unique identifier in a DICOM header, and the parts of each name.

    Terms of a vocabulary (PS3.3, 8), such as `Breast`, name nobody and are left out.
    """
    texts = set()
    for element in pydicom.dcmread(file, stop_before_pixels=True).iterall():
        if element.VR in TEXT_VRS and element.keyword not in {"CodeMeaning", "CodeValue"}:
            values = map(str, element.value if element.VM > 1 else [element.value])
            texts |= {part for value in values for part in {value, *value.split("^")}}
    return {text for text in texts if len(text) >= (MIN_DIGITS if text.isdecimal() else MIN_TEXT)}


def windows_of(array_HW: npt.NDArray[np.generic], inside_HW: npt.NDArray[np.bool_]) -> Windows:
    """Pieces of `WINDOW_BYTES` of the rows, wholly inside a region, that are not nearly constant."""
    width = WINDOW_BYTES // array_HW.itemsize
    columns = array_HW.shape[1] // width * width
    pieces = np.ascontiguousarray(array_HW[:, :columns]).reshape(-1, width)
    inside = inside_HW[:, :columns].reshape(-1, width).all(axis=1)
    return _varied(pieces[inside].view(np.uint8).reshape(-1, WINDOW_BYTES))


def windows_of_bytes(content: bytes) -> Windows:
    """Pieces of a file, one after the other."""
    length = len(content) // WINDOW_BYTES * WINDOW_BYTES
    return _varied(np.frombuffer(content[:length], np.uint8).reshape(-1, WINDOW_BYTES))


def windows_of_labels(labels_HW: npt.NDArray[np.uint8]) -> Windows:
    """Pieces of a label map's rows in which the class changes at least twice."""
    columns = labels_HW.shape[1] // WINDOW_BYTES * WINDOW_BYTES
    pieces = np.ascontiguousarray(labels_HW[:, :columns]).reshape(-1, WINDOW_BYTES)
    return pieces[(np.diff(pieces.astype(np.int8), axis=1) != 0).sum(axis=1) >= 2]


def _varied(pieces: Windows) -> Windows:
    ordered = np.sort(pieces, axis=1)
    return pieces[(np.diff(ordered, axis=1) != 0).sum(axis=1) + 1 >= MIN_DISTINCT_BYTES]


def windows_of_site(home: Path, plan: ModelPlan) -> dict[str, Windows]:
    """Pieces of every prepared example of a site, as it is kept and as it is fed to the network."""
    with Catalog.open(home) as catalog:
        examples = [catalog.load(each) for part in Part for each in catalog.examples(part)]
    found = [each for example in examples for each in _windows_of_example(example, plan)]
    names = sorted({name for name, _ in found})
    return {name: np.concatenate([windows for each, windows in found if each == name]) for name in names}


def _windows_of_example(example: Example, plan: ModelPlan) -> Iterator[tuple[str, Windows]]:
    yield "prepared image", windows_of(example.image_HW, example.labels_HW > 0)
    yield "prepared labels", windows_of_labels(example.labels_HW)
    fitted = FittedDataset([example], plan).batch([0])
    image_HW, labels_HW = fitted.image_NCHW[0, 0].numpy(), fitted.labels_NHW[0].numpy()
    yield "fitted image, float32", windows_of(image_HW, labels_HW > 0)
    yield "fitted image, float16", windows_of(image_HW.astype(np.float16), labels_HW > 0)
    yield "fitted labels", windows_of_labels(labels_HW)


def windows_of_files(images: Iterable[Path]) -> dict[str, Windows]:
    """Pieces of DICOM files: of the files' own bytes and of the stored pixels."""
    contents, pixels = [], []
    for file in images:
        contents.append(windows_of_bytes(file.read_bytes()))
        stored_HW = pydicom.dcmread(file).pixel_array
        pixels.append(windows_of(stored_HW, np.ones(stored_HW.shape, bool)))
    return {"file": np.concatenate(contents), "stored pixels": np.concatenate(pixels)}


def found_in(stream: bytes, needles: Collection[bytes]) -> set[bytes]:
    """The needles, of `HEAD_BYTES` or more, that stand anywhere in the stream, at whatever offset."""
    by_head: dict[bytes, dict[int, set[bytes]]] = {}
    for needle in needles:
        by_head.setdefault(needle[:HEAD_BYTES], {}).setdefault(len(needle), set()).add(needle)
    begins = np.zeros(1 << 24, bool)
    begins[[int.from_bytes(head[:3], "little") for head in by_head]] = True
    content = np.frombuffer(stream, np.uint8).astype(np.uint32)
    candidates = np.flatnonzero(begins[content[:-2] | content[1:-1] << 8 | content[2:] << 16])
    # A lookup for each length, for thousands of pieces of masks may have the same head.
    return {
        piece
        for at in map(int, candidates)
        for length, alike in by_head.get(stream[at : at + HEAD_BYTES], {}).items()
        if (piece := stream[at : at + length]) in alike
    }


def texts_found(texts: Collection[str], stream: bytes) -> list[str]:
    """The texts of which any form is in the stream."""
    forms = {text: forms_of(text) for text in texts}
    found = found_in(stream, set().union(*forms.values()))
    return sorted(text for text in texts if forms[text] & found)


def share_found(windows: Windows, stream: bytes) -> float:
    """The share of these pieces that the stream holds."""
    pieces = {piece.tobytes() for piece in windows}
    return len(found_in(stream, pieces)) / len(pieces)
