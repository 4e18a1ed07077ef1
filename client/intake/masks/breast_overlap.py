"""Whether a mask belongs to its image.

The mask's breast is compared with the one found in the image, over the whole image: what of the mask lies
beyond the crop counts against it. Dense tissue that was drawn without its breast must lie inside that one. A
mask that is mirrored or upside down shows in that one of its flips fits better, which a breast that is its
own mirror image cannot tell. The like-shaped breast of another woman passes: that a mask is this image's own
rests on the key by which it was found.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask
from client.imaging.example import POSSIBLE, Label
from client.imaging.preparation import Geometry
from shared.errors import MaskError

SMALLEST_OVERLAP = 0.85
"""Dice of the two breasts; experts' outlines on digitised film reach 0.90 and more."""
SMALLEST_OVERLAP_WITHOUT_MUSCLE = 0.7
SMALLEST_SHARE_INSIDE = 0.85
"""Of the mask's breast, for a mask without the pectoral muscle, which the breast of the image includes:
experts' outlines then overlap by 0.76 and more, and lie inside by 0.91 and more."""
CLEARLY_BETTER = 0.02
"""By which a flip's overlap exceeds the mask's own; experts' outlines exceed all of their flips."""
COMPARED_LONG_SIDE_PX = 512
MARKED = [label for label in Label if Label.BACKGROUND not in POSSIBLE[label]]


def check_overlap(labels_HW: npt.NDArray[np.uint8], breast_HW: Mask, geometry: Geometry) -> None:
    """Check that a label map belongs to its image.

    Parameters
    ----------
    labels_HW
        `Label` per pixel of the source.
    breast_HW
        The breast on the prepared picture, pectoral muscle included.
    geometry
        How the prepared picture lies in the source.

    Raises
    ------
    MaskError
        It lies elsewhere, or is turned.
    """
    step = max(1, max(labels_HW.shape) // COMPARED_LONG_SIDE_PX)
    seen_HW = geometry.to_source(breast_HW, step)
    sampled_HW = labels_HW[step // 2 :: step, step // 2 :: step]
    marked_HW = np.isin(sampled_HW, MARKED)
    inside = _share_inside(marked_HW, seen_HW)
    if (sampled_HW == Label.NOT_DENSE).any():
        measure, overlap = _share_inside, inside
        fits = inside >= SMALLEST_SHARE_INSIDE
    else:
        measure, overlap = _dice, _dice(marked_HW, seen_HW)
        fits = overlap >= SMALLEST_OVERLAP or (
            not (sampled_HW == Label.PECTORAL).any()
            and overlap >= SMALLEST_OVERLAP_WITHOUT_MUSCLE
            and inside >= SMALLEST_SHARE_INSIDE
        )
    if not fits:  # 5.
        raise MaskError(
            "The mask does not lie on the breast of its image.",
            "Check that the mask belongs to this image and is not mirrored, then import again.",
        )
    flips = (marked_HW[:, ::-1], marked_HW[::-1], marked_HW[::-1, ::-1])
    if max(measure(flipped_HW, seen_HW) for flipped_HW in flips) > overlap + CLEARLY_BETTER:  # 5.
        raise MaskError(
            "The mask fits its image better when it is mirrored or turned upside down.",
            "Export the mask in the orientation of the image's file, then import again.",
        )


def _share_inside(one_HW: Mask, other_HW: Mask) -> float:
    """How much of one lies inside the other; all of nothing does."""
    size = int(np.count_nonzero(one_HW))
    return int(np.count_nonzero(one_HW & other_HW)) / size if size else 1.0


def _dice(one_HW: Mask, other_HW: Mask) -> float:
    total = int(np.count_nonzero(one_HW)) + int(np.count_nonzero(other_HW))
    return 2 * int(np.count_nonzero(one_HW & other_HW)) / total if total else 0.0
