"""Whether a mask belongs to its image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from shared.errors import MaskError

SMALLEST_OVERLAP = 0.7
"""Dice between the mask's breast and the one found in the image; experts' outlines reach 0.9 and more."""


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
    if total == 0 or 2 * both < SMALLEST_OVERLAP * total:  # 5.
        raise MaskError(
            "The mask does not lie on the breast of its image.",
            "Check that the mask belongs to this image and is not mirrored, then import again.",
        )
