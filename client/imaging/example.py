"""One prepared mammogram with its masks: the unit that a site trains on and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from client.imaging.mammogram import Spacing
from shared.bands import Band


class Label(IntEnum):
    """Class of a pixel in a label map, or between which classes its reader left it open."""

    BACKGROUND = 0
    ADIPOSE = 1
    DENSE = 2
    PECTORAL = 3
    BREAST = 4
    BREAST_OR_PECTORAL = 5
    ADIPOSE_OR_PECTORAL = 6
    NOT_BREAST = 7
    NOT_DENSE = 8
    UNKNOWN = 9


CLASSES = (Label.BACKGROUND, Label.ADIPOSE, Label.DENSE, Label.PECTORAL)
POSSIBLE: Mapping[Label, frozenset[Label]] = {
    **{label: frozenset({label}) for label in CLASSES},
    Label.BREAST: frozenset({Label.ADIPOSE, Label.DENSE}),
    Label.BREAST_OR_PECTORAL: frozenset({Label.ADIPOSE, Label.DENSE, Label.PECTORAL}),
    Label.ADIPOSE_OR_PECTORAL: frozenset({Label.ADIPOSE, Label.PECTORAL}),
    Label.NOT_BREAST: frozenset({Label.BACKGROUND, Label.PECTORAL}),
    Label.NOT_DENSE: frozenset({Label.BACKGROUND, Label.ADIPOSE, Label.PECTORAL}),
    Label.UNKNOWN: frozenset(CLASSES),
}
"""The classes that a pixel of each label may have."""


SHOWN = {
    Label.BREAST: Label.ADIPOSE,
    Label.BREAST_OR_PECTORAL: Label.ADIPOSE,
    Label.ADIPOSE_OR_PECTORAL: Label.ADIPOSE,
    Label.NOT_BREAST: Label.BACKGROUND,
    Label.NOT_DENSE: Label.BACKGROUND,
    Label.UNKNOWN: Label.BACKGROUND,
}
_SHOWN = np.array([SHOWN.get(label, label) for label in Label], np.uint8)


def shown(labels_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What a reader has drawn, as one of `CLASSES` per pixel, whatever it leaves open."""
    return _SHOWN[labels_HW]


SEGMENTS = ("breast", "dense", "pectoral")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Which segments a label map shows whole: of every pixel it says whether it belongs to them.

    Attributes
    ----------
    breast
        The breast without the pectoral muscle.
    """

    breast: bool
    dense: bool
    pectoral: bool

    @classmethod
    def on(cls, labels_HW: npt.NDArray[np.uint8]) -> Drawn:
        """What a label map shows."""
        present = np.flatnonzero(np.bincount(labels_HW.ravel(), minlength=len(Label)))
        possible = [POSSIBLE[Label(int(value))] for value in present]

        def whole(*segment: Label) -> bool:
            return all(classes.issubset(segment) or classes.isdisjoint(segment) for classes in possible)

        return cls(
            breast=whole(Label.ADIPOSE, Label.DENSE),
            dense=whole(Label.DENSE),
            pectoral=whole(Label.PECTORAL),
        )

    @classmethod
    def named(cls, names: str) -> Drawn:
        """From `names`."""
        return cls(**{segment: segment in names.split() for segment in SEGMENTS})

    @property
    def names(self) -> str:
        """The segments that are whole, in a fixed order, parted by spaces."""
        return " ".join(segment for segment in SEGMENTS if getattr(self, segment))

    @property
    def words(self) -> str:
        """For a person."""
        return self.names.replace(" ", ", ") or "in part"

    @property
    def density(self) -> bool:
        """Whether percent density can be measured."""
        return self.breast and self.dense


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prepared mammogram and its label map, if an expert has drawn one.

    Attributes
    ----------
    example_id
        Random identifier, made at intake; says nothing about the patient.
    image_HW
        uint16; chest wall at the left, cropped to the breast, in-breast percentiles 0.5 and 99.5 at 0 and
        65535, zero outside the breast.
    labels_HW
        uint8 `Label` per pixel, same shape as `image_HW`; None while there is no mask.
    spacing
        Of the prepared picture's pixels; None when it is unknown.
    density
        A reader's category; None when it is unknown.
    """

    example_id: str
    image_HW: npt.NDArray[np.uint16]
    labels_HW: npt.NDArray[np.uint8] | None
    spacing: Spacing | None = None
    density: Band | None = None
