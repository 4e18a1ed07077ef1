"""What a hospital knows of a woman beside her images: read from a table that it writes, and checked.

Nothing of it leaves the site: it is kept under the patient's pseudonym and used for suggestions alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.intake.patients import patient_of
from shared.errors import ConfigError

PATIENT = "patient_id"
COLUMNS = (PATIENT, "age", "family_history", "biopsies", "polygenic_z", "lifetime_risk_percent")
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
    told = {name: cell.strip() for name, cell in zip(head, cells, strict=True)}
    patient = patient_of(told.pop(PATIENT))
    if not patient:
        raise _wrong(number, PATIENT, "it is empty")

    def quantity(name: str, low: float, high: float) -> float | None:
        text = told.get(name, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError as error:
            raise _wrong(number, name, "it is not a number") from error
        if not low <= value <= high:
            raise _wrong(number, name, f"it is not between {low:g} and {high:g}")
        return value

    def count(name: str, high: int) -> int | None:
        value = quantity(name, 0, high)
        if value is not None and value != int(value):
            raise _wrong(number, name, "it is not a whole number")
        return None if value is None else int(value)

    family = told.get("family_history", "").lower()
    if family and family not in YES_OR_NO:
        raise _wrong(number, "family_history", "it is neither yes, no nor empty")
    return patient, ClinicalInputs(
        age=count("age", MAX_AGE),
        family_history=YES_OR_NO.get(family),
        biopsies=count("biopsies", MAX_BIOPSIES),
        polygenic_z=quantity("polygenic_z", -MAX_Z, MAX_Z),
        lifetime_risk_percent=quantity("lifetime_risk_percent", 0, 100),
    )


def _wrong(number: int, where: str, what: str) -> ConfigError:
    return ConfigError(
        f"Line {number} of the table, {where}: {what}. Nothing of the table was taken.", "Correct that line."
    )
