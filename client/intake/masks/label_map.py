"""Label maps as pictures or NIfTI files, with a declared meaning for every value.

The declaration is a TOML file with one table, from class to pixel value:

    [values]
    background = 0
    adipose = 1
    dense = 2
    pectoral = 3
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.imaging.example import Label
from client.intake.masks.mask_file import Labels, check_size
from client.intake.picture import read_values
from client.intake.recognition import open_regular
from shared.errors import MaskError

VALUES_FILE = "values.toml"
MAX_TABLE_BYTES = 65536
MAX_VALUE = 65535
REQUIRED = (Label.BACKGROUND, Label.ADIPOSE, Label.DENSE)


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A label map's file with the classes of its values."""

    path: Path
    table: Mapping[int, Label]

    def __call__(self, shape: tuple[int, int]) -> Labels:
        values_HW = read_values(self.path)
        check_size(values_HW.shape, shape)  # 1.
        present = np.unique(values_HW)
        if not set(present.tolist()) <= set(self.table):  # 2.
            raise MaskError(
                "The mask holds a value that its table does not declare.",
                "Declare the value, or export the mask without smoothing or lossy compression.",
            )
        codes = np.array([self.table[value] for value in present.tolist()], np.uint8)
        labels_HW: Labels = codes[np.searchsorted(present, values_HW)]
        return labels_HW


def read_values_table(path: Path) -> dict[int, Label]:
    """Read a declaration: pixel value to class.

    Raises
    ------
    MaskError
        The declaration is missing, malformed or incomplete.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_TABLE_BYTES).decode()
        values = tomllib.loads(text).get("values")
    except FileNotFoundError as error:
        raise _bad_table("The masks come without a table of values.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_table("The masks' table of values cannot be read.") from error
    if not isinstance(values, Mapping):
        raise _bad_table("The masks' table of values has no section [values].")
    known = {label.name.lower(): label for label in Label}
    table: dict[int, Label] = {}
    for name, value in values.items():
        if name not in known:
            raise _bad_table("The masks' table of values names an unknown class.")
        if type(value) is not int or not 0 <= value <= MAX_VALUE or value in table:
            raise _bad_table("The masks' table of values has a value that is no pixel value, or one twice.")
        table[value] = known[name]
    if not set(REQUIRED) <= set(table.values()):
        raise _bad_table("The masks' table of values is incomplete.")
    return table


def _bad_table(message: str) -> MaskError:
    return MaskError(
        message, "Write values.toml with [values]: background, adipose, dense, pectoral, each a pixel value."
    )
