"""Research archives: a folder whose `index.csv` names a picture and its label map in every line.

Columns `image` and `label` hold paths inside the folder; an optional column `patient` groups pictures of
one person, otherwise each picture counts as its own patient. Other columns are ignored. The values of the
label maps are declared in `values.toml` beside the index, or are those of the DDSM density masks.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from client.imaging.example import Label
from client.imaging.mammogram import Mammogram
from client.intake.candidates import Candidate, Labels, Progress, Refusal, Source
from client.intake.exclusions import Reason
from client.intake.masks import read_label_map, read_values_table
from client.intake.picture import read_picture
from shared.errors import EmptySourceError

INDEX_FILE = "index.csv"
VALUES_FILE = "values.toml"
KIND = "research archive with index.csv"
DDSM_VALUES: Mapping[int, Label] = {
    64: Label.BACKGROUND,
    128: Label.ADIPOSE,
    192: Label.DENSE,
    255: Label.PECTORAL,
}
"""Masks of the DDSM density set (doi 10.1016/j.irbm.2022.05.004)."""


def read_index(folder: Path, progress: Progress) -> Source:
    """Look through a research archive.

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
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for position, row in enumerate(rows, start=1):
        image, label = _inside(folder, row["image"]), _inside(folder, row["label"])
        if image is None:
            refusals.append(Refusal.of(position, Reason.UNREADABLE))
        elif label is None:
            refusals.append(Refusal.of(position, Reason.NO_MASK))
        else:
            with image.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            candidates.append(
                Candidate(
                    position=position,
                    patient_id=row.get("patient") or digest,
                    source_id=digest,
                    load=_Pair(image, label, table),
                )
            )
        progress(position, len(rows))
    return Source(kind=KIND, candidates=candidates, refusals=refusals)


class _Pair:
    """A picture and its label map, read when called."""

    def __init__(self, image: Path, label: Path, table: Mapping[int, Label]) -> None:
        self._image = image
        self._label = label
        self._table = table

    def __call__(self) -> tuple[Mammogram, Labels]:
        mammogram = read_picture(self._image)
        height, width = mammogram.pixels_HW.shape
        return mammogram, read_label_map(self._label, self._table, (height, width))


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
    except OSError:
        return None


def _bad_index(message: str) -> EmptySourceError:
    return EmptySourceError(message, "Write index.csv with the columns image and label, one picture a line.")
