"""Label maps as pictures, with a declared meaning for every value.

The declaration is a TOML file with one table, from class to pixel value:

    [values]
    background = 0
    adipose = 1
    dense = 2
    pectoral = 3

Checks, numbered where they happen: 1. the size is the image's; 2. every value is declared; 3. the breast of
the mask lies on the breast of the image, which a mask of another or a mirrored image does not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from client.intake.picture import read_values
from shared.errors import MaskError

VALUES_FILE = "values.toml"
KINDS = {".png": "png", ".tif": "tiff", ".tiff": "tiff"}
MAX_VALUE = 65535
REQUIRED = (Label.BACKGROUND, Label.ADIPOSE, Label.DENSE)
SMALLEST_OVERLAP = 0.7
"""Dice between the mask's breast and the one found in the image; experts' outlines reach 0.9 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFile:
    """A mask on the disk.

    Attributes
    ----------
    key
        SOP Instance UID of its image: the name of the file without its ending.
    kind
        Form, as the catalog notes it.
    """

    key: str = field(repr=False)
    kind: str
    path: Path = field(repr=False)
    table: Mapping[int, Label]

    def read(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The label map of an image of this shape (rows, columns); raises as `read_label_map`."""
        return read_label_map(self.path, self.table, shape)


def open_masks(folder: Path) -> dict[str, MaskFile]:
    """The masks of a folder by their key, in the order of their names; none if there is no such folder.

    Raises
    ------
    MaskError
        There are masks, and their table of values is missing or malformed.
    """
    if not folder.is_dir():
        return {}
    table = read_values_table(folder / VALUES_FILE)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS and path.is_file())
    return {
        path.stem: MaskFile(key=path.stem, kind=KINDS[path.suffix.lower()], path=path, table=table)
        for path in files
    }


def read_values_table(path: Path) -> dict[int, Label]:
    """Read a declaration: pixel value to class.

    Raises
    ------
    MaskError
        The declaration is missing, malformed or incomplete.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8")).get("values")
    except FileNotFoundError as error:
        raise _bad_table("The masks come without a table of values.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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


def read_label_map(path: Path, table: Mapping[int, Label], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a mask as a label map of the image's shape (rows, columns).

    Raises
    ------
    IntakeError
        The file cannot be read or decoded.
    MaskError
        The size differs or a value is not declared.
    """
    values_HW = read_values(path)
    if values_HW.shape != shape:  # 1.
        raise MaskError(
            "The mask and its image have different sizes.", "Export the mask at the image's full size."
        )
    present = np.unique(values_HW)
    if not set(present.tolist()) <= set(table):  # 2.
        raise MaskError(
            "The mask holds a value that its table does not declare.",
            "Declare the value, or export the mask without smoothing or lossy compression.",
        )
    codes = np.array([table[value] for value in present.tolist()], np.uint8)
    labels: npt.NDArray[np.uint8] = codes[np.searchsorted(present, values_HW)]
    return labels


def check_overlap(labels_HW: npt.NDArray[np.uint8], breast_HW: Mask) -> None:
    """Check that a prepared label map belongs to its prepared image.

    Raises
    ------
    MaskError
        It lies elsewhere.
    """
    marked_HW = labels_HW != Label.BACKGROUND
    both = int(np.count_nonzero(marked_HW & breast_HW))
    total = int(np.count_nonzero(marked_HW)) + int(np.count_nonzero(breast_HW))
    if 2 * both < SMALLEST_OVERLAP * total:  # 3.
        raise MaskError(
            "The mask does not lie on the breast of its image.",
            "Check that the mask belongs to this image and is not mirrored, then import again.",
        )


def _bad_table(message: str) -> MaskError:
    return MaskError(
        message, "Write values.toml with [values]: background, adipose, dense, pectoral, each a pixel value."
    )
