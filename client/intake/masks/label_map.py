"""Masks as pictures or NIfTI files: label maps, with a declared meaning for every value, and single classes.

The declaration is a TOML file with one table, from class to pixel value:

    [values]
    background = 0
    adipose = 1
    dense = 2
    pectoral = 3

Classes have the names that `client.intake.masks.layers` knows; `background` is what belongs to none.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from client.intake.masks.layers import WITHOUT_REGION, Layer, Regions, layer_named
from client.intake.masks.mask_file import check_size
from client.intake.picture import read_values
from client.intake.recognition import open_regular
from shared.errors import MaskError

VALUES_FILE = "values.toml"
MAX_TABLE_BYTES = 65536
MAX_VALUE = 65535


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A label map's file with the classes of its values."""

    path: Path
    table: Mapping[int, Layer]

    def __call__(self, shape: tuple[int, int]) -> Regions:
        values_HW = _values(self.path, shape)
        if not set(np.unique(values_HW).tolist()) <= set(self.table):  # 2.
            raise MaskError(
                "The mask holds a value that its table does not declare.",
                "Declare the value, or export the mask without smoothing or lossy compression.",
            )
        return {layer: values_HW == value for value, layer in self.table.items()}


@dataclass(frozen=True, slots=True)
class ClassMask:
    """A file of one class: zero where it is not, and one other value where it is."""

    path: Path
    layer: Layer

    def __call__(self, shape: tuple[int, int]) -> Regions:
        values_HW = _values(self.path, shape)
        if np.unique(values_HW[values_HW != 0]).size > 1:  # 2.
            raise MaskError(
                "The mask of a single class holds more than one value beside zero.",
                "Export it with two values, without smoothing or lossy compression.",
            )
        return {self.layer: values_HW != 0}


def read_values_table(path: Path) -> dict[int, Layer]:
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
    table: dict[int, Layer] = {}
    for name, value in values.items():
        layer = layer_named(name)
        if layer is None or layer in WITHOUT_REGION:
            raise _bad_table("The masks' table of values names an unknown class.")
        if type(value) is not int or not 0 <= value <= MAX_VALUE or value in table:
            raise _bad_table("The masks' table of values has a value that is no pixel value, or one twice.")
        if layer in table.values():
            raise _bad_table("The masks' table of values names a class twice.")
        table[value] = layer
    if Layer.BACKGROUND not in table.values() or len(table) == 1:
        raise _bad_table("The masks' table of values is incomplete.")
    return table


def _values(path: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
    values_HW = read_values(path)
    check_size(values_HW.shape, shape)  # 1.
    return values_HW


def _bad_table(message: str) -> MaskError:
    return MaskError(
        message,
        "Write values.toml with [values]: background, and breast or adipose, dense, pectoral, as far as the "
        "masks show them, each a pixel value.",
    )
