"""How a prepared picture looks, in numbers: what tells a mammogram from anything else.

Shape (`Outline`) is judged by fixed bounds that every whole CC or MLO view of a breast keeps to. Grey values
and texture (`appearance_of`) depend on detector and processing, so they are compared with those of the images
that a model was trained on (`shared.appearance`).

Everything is measured on a copy whose long side has 256 pixels, so that detectors' sharpness counts little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull

from client.imaging.breast_mask import Mask, largest_component
from client.imaging.preparation import FULL_SCALE
from client.imaging.resample import resize_image
from shared.appearance import QUANTITIES

LONG_SIDE_PX = 256
SMALLEST_SIDE_PX = 8
EDGE = 0.02
"""Share of the width that counts as an edge."""
PERCENTILES = (5, 25, 50, 75, 95)
BRIGHT, DARK = 0.9, 0.1
DEPTHS = (0.0, 0.08, 0.2, 0.4, 0.7)
"""Borders of zones from the skin inwards, in shares of the greatest depth."""
TEXTURE_SIGMAS_PX = (1, 2, 4, 8)
RIM_PX = 5
"""What is nearer to the outline has the texture of the outline."""
FLOOR = 1e-4
"""Added before a logarithm: the spread of a picture without texture."""

LEAST_AT_WALL = 0.75
MOST_AT_FAR_EDGE = 0.3
LEAST_SOLIDITY = 0.8
PROPORTIONS = (0.9, 6.0)

Grey = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The shape of what was taken for a breast.

    Attributes
    ----------
    at_wall, at_far_edge
        Shares of its rows that reach the chest wall, and the edge opposite to it.
    solidity
        Its area over that of its convex hull.
    proportions
        Its height over its width.
    """

    at_wall: float
    at_far_edge: float
    solidity: float
    proportions: float

    def fault(self) -> str | None:
        """Why this is no whole breast at its chest wall, as a sentence; None where nothing is against it."""
        if self.at_wall < LEAST_AT_WALL:
            return "What is bright in the image does not lie along one edge, as a breast does."
        if self.at_far_edge > MOST_AT_FAR_EDGE:
            return "What is bright in the image reaches from edge to edge: a whole breast does not."
        if self.solidity < LEAST_SOLIDITY:
            return "What is bright in the image has not the outline of a breast."
        if not PROPORTIONS[0] <= self.proportions <= PROPORTIONS[1]:
            return "What is bright in the image has not the proportions of a breast in a CC or MLO view."
        return None


def outline_of(image_HW: npt.NDArray[np.uint16]) -> Outline:
    """The outline of the breast in a prepared picture."""
    _, breast_HW = _small(image_HW)
    edge = max(1, round(EDGE * breast_HW.shape[1]))
    num_rows = np.count_nonzero(breast_HW.any(axis=1))
    return Outline(
        at_wall=float(breast_HW[:, :edge].any(axis=1).sum() / num_rows),
        at_far_edge=float(breast_HW[:, -edge:].any(axis=1).sum() / num_rows),
        solidity=_solidity(breast_HW),
        proportions=breast_HW.shape[0] / breast_HW.shape[1],
    )


def appearance_of(image_HW: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """The quantities of `shared.appearance.QUANTITIES` of a prepared picture, in their order."""
    grey_HW, breast_HW = _small(image_HW)
    inside = grey_HW[breast_HW]
    percentiles = np.percentile(inside, PERCENTILES)
    values = {f"grey_{place}": value for place, value in zip(PERCENTILES, percentiles, strict=True)}
    values |= {"bright": (inside > BRIGHT).mean(), "dark": (inside < DARK).mean()}
    values |= _depths(inside, breast_HW)
    values |= _texture(grey_HW, breast_HW)
    values |= {
        "filled": breast_HW.mean(),
        "solidity": _solidity(breast_HW),
        "proportions": np.log(breast_HW.shape[0] / breast_HW.shape[1]),
    }
    return np.array([values[name] for name in QUANTITIES])


def _small(image_HW: npt.NDArray[np.uint16]) -> tuple[Grey, Mask]:
    """The small copy, in [0, 1], and the breast in it."""
    scale = LONG_SIDE_PX / max(image_HW.shape)
    rows, columns = (max(SMALLEST_SIDE_PX, round(side * scale)) for side in image_HW.shape)
    grey_HW = resize_image(image_HW.astype(np.float32), rows, columns) / np.float32(FULL_SCALE)
    # Outside the breast a prepared picture is zero.
    breast_HW: Mask = ndimage.binary_fill_holes(largest_component(grey_HW > 0))
    return grey_HW, breast_HW


def _solidity(breast_HW: Mask) -> float:
    rows = np.flatnonzero(breast_HW.any(axis=1))
    first = breast_HW[rows].argmax(axis=1)
    last = breast_HW.shape[1] - breast_HW[rows, ::-1].argmax(axis=1)
    corners = [np.stack([columns, rows + below], axis=1) for columns in (first, last) for below in (0, 1)]
    return float(np.count_nonzero(breast_HW) / ConvexHull(np.concatenate(corners)).volume)


def _depths(inside: Grey, breast_HW: Mask) -> dict[str, np.floating]:
    """Mean grey value by distance from the skin; at the chest wall, above and below the breast goes on."""
    around_HW = np.pad(breast_HW, 1, mode="edge")
    around_HW[:, -1] = False
    depth = ndimage.distance_transform_edt(around_HW)[1:-1, 1:-1][breast_HW]
    share = depth / max(1.0, np.percentile(depth, 99))
    zone = np.digitize(share, DEPTHS) - 1
    return {
        f"depth_{number}": inside[zone == number].mean() if (zone == number).any() else np.float64(0)
        for number in range(len(DEPTHS) - 1)
    }


def _texture(grey_HW: Grey, breast_HW: Mask) -> dict[str, np.floating]:
    """Spread in bands of frequency, and how uneven and how directed the gradient is; logarithms."""
    core_HW = ndimage.binary_erosion(breast_HW, iterations=RIM_PX, border_value=1)
    if not core_HW.any():
        core_HW = breast_HW
    values = {}
    for sigma in TEXTURE_SIGMAS_PX:
        band_HW = ndimage.gaussian_filter(grey_HW, sigma / 1.6) - ndimage.gaussian_filter(grey_HW, sigma)
        values[f"texture_{sigma}"] = np.log(band_HW[core_HW].std() + FLOOR)
    down, across = ndimage.sobel(grey_HW, 0)[core_HW] / 8, ndimage.sobel(grey_HW, 1)[core_HW] / 8
    steepness = np.hypot(down, across)
    mean = steepness.mean() + FLOOR
    return values | {
        "gradient": np.log(mean),
        "unevenness": np.log((steepness**2).mean() / mean**2 + FLOOR),
        "direction": np.log((np.abs(down).mean() + FLOOR) / (np.abs(across).mean() + FLOOR)),
    }
