"""Research archives: a folder whose `index.csv` names a picture and its label map in every line.

Columns `image` and `label` hold paths inside the folder; a label left empty means that there is no mask yet.
Optional columns: `patient` groups pictures of one person, otherwise each picture counts as its own patient;
`year` of the acquisition; `density`, a reader's category a to d or 1 to 4. Other columns are ignored. The
values of the label maps are declared in `values.toml` beside the index, or are those of the DDSM masks.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from client.imaging.example import Label
from client.imaging.mammogram import Mammogram
from client.intake.candidates import Candidate, Labels, Progress, Refusal, Source
from client.intake.exclusions import Reason
from client.intake.masks import VALUES_FILE, read_label_map, read_values_table
from client.intake.picture import read_picture
from shared.errors import EmptySourceError

INDEX_FILE = "index.csv"
KIND = "research archive with index.csv"
YEAR = re.compile(r"(19[89]|20[0-9])[0-9]")
DENSITIES = dict(zip("abcd1234", "abcdabcd", strict=True))
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
        elif row["label"] and label is None:
            refusals.append(Refusal.of(position, Reason.NO_MASK))
        else:
            with image.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            candidates.append(
                Candidate(
                    position=position,
                    patient_id=row.get("patient") or digest,
                    source_id=digest,
                    has_mask=label is not None,
                    year=_year(row.get("year", "")),
                    density=DENSITIES.get(row.get("density", "").lower()),
                    load=_Pair(image, label, table),
                )
            )
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


@dataclass(frozen=True, slots=True)
class _Pair:
    """A picture and its label map, if it has one; read when called."""

    image: Path
    label: Path | None
    table: Mapping[int, Label]

    def __call__(self) -> tuple[Mammogram, Labels | None]:
        mammogram = read_picture(self.image)
        height, width = mammogram.pixels_HW.shape
        return mammogram, None if self.label is None else read_label_map(
            self.label, self.table, (height, width)
        )


def _year(text: str) -> int | None:
    return int(text) if YEAR.fullmatch(text) else None


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
    return EmptySourceError(message, "Write index.csv with the columns image and label, one picture a line.")
