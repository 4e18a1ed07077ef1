"""Research archives: a folder whose `index.csv` names an image and its mask in every line.

Columns `image` and `label` hold paths inside the folder. An image is a PNG, TIFF, NIfTI or DICOM file, told
by its content; a mask has any form of `client.intake.masks`, and an empty label means that there is no mask
yet. Values of label maps are declared in `values.toml` beside the index, or are those of the DDSM density
masks. Of a file with masks for several images the one with this image's key is taken.

Optional columns: `patient` groups images of one person, otherwise a DICOM file says whose it is and each
picture counts as its own patient; `year` of the acquisition; `density`, a reader's category a to d or 1 to 4;
`laterality`, `view` and `spacing_mm` (in the plane of the breast) where the DICOM header does not say. A
value that is not understood counts as unknown. Other columns are ignored.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath

from client.imaging.example import Label
from client.imaging.mammogram import Laterality, Mammogram, Spacing, View
from client.intake.candidates import Candidate, Labels, Progress, Refusal, Source
from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from client.intake.dicom_header import PLAUSIBLE_SPACING_MM
from client.intake.exclusions import STRICT, IntakeRules, Reason, reasons_against
from client.intake.header import Header
from client.intake.masks import VALUES_FILE, MaskFile, masks_in, read_values_table
from client.intake.masks.mask_file import stem
from client.intake.picture import read_picture
from shared.errors import EmptySourceError, IntakeError, UndecodableError

INDEX_FILE = "index.csv"
KIND = "research archive with index.csv"
YEAR = re.compile(r"(19[89]|20[0-9])[0-9]")
DENSITIES = dict(zip("abcd1234", "abcdabcd", strict=True))
LATERALITIES = {
    "l": Laterality.LEFT,
    "left": Laterality.LEFT,
    "r": Laterality.RIGHT,
    "right": Laterality.RIGHT,
}
VIEWS = {view.value.lower(): view for view in View}
DDSM_VALUES: Mapping[int, Label] = {
    64: Label.BACKGROUND,
    128: Label.ADIPOSE,
    192: Label.DENSE,
    255: Label.PECTORAL,
}
"""Masks of the DDSM density set (doi 10.1016/j.irbm.2022.05.004)."""


def read_index(folder: Path, progress: Progress, rules: IntakeRules = STRICT) -> Source:
    """Look through a research archive.

    Parameters
    ----------
    rules
        Decide about DICOM images on their header; a picture has none.

    Raises
    ------
    EmptySourceError
        The index is unreadable, lacks a column or has no line.
    MaskError
        `values.toml` or a COCO file is there and malformed.
    """
    rows = _rows(folder)
    values_file = folder / VALUES_FILE
    table = read_values_table(values_file) if values_file.exists() else DDSM_VALUES

    @cache
    def masks_of(label: Path) -> list[MaskFile]:
        return masks_in(label, table)

    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for position, row in enumerate(rows, start=1):
        image, label = _inside(folder, row["image"]), _inside(folder, row["label"])
        if image is None:
            refusals.append(Refusal.of(position, Reason.UNREADABLE))
        elif row["label"] and label is None:
            refusals.append(Refusal.of(position, Reason.NO_MASK))
        else:
            masks = None if label is None else masks_of(label)
            found = _judge(image, masks, row, position, rules)
            if isinstance(found, Candidate):
                candidates.append(found)
            else:
                refusals.append(found)
        progress(position, len(rows))
    return Source(kind=KIND, candidates=candidates, refusals=refusals)


def name_at(folder: Path, position: int) -> str | None:
    """Name of the image in a line of the index, from 1; None if there is no such line.

    Raises
    ------
    EmptySourceError
        As `read_index`.
    """
    rows = _rows(folder)
    return rows[position - 1]["image"] if 0 < position <= len(rows) else None


def unlabelled(folder: Path) -> list[Path]:
    """The images that have no mask by the index, as far as they are there.

    Raises
    ------
    EmptySourceError
        As `read_index`.
    """
    images = [_inside(folder, row["image"]) for row in _rows(folder) if not row["label"]]
    return [image for image in images if image is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a line of the index says about its image."""

    laterality: Laterality | None
    view: View | None
    spacing: Spacing | None

    @classmethod
    def of(cls, row: Mapping[str, str]) -> _Known:
        return cls(
            laterality=LATERALITIES.get(row.get("laterality", "").lower()),
            view=VIEWS.get(row.get("view", "").lower()),
            spacing=_spacing(row.get("spacing_mm", "")),
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """An image and its mask, if it has one; read when called."""

    image: Path
    mask: MaskFile | None
    known: _Known

    def __call__(self) -> tuple[Mammogram, Labels | None]:
        mammogram = self._mammogram()
        height, width = mammogram.pixels_HW.shape
        return mammogram, None if self.mask is None else self.mask.read((height, width))

    def _mammogram(self) -> Mammogram:
        known = self.known
        if is_dicom(self.image):
            mammogram = read_mammogram(self.image)
            return replace(
                mammogram,
                laterality=mammogram.laterality or known.laterality,
                view=mammogram.view or known.view,
                spacing=mammogram.spacing or known.spacing,
            )
        # The name of a picture is a weaker word than the index.
        mammogram = read_picture(self.image)
        return replace(
            mammogram,
            laterality=known.laterality or mammogram.laterality,
            view=known.view or mammogram.view,
            spacing=known.spacing,
        )


def _judge(
    image: Path, masks: list[MaskFile] | None, row: Mapping[str, str], position: int, rules: IntakeRules
) -> Candidate | Refusal:
    known = _Known.of(row)
    try:
        header = _completed(read_header(image), known) if is_dicom(image) else None
        source_id = _digest(image) if header is None else header.instance_uid
    except UndecodableError:
        return Refusal.of(position, Reason.UNDECODABLE)
    except (IntakeError, OSError):
        return Refusal.of(position, Reason.UNREADABLE)
    reasons = [] if header is None else reasons_against(header, rules)
    if reasons:
        return Refusal.of(position, reasons[0], source_id)
    mask = None if masks is None else _mask_of({source_id, stem(image.name)}, masks)
    if masks is not None and mask is None:
        return Refusal.of(position, Reason.NO_MASK, source_id)
    return Candidate(
        position=position,
        patient_id=row.get("patient") or (source_id if header is None else header.patient_id),
        source_id=source_id,
        has_mask=mask is not None,
        year=_year(row.get("year", "")) or (None if header is None else header.year),
        density=DENSITIES.get(row.get("density", "").lower()),
        load=_Pair(image, mask, known),
    )


def _completed(header: Header, known: _Known) -> Header:
    """A header in which the index fills what the file does not say."""
    return replace(
        header,
        laterality=header.laterality or known.laterality,
        view=header.view or known.view,
        spacing=header.spacing or known.spacing,
    )


def _mask_of(keys: set[str], masks: Iterable[MaskFile]) -> MaskFile | None:
    """The mask with one of the keys, or else the only one: the line itself says that it belongs."""
    candidates = list(masks)
    with_key = [mask for mask in candidates if mask.key in keys]
    chosen = with_key or candidates
    return chosen[0] if len(chosen) == 1 else None


def _digest(image: Path) -> str:
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _year(text: str) -> int | None:
    return int(text) if YEAR.fullmatch(text) else None


def _spacing(text: str) -> Spacing | None:
    try:
        value = float(text)
    except ValueError:
        return None
    low, high = PLAUSIBLE_SPACING_MM
    return Spacing(row_mm=value, column_mm=value) if low <= value <= high else None


def _rows(folder: Path) -> list[dict[str, str]]:
    try:
        with (folder / INDEX_FILE).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", restkey="")
            columns = set(reader.fieldnames or ())
            rows = [{str(key): str(value).strip() for key, value in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_index("The folder's index.csv cannot be read.") from error
    if not {"image", "label"} <= columns:
        raise _bad_index("The folder's index.csv lacks the column 'image' or 'label'.")
    if not rows:
        raise _bad_index("The folder's index.csv lists no image.")
    return rows


def _inside(folder: Path, name: str) -> Path | None:
    """The file of that name inside the folder, if it is there and can be opened."""
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts:
        return None
    path = folder / relative
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError):  # ValueError: no name may hold a NUL
        return None


def _bad_index(message: str) -> EmptySourceError:
    return EmptySourceError(message, "Write index.csv with the columns image and label, one image a line.")
