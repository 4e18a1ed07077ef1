"""What a hospital knows of a woman beside her images: from a table or a form that it fills in, checked.

Nothing of it leaves the site: it is kept under the patient's pseudonym and used for suggestions alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from client.intake.patients import patient_of
from shared.errors import ConfigError

PATIENT = "patient_id"
MAX_BYTES = 16 << 20
MAX_AGE, MAX_BIOPSIES, MAX_Z = 120, 99, 8.0
YES_OR_NO: Mapping[str, bool] = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalInputs:
    """Of one woman; None is unknown.

    Attributes
    ----------
    age
        In years, when the table came in; the images' own has the first word.
    family_history
        A first-degree relative with breast cancer.
    biopsies
        Of the breast, before.
    polygenic_z
        A polygenic score as its distance from the mean of her ancestry, in standard deviations.
    lifetime_risk_percent
        Computed elsewhere, such as by CanRisk.
    """

    age: int | None = None
    family_history: bool | None = None
    biopsies: int | None = None
    polygenic_z: float | None = None
    lifetime_risk_percent: float | None = None

    @property
    def words(self) -> str:
        """What is known, for the report; empty if nothing is."""
        told = []
        if self.family_history is not None:
            told.append(f"family history {'yes' if self.family_history else 'no'}")
        if self.biopsies is not None:
            told.append(f"biopsies {self.biopsies}")
        if self.lifetime_risk_percent is not None:
            told.append(f"lifetime risk {self.lifetime_risk_percent:g} % (computed elsewhere)")
        return ", ".join(told)


def read_clinical(path: Path) -> dict[str, ClinicalInputs]:
    """Inputs by the hospital's own patient identifier, from a CSV file with the header `COLUMNS`.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line of it is wrong: the first one is named, without its content.
    """
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise ConfigError("The table is larger than 16 MiB.", "Give it in parts.")
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        head = [each.strip() for each in next(reader, [])]
        if not head or PATIENT not in head or len(set(head)) < len(head) or not set(head) <= set(COLUMNS):
            raise ConfigError(
                "The table's first line does not name its columns.",
                f"It has {PATIENT} and any of {', '.join(COLUMNS[1:])}, each once.",
            )
        found = dict[str, ClinicalInputs]()
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            patient, inputs = _line(head, cells, number=reader.line_num)
            if patient in found:
                raise _wrong(reader.line_num, PATIENT, "the patient was in the table before")
            found[patient] = inputs
    except OSError as error:
        raise ConfigError("The table cannot be read.", "Check its name.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("The table is not CSV in UTF-8.", "Save it so, with commas.") from error
    return found


def _line(head: list[str], cells: list[str], *, number: int) -> tuple[str, ClinicalInputs]:
    if len(cells) != len(head):
        raise _wrong(number, "the line", f"it has {len(cells)} cells and needs {len(head)}")
    try:
        return read_one(dict(zip(head, cells, strict=True)))
    except WrongFieldsError as error:
        raise _wrong(number, *next(iter(error.wrong.items()))) from error


def _wrong(number: int, where: str, what: str) -> ConfigError:
    return ConfigError(
        f"Line {number} of the table, {where}: {what}. Nothing of the table was taken.", "Correct that line."
    )


class WrongFieldsError(ConfigError):
    """Fields that cannot be taken.

    Attributes
    ----------
    wrong
        What is wrong, by name of the field; never what it says.
    """

    wrong: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, wrong: Mapping[str, str]) -> Self:
        """An error of these fields."""
        told = "; ".join(f"{name}: {what}" for name, what in wrong.items())
        error = cls(f"Nothing was taken. {told}.", "Correct it.")
        error.wrong = wrong
        return error


def read_one(told: Mapping[str, str]) -> tuple[str, ClinicalInputs]:
    """The patient and her inputs, from texts by name of `COLUMNS`; what is not there is unknown.

    Raises
    ------
    WrongFieldsError
        Each field that is wrong, in the order of the columns.
    """
    found, wrong = dict[str, Any](), dict[str, str]()
    for name, read in _READERS.items():
        try:
            found[name] = read(told.get(name, "").strip())
        except _WrongTextError as error:
            wrong[name] = str(error)
    if wrong:
        raise WrongFieldsError.of(wrong)
    return found.pop(PATIENT), ClinicalInputs(**found)


class _WrongTextError(Exception):
    """Says what is wrong with a text, without it."""


def _patient(text: str) -> str:
    patient = patient_of(text)
    if not patient:
        raise _WrongTextError("it is empty")
    return patient


def _yes_or_no(text: str) -> bool | None:
    if text and text.lower() not in YES_OR_NO:
        raise _WrongTextError("it is neither yes, no nor empty")
    return YES_OR_NO.get(text.lower())


def _quantity(text: str, *, low: float, high: float) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise _WrongTextError("it is not a number") from error
    if not low <= value <= high:
        raise _WrongTextError(f"it is not between {low:g} and {high:g}")
    return value


def _count(text: str, *, high: int) -> int | None:
    value = _quantity(text, low=0, high=high)
    if value is not None and value != int(value):
        raise _WrongTextError("it is not a whole number")
    return None if value is None else int(value)


_READERS: Mapping[str, Callable[[str], Any]] = {
    PATIENT: _patient,
    "age": partial(_count, high=MAX_AGE),
    "family_history": _yes_or_no,
    "biopsies": partial(_count, high=MAX_BIOPSIES),
    "polygenic_z": partial(_quantity, low=-MAX_Z, high=MAX_Z),
    "lifetime_risk_percent": partial(_quantity, low=0, high=100),
}
COLUMNS = tuple(_READERS)
