"""What an image itself tells of the pixels that its mask leaves open."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from client.imaging.mammogram import View
from client.intake.masks.layers import Labels

WITHOUT_MUSCLE: Mapping[Label, Label] = {
    Label.BREAST_OR_PECTORAL: Label.BREAST,
    Label.ADIPOSE_OR_PECTORAL: Label.ADIPOSE,
    Label.NOT_BREAST: Label.BACKGROUND,
}
BEYOND_THE_BREAST: Mapping[Label, Label] = {
    Label.NOT_BREAST: Label.BACKGROUND,
    Label.NOT_DENSE: Label.BACKGROUND,
}


def settle(labels_HW: Labels, breast_HW: Mask, view: View | None) -> Labels:
    """A prepared label map with less of it left open.

    In a CC view a reader who drew no muscle saw none that matters. What lies beyond the breast that was found
    in the image is black in the prepared picture, so that nobody could call it anything but background.

    Parameters
    ----------
    breast_HW
        The breast on the prepared picture, pectoral muscle included.
    """
    settled_HW = _replaced(WITHOUT_MUSCLE)[labels_HW] if view is View.CC else labels_HW
    return np.where(breast_HW, settled_HW, _replaced(BEYOND_THE_BREAST)[settled_HW])


def _replaced(by: Mapping[Label, Label]) -> Labels:
    return np.array([by.get(label, label) for label in Label], np.uint8)
