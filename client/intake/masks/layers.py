"""The classes that readers draw, the names they give them, and how the drawn regions become one label map.

Regions are painted one over the other in the order of `Layer`. So the usual two masks of a breast and its
dense tissue, or a breast outline that includes the pectoral muscle, need no cutting out by hand.

What a reader has not drawn is not known: of a mask without a class for the dense tissue or for the pectoral
muscle, pixels stay open between the classes that they may have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from shared.errors import MaskError

Labels = npt.NDArray[np.uint8]


class Layer(Enum):
    """A class that readers draw, in painting order.

    `BREAST` is the whole breast, with or without the pectoral muscle; `BREAST_WITHOUT_PECTORAL` leaves the
    muscle out. `BACKGROUND` is what nobody drew. `NO_DENSE` says that the reader looked for dense tissue and
    found none, and `NO_PECTORAL` the same of the muscle; neither has a region.
    """

    BACKGROUND = auto()
    BREAST = auto()
    BREAST_WITHOUT_PECTORAL = auto()
    ADIPOSE = auto()
    DENSE = auto()
    PECTORAL = auto()
    NO_DENSE = auto()
    NO_PECTORAL = auto()


Regions = Mapping[Layer, Mask]
"""A region for every class that a mask declares; it may be empty."""

WITHOUT_REGION = {Layer.NO_DENSE: Layer.DENSE, Layer.NO_PECTORAL: Layer.PECTORAL}
"""Statements, and the class of which they say that there is none."""

SYNONYMS: Mapping[Layer, tuple[str, ...]] = {
    Layer.BACKGROUND: ("background", "air"),
    Layer.BREAST: ("breast", "whole breast", "breast outline", "breast area", "breast mask"),
    Layer.BREAST_WITHOUT_PECTORAL: (
        "breast without pectoral",
        "breast without pectoral muscle",
        "breast without muscle",
    ),
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
    Layer.PECTORAL: (
        "pectoral",
        "pectoral muscle",
        "pectoralis",
        "pectoralis muscle",
        "pectoralis major",
        "muscle",
    ),
    Layer.NO_DENSE: ("no dense", "no dense tissue", "no fibroglandular tissue"),
    Layer.NO_PECTORAL: ("no pectoral", "no pectoral muscle", "no muscle"),
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

EXCLUSIVE = (
    (Layer.PECTORAL, Layer.DENSE),
    (Layer.PECTORAL, Layer.ADIPOSE),
    (Layer.PECTORAL, Layer.BREAST_WITHOUT_PECTORAL),
)
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


def meanings(declared: Collection[Layer]) -> dict[Layer, Label]:
    """What each class means beside the others that a mask declares, in painting order.

    Raises
    ------
    MaskError
        The mask declares neither the breast nor the dense tissue, or adipose tissue and not the dense.
    """
    outlined = not {Layer.BREAST, Layer.BREAST_WITHOUT_PECTORAL, Layer.ADIPOSE}.isdisjoint(declared)
    dense_known = not {Layer.DENSE, Layer.NO_DENSE}.isdisjoint(declared)
    muscle_known = not {Layer.PECTORAL, Layer.NO_PECTORAL}.isdisjoint(declared)
    if not (outlined or dense_known):  # 3.
        raise MaskError(
            "The mask has no class for the breast, and none for its dense tissue.",
            "Draw the whole breast, its dense tissue, or both.",
        )
    if Layer.ADIPOSE in declared and not dense_known:  # 3.
        raise MaskError(
            "The mask has adipose tissue and does not say where the dense tissue is.",
            "Draw the dense tissue, or say that there is none with a class named 'no dense'.",
        )
    tissue = Label.ADIPOSE if dense_known else Label.BREAST
    with_muscle = Label.ADIPOSE_OR_PECTORAL if dense_known else Label.BREAST_OR_PECTORAL
    around = Label.BACKGROUND if muscle_known else Label.NOT_BREAST
    return {
        Layer.BACKGROUND: around if outlined else Label.NOT_DENSE,
        Layer.BREAST: tissue if muscle_known else with_muscle,
        Layer.BREAST_WITHOUT_PECTORAL: tissue,
        Layer.ADIPOSE: Label.ADIPOSE,
        Layer.DENSE: Label.DENSE,
        Layer.PECTORAL: Label.PECTORAL,
    }


def paint(drawn: Regions, shape: tuple[int, int]) -> Labels:
    """Make one label map of regions that were drawn class by class.

    Raises
    ------
    MaskError
        Nothing of use is declared (see `meanings`), or regions contradict each other.
    """
    for statement, layer in WITHOUT_REGION.items():  # 4.
        if statement in drawn and layer in drawn and drawn[layer].any():
            raise _contradiction()
    for one, other in EXCLUSIVE:  # 4.
        if one in drawn and other in drawn and _contradict(drawn[one], drawn[other]):
            raise _contradiction()
    labels = meanings(drawn.keys())
    labels_HW = np.full(shape, labels[Layer.BACKGROUND], np.uint8)
    for layer, label in labels.items():
        if layer in drawn:
            labels_HW[drawn[layer]] = label
    return labels_HW


def _contradict(one_HW: Mask, other_HW: Mask) -> bool:
    smaller = min(np.count_nonzero(one_HW), np.count_nonzero(other_HW))
    return bool(np.count_nonzero(one_HW & other_HW) > TOLERATED_OVERLAP * smaller)


def _contradiction() -> MaskError:
    return MaskError(
        "Regions of the mask contradict each other.",
        "Correct the mask: pectoral muscle is neither dense nor adipose tissue, and 'no' means none.",
    )
