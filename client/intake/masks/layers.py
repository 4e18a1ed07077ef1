"""The classes that readers draw, the names they give them, and how the drawn regions become one label map.

Regions are painted one over the other in the order of `Layer`. So the usual two masks of a breast and its
dense tissue, or a breast outline that includes the pectoral muscle, need no cutting out by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto

import numpy as np

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from client.intake.masks.mask_file import Labels
from shared.errors import MaskError


class Layer(Enum):
    """A class that readers draw, in painting order.

    `BREAST` is the whole breast, with or without the pectoral muscle. `NO_DENSE` says that the reader looked
    for dense tissue and found none; it has no region.
    """

    BACKGROUND = auto()
    BREAST = auto()
    ADIPOSE = auto()
    DENSE = auto()
    NO_DENSE = auto()
    PECTORAL = auto()


PAINT: Mapping[Layer, Label] = {
    Layer.BACKGROUND: Label.BACKGROUND,
    Layer.BREAST: Label.ADIPOSE,
    Layer.ADIPOSE: Label.ADIPOSE,
    Layer.DENSE: Label.DENSE,
    Layer.PECTORAL: Label.PECTORAL,
}

SYNONYMS: Mapping[Layer, tuple[str, ...]] = {
    Layer.BACKGROUND: ("background", "air"),
    Layer.BREAST: ("breast", "whole breast", "breast outline", "breast area", "breast mask"),
    Layer.ADIPOSE: ("adipose", "adipose tissue", "fat", "fat tissue", "fatty", "fatty tissue"),
    Layer.DENSE: (
        "dense",
        "dense tissue",
        "fibroglandular",
        "fibroglandular tissue",
        "fgt",
        "glandular",
        "glandular tissue",
    ),
    Layer.NO_DENSE: ("no dense", "no dense tissue", "no fibroglandular tissue"),
    Layer.PECTORAL: (
        "pectoral",
        "pectoral muscle",
        "pectoralis",
        "pectoralis muscle",
        "pectoralis major",
        "muscle",
    ),
}
"""In lower case; hyphens and underscores count as spaces."""

CODES: Mapping[tuple[str, str], Layer] = {
    ("SCT", "76752008"): Layer.BREAST,
    ("SRT", "T-04000"): Layer.BREAST,
    ("SCT", "80248007"): Layer.BREAST,  # left breast
    ("SCT", "73056007"): Layer.BREAST,  # right breast
    ("DCM", "111007"): Layer.BREAST,  # breast outline including pectoral muscle tissue
    ("SCT", "55603005"): Layer.ADIPOSE,
    ("DCM", "111045"): Layer.PECTORAL,  # pectoral muscle outline
    ("SCT", "60005003"): Layer.PECTORAL,  # pectoralis major muscle
}
"""Scheme and value of a segment's property type (PS3.16 CID 7151 and annex D); dense tissue has none."""

EXCLUSIVE = ((Layer.PECTORAL, Layer.DENSE), (Layer.PECTORAL, Layer.ADIPOSE))
TOLERATED_OVERLAP = 0.05
"""Share of the smaller of two regions: neighbours that are drawn by hand overlap by a few pixels."""

_BY_NAME = {name: layer for layer, names in SYNONYMS.items() for name in names}
_GAP = re.compile(r"[\s_-]+")


def layer_named(name: str) -> Layer | None:
    """The class of that name, None if it is unknown."""
    return _BY_NAME.get(_GAP.sub(" ", name.strip()).lower())


def known_layer(layer: Layer | None) -> Layer:
    """The class, if there is one; raises MaskError."""
    if layer is None:  # 2.
        raise MaskError(
            "The mask holds a class whose name is unknown.",
            "Name the classes background, breast or adipose, dense and pectoral, or remove the others.",
        )
    return layer


def paint(drawn: Mapping[Layer, Mask], shape: tuple[int, int]) -> Labels:
    """Make one label map of regions that were drawn class by class.

    Parameters
    ----------
    drawn
        A region for every class that the mask declares; it may be empty.

    Raises
    ------
    MaskError
        The breast or the dense tissue is missing, or regions contradict each other. A mask in which nobody
        drew dense tissue is ambiguous, so it has to say that there is none.
    """
    if not {Layer.BREAST, Layer.ADIPOSE} & drawn.keys():  # 3.
        raise MaskError(
            "The mask has no class for the breast.", "Draw the whole breast, or its adipose tissue, as well."
        )
    if not {Layer.DENSE, Layer.NO_DENSE} & drawn.keys():  # 3.
        raise MaskError(
            "The mask does not say where the dense tissue is.",
            "Draw the dense tissue, or say that there is none with a class named 'no dense'.",
        )
    if Layer.NO_DENSE in drawn and Layer.DENSE in drawn and drawn[Layer.DENSE].any():  # 4.
        raise _contradiction()
    for one, other in EXCLUSIVE:  # 4.
        if one in drawn and other in drawn and _contradict(drawn[one], drawn[other]):
            raise _contradiction()
    labels_HW = np.zeros(shape, np.uint8)
    for layer, label in PAINT.items():
        if layer in drawn:
            labels_HW[drawn[layer]] = label
    return labels_HW


def _contradict(one_HW: Mask, other_HW: Mask) -> bool:
    smaller = min(np.count_nonzero(one_HW), np.count_nonzero(other_HW))
    return bool(np.count_nonzero(one_HW & other_HW) > TOLERATED_OVERLAP * smaller)


def _contradiction() -> MaskError:
    return MaskError(
        "Regions of the mask contradict each other.",
        "Correct the mask: pectoral muscle is neither dense nor adipose tissue, and 'no dense' means none.",
    )
