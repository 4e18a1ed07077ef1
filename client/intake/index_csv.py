"""Research archives: a folder whose `index.csv` names an image and its mask in every line.

Columns `image` and `label` hold paths inside the folder. An image is a PNG, TIFF, NIfTI or DICOM file, told
by its content; a mask has any form of `client.intake.masks`, and an empty label means that there is no mask
yet. Values of label maps are declared in `values.toml` beside the index, or are those of the DDSM density
masks. Of a file with masks for several images the one with this image's key is taken. Instead of `label` a
line may have `breast`, `breast_without_pectoral`, `dense` and `pectoral`, or some of them: pictures of one
class each, zero where it is not. An index of categories alone needs no column of masks.

Optional columns: `patient` groups images of one person, otherwise a DICOM file says whose it is and each
picture counts as its own patient; `year` of the acquisition; `density`, a reader's category a to d or 1 to 4;
`laterality`, `view` and `spacing_mm` (in the plane of the breast) where the DICOM header does not say. A
view that is neither CC nor MLO keeps its image out; any other value that is not understood counts as unknown.
Other columns are ignored. Columns are parted by commas or semicolons.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

from client.imaging.mammogram import Laterality, Spacing, View
from client.intake.candidates import Candidate, Progress, Refusal, Source
from client.intake.dicom_file import read_header
from client.intake.dicom_header import PLAUSIBLE_SPACING_MM
from client.intake.exclusions import STRICT, IntakeRules, Reason, reasons_against
from client.intake.header import Header
from client.intake.image_file import Known, Pair, patient_id_of, source_id_of
from client.intake.masks import VALUES_FILE, MaskFile, masks_in, read_values_table
from client.intake.masks.label_map import ClassMask
from client.intake.masks.layers import Layer
from client.intake.masks.mask_file import Joined, stem
from client.intake.patients import patient_of
from client.intake.recognition import Kind, look_at, open_regular
from shared.errors import EmptySourceError, IntakeError, NotDicomError, UndecodableError

INDEX_FILE = "index.csv"
MAX_HEADER_CHARACTERS = 65536
KIND = "research archive with index.csv"
CLASS_COLUMNS = {
    "breast": Layer.BREAST,
    "breast_without_pectoral": Layer.BREAST_WITHOUT_PECTORAL,
    "dense": Layer.DENSE,
    "pectoral": Layer.PECTORAL,
}
MASK_COLUMNS = ("label", *CLASS_COLUMNS)
YEAR = re.compile(r"(19[89]|20[0-9])[0-9]")
DENSITIES = dict(zip("abcd1234", "abcdabcd", strict=True))
LATERALITIES = {
    "l": Laterality.LEFT,
    "left": Laterality.LEFT,
    "r": Laterality.RIGHT,
    "right": Laterality.RIGHT,
}
UNKNOWN = frozenset({"", "?", "-", "na", "n/a", "nan", "none", "unknown"})
VIEWS = {view.value.lower(): view for view in View}
DDSM_VALUES: Mapping[int, Layer] = {
    64: Layer.BACKGROUND,
    128: Layer.ADIPOSE,
    192: Layer.DENSE,
    255: Layer.PECTORAL,
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
        `values.toml` is there and malformed.
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
        image = _inside(folder, row["image"])
        if image is None:
            refusals.append(Refusal.of(position, Reason.UNREADABLE))
        else:
            for found in _judge(image, _masks(folder, row, masks_of), row, position, rules):
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


def list_rows(folder: Path, *, without_mask: bool) -> list[tuple[int, Path]]:
    """The images of the index, all or those without a mask by it, as far as they are there; by their line.

    Raises
    ------
    EmptySourceError
        As `read_index`.
    """
    found = [
        (position, _inside(folder, row["image"]))
        for position, row in enumerate(_rows(folder), start=1)
        if not (without_mask and any(row.get(column) for column in MASK_COLUMNS))
    ]
    return [(position, image) for position, image in found if image is not None]


def _masks(
    folder: Path, row: Mapping[str, str], masks_of: Callable[[Path], list[MaskFile]]
) -> list[MaskFile] | None:
    """The masks that a line names, none of them if a file is not there; None if it names none."""
    if row.get("label"):
        label = _inside(folder, row["label"])
        return [] if label is None else masks_of(label)
    named = {
        layer: _inside(folder, row[column]) for column, layer in CLASS_COLUMNS.items() if row.get(column)
    }
    parts = tuple(ClassMask(path, layer) for layer, path in named.items() if path is not None)
    if len(parts) < len(named):
        return []
    return [MaskFile(key="", kind="classes", draw=Joined(parts))] if parts else None


def _known(row: Mapping[str, str]) -> Known:
    """What a line of the index says about its image."""
    return Known(
        laterality=LATERALITIES.get(row.get("laterality", "").lower()),
        view=VIEWS.get(row.get("view", "").lower()),
        spacing=_spacing(row.get("spacing_mm", "")),
    )


def _judge(
    image: Path, masks: list[MaskFile] | None, row: Mapping[str, str], position: int, rules: IntakeRules
) -> list[Candidate | Refusal]:
    """The image, or why not; or the image without its mask, and why so."""
    known = _known(row)
    try:
        kind, state = look_at(image)
        header = None if kind is Kind.OTHER else _completed(read_header(image), known)
        source_id = source_id_of(image, header)
    except (UndecodableError, NotDicomError):
        return [Refusal.of(position, Reason.UNDECODABLE)]
    except IntakeError:
        return [Refusal.of(position, Reason.UNREADABLE)]
    reasons = [] if header is None else reasons_against(header, rules)
    if _is_other_view(row.get("view", "")) and (header is None or header.view is None):
        reasons = [Reason.VIEW]
    if reasons:
        return [Refusal.of(position, reasons[0], source_id)]
    mask = None if masks is None else _mask_of({source_id, stem(image.name)}, masks)
    if masks is not None and mask is None:
        return [Refusal.of(position, Reason.NO_MASK, source_id)]
    is_draft = mask is not None and mask.by_model
    mask = None if is_draft else mask
    candidate = Candidate(
        position=position,
        patient_id=patient_of(row.get("patient", "")) or patient_id_of(header, source_id),
        source_id=source_id,
        has_mask=mask is not None,
        year=_year(row.get("year", "")) or (None if header is None else header.year),
        density=DENSITIES.get(row.get("density", "").lower()),
        load=Pair(image, state, mask, known),
    )
    return [candidate, Refusal.of(position, Reason.DRAFT)] if is_draft else [candidate]


def _completed(header: Header, known: Known) -> Header:
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


def _year(text: str) -> int | None:
    return int(text) if YEAR.fullmatch(text) else None


def _is_other_view(text: str) -> bool:
    """Whether it names a view, and neither CC nor MLO."""
    return text.lower() not in {*VIEWS, *UNKNOWN}


def _spacing(text: str) -> Spacing | None:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    low, high = PLAUSIBLE_SPACING_MM
    return Spacing(row_mm=value, column_mm=value) if low <= value <= high else None


def _rows(folder: Path) -> list[dict[str, str]]:
    try:
        with (folder / INDEX_FILE).open(newline="", encoding="utf-8-sig") as file:
            header = file.readline(MAX_HEADER_CHARACTERS)
            # Spreadsheets of countries that write a comma in a number put semicolons between columns.
            delimiter = ";" if header.count(";") > header.count(",") else ","
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, restval="", restkey="")
            columns = set(reader.fieldnames or ())
            rows = [{str(key): str(value).strip() for key, value in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_index("The folder's index.csv cannot be read.") from error
    if "image" not in columns or columns.isdisjoint({*MASK_COLUMNS, "density"}):
        raise _bad_index("The folder's index.csv lacks the column 'image', or 'label'.")
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
        with open_regular(path):
            return path
    except (OSError, ValueError):  # ValueError: no name may hold a NUL
        return None


def _bad_index(message: str) -> EmptySourceError:
    return EmptySourceError(message, "Write index.csv with the columns image and label, one image a line.")
